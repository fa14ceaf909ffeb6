//! A change of keys step by step as controllers take it, and its ports on Secrets, on a real API server.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kdc_envelope_k8s::control_plane::{
    ChangeRun, ChangeStore, ConfigTargets, ControlPlane, FolderTargets, Node, PortError,
    SecretStore, SecretTargets, Step, Update,
};
use kdc_envelope_k8s::encryption_config::{Chain, LocalKey, LocalProvider, Transformer};
use kdc_envelope_k8s::files::NodeFolder;
use kdc_envelope_k8s::rewrite::RewriteOptions;
use kdc_envelope_k8s::rotation::change::ChangeKind;
use kdc_envelope_k8s::rotation::key_source::{KeySource as _, RandomKeys};
use kdc_envelope_k8s::rotation::request::{ChangeRequest, RequestedWriter};
use kdc_envelope_k8s::rotation::{Action, Change, ConfigHash, Revision, RowWriters, Timestamp};
use kdc_envelope_k8s::{GroupResource, Layout};
use kdc_testbed::{ApiServer, Etcd, KubeMinor, Resource};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);
/// A start in the second in which a file was written proves nothing, and a process tells its start to a second or so: without
/// such a proof, the change waits for three minutes.
const LATER: Duration = Duration::from_millis(2500);

async fn client(server: &ApiServer) -> kube::Client {
    let kubeconfig = Kubeconfig::read_from(server.kubeconfig()).unwrap();
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options);
    kube::Client::try_from(config.await.unwrap()).unwrap()
}

fn key(revision: u64) -> LocalKey {
    RandomKeys.key(LocalProvider::Aesgcm, revision).unwrap()
}

fn secrets() -> GroupResource {
    GroupResource::from_text("secrets")
}

fn layout(key: &LocalKey) -> Layout {
    let chain = Chain::new(Transformer::Local(key.clone()), []);
    [(secrets(), chain)].into_iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_and_configuration_live_in_secrets_and_a_stale_write_is_refused_by_name() {
    let etcd = Etcd::start().await.unwrap();
    let options = ApiServer::options().minor(KubeMinor::usual().unwrap());
    let server = options.start(&etcd).await.unwrap();
    let client = client(&server).await;
    a_state(&client).await;
    a_configuration(&client).await;
}

async fn a_state(client: &kube::Client) {
    let store = SecretStore::new(client, "default", "tenant-state");
    let mut seen = store.load().await.unwrap();
    assert!(seen.change.is_none() && seen.keyring.entries().is_empty());
    let writer = Transformer::Local(key(1));
    let writers = BTreeMap::from([(secrets(), writer.clone())]);
    seen.keyring.keep(&writer, false, NOW);
    let revision = Revision {
        number: 1,
        writers: writers.clone(),
    };
    seen.keyring.record(revision.clone(), NOW).unwrap();
    let change = Change::new(ChangeKind::Enable, &writers, &[], None, NOW);
    let row_writers = RowWriters::proven(&revision, &[secrets()]);
    let update = Update {
        keyring: Some(&seen.keyring),
        change: Some(&change),
        row_writers: Some(&row_writers),
        ..Update::default()
    };
    let version = store.save(&seen.version, &update).await.unwrap();
    let stored = store.load().await.unwrap();
    assert_eq!(stored.version, version);
    assert_eq!(stored.keyring, seen.keyring);
    assert_eq!(stored.change.as_ref(), Some(&change));
    assert_eq!(stored.row_writers.as_ref(), Some(&row_writers));

    // Another one who saw the empty state is refused, whether the Secret was there or not.
    let error = store.save(&seen.version, &update).await.unwrap_err();
    assert!(matches!(error, PortError::Stale { .. }), "{error}");
    let line = error.to_string();
    assert!(line.contains("the Secret default/tenant-state"), "{line}");
    let passes = Update {
        passes: Some(&stored.passes),
        ..Update::default()
    };
    let newer = store.save(&version, &passes).await.unwrap();
    assert_ne!(newer, version);
    let done = Change {
        done: Some(7),
        ..change.clone()
    };
    let done = Update {
        change: Some(&done),
        ..Update::default()
    };
    let newest = store.save(&newer, &done).await.unwrap();
    assert_ne!(newest, newer);
    let line = store.save(&version, &done).await.unwrap_err().to_string();
    assert!(line.contains(&version.to_string()), "{line}");
    assert!(line.contains(&newest.to_string()), "{line}");
}

async fn a_configuration(client: &kube::Client) {
    let servers = ["cp-0".into(), "cp-1".into()];
    let place = ("tenant-config", "config.yaml");
    let targets = SecretTargets::new(client, "default", place, "tenant-keys", servers);
    let empty = targets.observe().await.unwrap();
    assert_eq!(empty.len(), 2);
    assert_eq!(empty[0].file.as_ref().unwrap().hash, ConfigHash::NO_FILE);

    let (first, second) = (key(1), key(2));
    targets.store_key("cp-0", &first, NOW).await.unwrap();
    targets.store_key("cp-1", &first, NOW).await.unwrap();
    let over = ConfigHash::NO_FILE;
    targets.write("cp-0", &layout(&first), over).await.unwrap();
    // Both API servers have one configuration, so the second write changes nothing.
    targets.write("cp-1", &layout(&first), over).await.unwrap();
    let seen = targets.observe().await.unwrap();
    let file = seen[1].file.as_ref().unwrap();
    assert_eq!(*file.layout, layout(&first));
    assert_eq!(seen[1].keys, std::slice::from_ref(&first));
    assert!(file.written.is_none() && file.settled_at > NOW);

    let stale = targets
        .write("cp-0", &layout(&second), over)
        .await
        .unwrap_err();
    assert!(matches!(stale, PortError::Stale { .. }), "{stale}");
    targets
        .write("cp-0", &layout(&second), file.hash)
        .await
        .unwrap();
    let seen = targets.observe().await.unwrap();
    assert_eq!(*seen[0].file.as_ref().unwrap().layout, layout(&second));
    let earlier: Vec<_> = seen[0].earlier.iter().map(|(hash, _)| *hash).collect();
    assert_eq!(earlier, [file.hash, seen[0].file.as_ref().unwrap().hash]);
    // The first layout again gets other bytes: a server that uses these has loaded them since they were written.
    let over = seen[0].file.as_ref().unwrap().hash;
    targets.write("cp-0", &layout(&first), over).await.unwrap();
    let again = targets.observe().await.unwrap();
    let again = again[0].file.as_ref().unwrap();
    assert_eq!(*again.layout, layout(&first));
    assert!(again.is_first && again.hash != file.hash);
    let unknown = targets
        .write("cp-2", &layout(&first), over)
        .await
        .unwrap_err();
    assert!(unknown.to_string().contains("cp-2"), "{unknown}");
}

/// Whole seconds, as the times of files and processes are.
fn now() -> Timestamp {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test is an outermost layer: what it calls takes the time as a parameter"
    )]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_secs(since.as_secs())
}

/// Twenty Secrets at ten per second: a pass takes longer than many steps.
fn slow() -> RewriteOptions {
    RewriteOptions {
        max_per_second: NonZeroU32::new(10),
        ..RewriteOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_returns_while_rows_are_rewritten_and_a_run_that_is_dropped_is_gone_on_from() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("encryption-provider.conf");
    let plain = [json!({"identity": {}})];
    let plain = kdc_testbed::encryption_config::with_providers(&["secrets"], &plain);
    std::fs::write(&file, plain).unwrap();
    let etcd = Etcd::start().await.unwrap();
    let options = ApiServer::options().minor(KubeMinor::usual().unwrap());
    let options = options.encryption_config(&file).automatic_reload();
    tokio::time::sleep(LATER).await;
    let mut server = options.start(&etcd).await.unwrap();
    for number in 0..20 {
        let object = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("s-{number}")},
        });
        let created = server
            .client()
            .create(Resource::SECRETS, "default", &object);
        created.await.unwrap();
    }
    let client = client(&server).await;
    let targets = [("cp".into(), NodeFolder::of(&file))];
    let control_plane = ControlPlane {
        nodes: vec![Node {
            name: "cp".into(),
            client: client.clone(),
        }],
        client: client.clone(),
        targets: Arc::new(FolderTargets::new(targets)),
        store: Arc::new(SecretStore::new(&client, "kube-system", "change")),
        members: None,
        backups: None,
        rewrite: slow(),
        clock: now.into(),
    };
    let mut observation = control_plane.observe().await.unwrap();
    let request = ChangeRequest::Enable {
        resources: vec![secrets()],
        writer: RequestedWriter::Local(LocalProvider::Aesgcm),
    };
    let prepared = observation.prepare(&request, &RandomKeys).unwrap();
    control_plane
        .begin(&mut observation, &prepared)
        .await
        .unwrap();

    let mut run = ChangeRun::new(prepared.change.clone());
    let (mut rewriting, mut dropped) = (0, false);
    let outcome = loop {
        match control_plane.step(&mut run, &()).await.unwrap() {
            Step::Done(outcome) => break outcome,
            Step::Acted { actions, .. } => {
                let writes = |action: &Action| matches!(action, Action::Write { .. });
                if actions.iter().any(writes) {
                    tokio::time::sleep(LATER).await;
                    server.process().kill().await.unwrap();
                    server.start_again().await.unwrap();
                }
            }
            Step::Rewriting { .. } if !dropped => {
                // As a controller that loses its Lease in the middle of a pass; the next one knows the change from the store.
                dropped = true;
                let stored = control_plane.store.load().await.unwrap();
                run = ChangeRun::new(stored.change.unwrap());
            }
            Step::Rewriting { .. } => {
                rewriting += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Step::Waiting { retry_after, .. } => {
                tokio::time::sleep(retry_after.min(Duration::from_millis(500))).await;
            }
            other => panic!("{other:?}"),
        }
    };
    assert!(rewriting > 1, "{rewriting} steps while rows were rewritten");
    assert!(outcome.blockers.is_empty() && !outcome.are_backups_asked);
    let stored = control_plane.store.load().await.unwrap();
    assert!(stored.change.unwrap().done.is_some());
    assert_eq!(stored.passes.verified.unwrap().refused, 0);
    let rows = etcd.rows("/registry/secrets/").await.unwrap();
    assert!(rows.len() >= 20);
    assert!(
        rows.iter()
            .all(|row| row.value.starts_with(b"k8s:enc:aesgcm:v1:key1:"))
    );
}
