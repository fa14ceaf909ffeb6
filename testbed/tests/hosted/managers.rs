//! `kdc-manager` and `k8-manager` as the platform runs them: from one field of a KdcCluster to encrypted rows.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use kdc_testbed::bao::Grant;
use kdc_testbed::hosted::Pace;
use kdc_testbed::{Process, Resource, programs};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fixture::{NAMESPACE, Stand, alone, write_secret};
use crate::load::Load;

const KDC_CLUSTERS: Resource = Resource::new("k8s.kube-dc.com/v1alpha1", "kdcclusters");
const KMS_KEYS: Resource = Resource::new("security.kube-dc.com/v1alpha1", "kmskeys");
const PREFIX: &[u8] = b"k8s:enc:kms:v2:kube-dc-kms-plugin:";
const MANAGER_POLICY: &str = include_str!("../../../deploy/openbao/manager-policy.hcl");
/// kube-apiserver looks at its file once a minute, up to three times here, and rows are rewritten twice.
const LIMIT: Duration = Duration::from_secs(420);

struct Managers {
    keys: Process,
    hosted: Process,
    _folder: TempDir,
}

impl Managers {
    async fn start(stand: &Stand) -> Self {
        let root = stand.cluster.bao().root();
        root.write_policy("manager", MANAGER_POLICY).await.unwrap();
        let token = root.create_token(&Grant::of(["manager"])).await.unwrap();
        stand
            .cluster
            .namespace("kube-dc", &json!({}))
            .await
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let token_file = folder.path().join("token");
        kdc_testbed::fixtures::put_credential(&token_file, &token);
        let programs = programs::build().unwrap();
        let address = stand.cluster.bao().address();
        let kubeconfig = stand.cluster.kubeconfig();
        let manager = |program: &Path, name: &str| {
            let mut command = Command::new(program);
            command.arg("--kubeconfig").arg(kubeconfig);
            command.args(["--identity", name]);
            command
        };
        let mut keys = manager(&programs.kdc_manager, "kdc-manager-0");
        keys.args([
            "--bao-address",
            address,
            "--bao-insecure-http",
            "--bao-auth",
            "token",
        ]);
        keys.arg("--bao-token-file").arg(&token_file);
        let mut hosted = manager(&programs.k8_manager, "k8-manager-0");
        hosted.args([
            "--openbao-url",
            address,
            "--plugin-flags",
            "--bao-insecure-http",
        ]);
        hosted.args(["--kms-plugin-image", "registry.example/kms-plugin:test"]);
        let run = |name: &str, command: &Command| {
            let log = folder.path().join(format!("{name}.log"));
            Process::start(name, command, &log).unwrap()
        };
        Self {
            keys: run("kdc-manager", &keys),
            hosted: run("k8-manager", &hosted),
            _folder: folder,
        }
    }

    fn logs(&self) -> String {
        format!("{}\n{}", self.keys.log_tail(), self.hosted.log_tail())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_field_of_a_cluster_encrypts_what_its_control_plane_stores() {
    let _one = alone().await;
    let stand = Stand::without_key(Pace::fast(), 2).await;
    let tenant = stand.tenant();
    for number in 0..5 {
        write_secret(&tenant, &format!("before-{number}")).await;
    }
    let managers = Managers::start(&stand).await;
    let load = Load::start(&tenant);
    let cluster = json!({
        "apiVersion": "k8s.kube-dc.com/v1alpha1", "kind": "KdcCluster", "metadata": {"name": "prod"},
        "spec": {
            "version": "v1.36.3",
            "controlPlane": {"replicas": 2},
            "encryption": {"etcd": {"enabled": true}},
        },
    });
    stand
        .client()
        .create(KDC_CLUSTERS, NAMESPACE, &cluster)
        .await
        .unwrap();

    let start = Instant::now();
    let cluster = loop {
        let cluster = stand.client().read(KDC_CLUSTERS, NAMESPACE, "prod").await;
        let cluster = cluster.unwrap();
        if is_encrypted(&stand, &cluster).await {
            break cluster;
        }
        assert!(
            start.elapsed() < LIMIT,
            "{}\n{}\n{:?}",
            cluster["status"],
            managers.logs(),
            stand.runner.trouble()
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    assert_eq!(
        cluster["status"]["encryption"]["resolvedKeyRef"],
        "prod-etcd"
    );
    assert_eq!(cluster["status"]["encryption"]["kmsPluginReady"], true);
    let key = stand.client().read(KMS_KEYS, NAMESPACE, "prod-etcd").await;
    assert_eq!(condition(&key.unwrap(), "Ready"), "True");
    for pod in stand.pods().await {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let log = stand.runner.log(NAMESPACE, name, "kms-plugin");
        assert!(log.contains("OpenBao login ok"), "{log}");
        assert!(log.contains("kms-plugin listening"), "{log}");
    }
    let (calls, refused) = load.stop().await;
    assert!(calls > 0);
    let unreadable: Vec<_> = refused
        .iter()
        .filter(|error| error.contains("transform") || error.contains("decrypt"))
        .collect();
    assert!(unreadable.is_empty(), "{unreadable:?}");
}

/// Whether the plugins are ready, nothing is on its way, and all rows that were there before are the plugin's.
async fn is_encrypted(stand: &Stand, cluster: &Value) -> bool {
    if condition(cluster, "EncryptionAvailable") != "True" {
        return false;
    }
    let rows = stand.rows().await;
    let before: Vec<_> = rows
        .iter()
        .filter(|row| row.key.contains("/before-"))
        .collect();
    before.len() == 5 && before.iter().all(|row| row.value.starts_with(PREFIX))
}

/// The status of a condition; empty if it is not there.
fn condition(object: &Value, kind: &str) -> String {
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == kind);
    found.map_or_else(String::new, |condition| {
        condition["status"].as_str().unwrap_or_default().to_owned()
    })
}
