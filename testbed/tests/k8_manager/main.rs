//! Encryption of a hosted control plane on real servers, from `enabled: true` to proven rows and back.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests"
)]

mod platform;
mod tenant;

use std::time::Duration;

use kdc_envelope_k8s::controller::ObjectKey;
use kdc_envelope_k8s::crd::KdcCluster;
use serde_json::{Value, json};

use platform::Platform;
use tenant::Tenant;

const PREFIX: &[u8] = b"k8s:enc:kms:v2:kube-dc-kms-plugin:";
/// kube-apiserver looks at its file once a minute; a change of the rows needs that up to four times.
const LIMIT: Duration = Duration::from_secs(420);

/// Steps of controller and tenant, until `is_so`.
async fn until(
    what: &str,
    platform: &Platform,
    tenant: &mut Tenant,
    is_so: impl Fn(&KdcCluster, &Value) -> bool,
) {
    let steps = async {
        loop {
            platform.step().await;
            tenant.obey(platform).await;
            let (cluster, control_plane) =
                (platform.cluster().await, platform.control_plane().await);
            if is_so(&cluster, &control_plane) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    if tokio::time::timeout(LIMIT, steps).await.is_err() {
        let cluster = platform.cluster().await;
        panic!("not {what}: {:#?}", cluster.status);
    }
}

fn is_settled(cluster: &KdcCluster) -> bool {
    let status = cluster.status.encryption.clone().unwrap_or_default();
    let conditions = &cluster.status.conditions;
    let is_running = conditions
        .get("RotationInProgress")
        .is_none_or(|one| one.reason != "Done");
    status.kms_plugin_ready == Some(true) && !is_running && status.last_rewrap_completed.is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_is_encrypted_left_alone_and_decrypted_again() {
    let platform = Platform::start().await;
    let mut tenant = Tenant::start(&platform).await;
    let before = platform.control_plane().await;

    platform.ask(json!({"enabled": true})).await;
    until("encrypted", &platform, &mut tenant, |cluster, _| {
        is_settled(cluster)
    })
    .await;
    let rows = tenant.rows().await;
    assert!(rows.len() >= 3, "{} rows", rows.len());
    assert!(
        rows.iter().all(|row| row.starts_with(PREFIX)),
        "every row is encrypted"
    );
    let cluster = platform.cluster().await;
    let status = cluster.status.encryption.clone().unwrap();
    assert_eq!(status.resolved_key_ref.as_deref(), Some("prod-etcd"));
    assert_eq!(status.current_key_version, Some(1));
    assert!(cluster.status.conditions.is_true("EncryptionAvailable"));
    assert!(!cluster.status.conditions.is_true("EncryptionConfigError"));
    let control_plane = platform.control_plane().await;
    let deployment = &control_plane["spec"]["controlPlane"]["deployment"];
    assert_eq!(deployment["serviceAccountName"], "prod-kms-plugin");
    assert_eq!(
        deployment["additionalVolumes"][0]["name"], "scratch",
        "that of the user"
    );
    assert_eq!(deployment["extraArgs"]["apiServer"][0], "--event-ttl=2h");

    let versions = platform.versions().await;
    for _ in 0..10 {
        platform.step().await;
    }
    assert_eq!(
        platform.versions().await,
        versions,
        "nothing is written when nothing changed"
    );

    // Switched off at once: refused, and everything stays.
    platform.ask(json!({"enabled": false})).await;
    platform.step().await;
    let cluster = platform.cluster().await;
    let refused = cluster
        .status
        .conditions
        .get("EncryptionConfigError")
        .unwrap();
    assert_eq!(refused.reason, "DisableNotRequested");
    assert!(tenant.is_attached(&platform).await);

    platform
        .ask(json!({"enabled": true, "disableRequested": true}))
        .await;
    until("decrypted", &platform, &mut tenant, |_, control_plane| {
        control_plane["spec"]["controlPlane"]["deployment"]["serviceAccountName"] == "default"
    })
    .await;
    assert!(
        tenant
            .rows()
            .await
            .iter()
            .all(|row| row.starts_with(b"k8s\0")),
        "every row is plain"
    );
    let after = platform.control_plane().await;
    assert_eq!(
        after["spec"]["controlPlane"], before["spec"]["controlPlane"],
        "as it was before"
    );
    platform.ask(json!({"enabled": false})).await;
    platform.step().await;
    let cluster = platform.cluster().await;
    assert!(!cluster.status.conditions.is_true("EncryptionConfigError"));
    tenant.obey(&platform).await;
    assert_eq!(tenant.secret("before").await, "plain");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_prerequisite_touches_nothing() {
    let platform = Platform::start().await;
    platform.forget_image().await;
    let before = platform.versions().await;
    platform.ask(json!({"enabled": true})).await;
    platform.step().await;
    let cluster = platform.cluster().await;
    let refused = cluster
        .status
        .conditions
        .get("EncryptionConfigError")
        .unwrap();
    assert_eq!(refused.reason, "KMSPluginImageMissing");
    assert_eq!(
        cluster.status.phase.as_deref(),
        Some("Ready"),
        "the rest of the status stays"
    );
    assert_eq!(platform.versions().await, before);
    assert!(
        platform
            .key(&ObjectKey::new("shop", "prod-etcd"))
            .await
            .is_none()
    );
}
