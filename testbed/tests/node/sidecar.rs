//! `native-sidecar.yaml`: the plugin beside a hosted kube-apiserver, with its keyring in a Secret.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kdc_testbed::Node;
use kdc_testbed::programs::Programs;
use serde_json::{Value, json};

use crate::fixture::{
    LIMIT, Tenant, complete, complete_restricted, deploy, kdc, kill, node, restarts, status_of,
    write_encryption_config,
};

const SOCKET: &str = "/run/kms/plugin/kms.sock";

fn sample() -> Value {
    serde_saphyr::from_str(&deploy("native-sidecar.yaml")).unwrap()
}

/// The sample, completed.
pub fn pod() -> Value {
    let mut pod = sample();
    complete(&mut pod);
    pod
}

async fn store_keyring(node: &Node, namespace: &str, keyring: &Path) {
    let keyring = STANDARD.encode(fs::read(keyring).unwrap());
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "tenant-kms-keyring", "namespace": namespace},
        "data": {"keyring": keyring},
    });
    node.apply(&secret.to_string()).await.unwrap();
}

/// A keyring, stored in the cluster, and the plugin's socket in the tenant's configuration.
pub async fn prepared() -> (Node, &'static Programs, PathBuf) {
    let (node, programs) = node().await;
    let keyring = node.folder().join("keyring");
    kdc(programs, &["keyring", "init", keyring.to_str().unwrap()]);
    store_keyring(&node, "default", &keyring).await;
    write_encryption_config(&node, SOCKET);
    (node, programs, keyring)
}

#[tokio::test]
async fn the_sidecar_serves_with_no_power_and_follows_its_secret() {
    let (mut node, programs, keyring) = prepared().await;
    let tenant = Tenant::start(&mut node, &pod()).await;
    tenant.encrypts(&node, "first").await;

    assert_eq!(
        status_of(&node, "kms-plugin", "Uid").split('\t').next(),
        Some("65532")
    );
    assert_eq!(status_of(&node, "kms-plugin", "CapEff"), "0000000000000000");
    assert_eq!(status_of(&node, "kms-plugin", "NoNewPrivs"), "1");
    assert_eq!(status_of(&node, "kms-plugin", "Seccomp"), "2", "a filter");

    // Killed, it is started again, and kube-apiserver is not.
    kill(&node, "kms-plugin");
    let again = |pod: &Value| {
        let count = (!pod.is_null()).then(|| restarts(pod, "initContainerStatuses", "kms-plugin"));
        (count == Some(1)).then(|| pod.clone())
    };
    let after = node
        .wait("default", "kube-apiserver", LIMIT, again)
        .await
        .unwrap();
    tenant.encrypts(&node, "second").await;
    assert_eq!(restarts(&after, "containerStatuses", "kube-apiserver"), 0);

    // A rotated key comes by the Secret, in a running pod.
    let path = keyring.to_str().unwrap();
    kdc(programs, &["keyring", "add", path]);
    kdc(programs, &["keyring", "promote", path]);
    let listed = kdc(programs, &["keyring", "list", path, "--output", "json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let newest = listed["versions"][1]["keyId"].as_str().unwrap().to_owned();
    store_keyring(&node, "default", &keyring).await;
    let start = Instant::now();
    for number in 0.. {
        let row = tenant.row(&node, &format!("rotated-{number}")).await;
        if String::from_utf8_lossy(&row).contains(&newest) {
            break;
        }
        assert!(start.elapsed() < LIMIT, "no row is under {newest}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// As the head of the sample says.
#[tokio::test]
async fn the_sidecar_serves_in_a_pod_that_can_have_no_group() {
    let (mut node, _, _) = prepared().await;
    let mut pod = pod();
    pod["spec"]
        .as_object_mut()
        .unwrap()
        .remove("securityContext")
        .unwrap();
    for container in pod["spec"]["initContainers"].as_array_mut().unwrap() {
        let context = container["securityContext"].as_object_mut().unwrap();
        context.remove("runAsNonRoot").unwrap();
        context["runAsUser"] = json!(0);
        context["runAsGroup"] = json!(0);
    }
    let volumes = pod["spec"]["volumes"].as_array_mut().unwrap();
    let keyring = volumes
        .iter_mut()
        .find(|volume| volume["name"] == "kms-keyring");
    keyring.unwrap()["secret"]["defaultMode"] = json!(0o400);
    let tenant = Tenant::start(&mut node, &pod).await;
    tenant.encrypts(&node, "first").await;
    assert_eq!(status_of(&node, "kms-plugin", "CapEff"), "0000000000000000");
}

#[tokio::test]
async fn the_sidecar_serves_in_a_restricted_namespace() {
    let (mut node, _, keyring) = prepared().await;
    let namespace = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": "tenant",
            "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
        },
    });
    node.apply(&namespace.to_string()).await.unwrap();
    store_keyring(&node, "tenant", &keyring).await;
    let mut pod = sample();
    pod["metadata"]["namespace"] = json!("tenant");
    complete_restricted(&node, &mut pod).await;
    let tenant = Tenant::start(&mut node, &pod).await;
    tenant.encrypts(&node, "first").await;

    // Or the namespace proves nothing.
    pod["metadata"]["name"] = json!("other");
    pod["spec"]["containers"][0]["securityContext"] = json!({});
    let refused = node.apply(&pod.to_string()).await.unwrap_err();
    assert!(
        format!("{refused:?}").contains("PodSecurity"),
        "{refused:?}"
    );
}
