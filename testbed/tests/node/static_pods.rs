//! The plugin as a static pod, and beside it a kube-apiserver that is one, too.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use kdc_testbed::Node;
use serde_json::json;

use crate::fixture::{
    LIMIT, Tenant, complete, deploy, kdc, kill, node, restarted, write_encryption_config,
};
use crate::openbao::{openbao, set_up};

const FOLDER: &str = "/etc/kms-plugin";

pub fn write(node: &Node, path: &str, content: &[u8]) {
    let path = node.path(path);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Puts a manifest in place as a whole.
pub fn place(node: &Node, name: &str, manifest: &str) {
    let written = node.path(&format!("/etc/kubernetes/.{name}"));
    fs::write(&written, manifest).unwrap();
    let manifests = node.path("/etc/kubernetes/manifests");
    fs::rename(written, manifests.join(name)).unwrap();
}

/// A kube-apiserver as kubeadm has it: on the node's network, with the folder of the socket.
pub async fn kube_apiserver(node: &mut Node) -> Tenant {
    write_encryption_config(node, "/run/kms-plugin/kms.sock");
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "kube-apiserver", "namespace": "kube-system"},
        "spec": {
            "hostNetwork": true,
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "kube-apiserver",
                "image": "kube-apiserver:v1.36.3",
                "command": ["kube-apiserver", "--encryption-provider-config=/etc/kubernetes/encryption/config.yaml"],
                "volumeMounts": [{"name": "kms", "mountPath": "/run/kms-plugin"}],
            }],
            "volumes": [{"name": "kms", "hostPath": {"path": "/run/kms-plugin"}}],
        },
    });
    complete(&mut pod);
    pod["spec"]["containers"][0]["readinessProbe"]["httpGet"]["host"] = json!("127.0.0.1");
    place(node, "kube-apiserver.yaml", &pod.to_string());
    let ready = node
        .wait_until_pod_ready("kube-system", "kube-apiserver-node1", LIMIT)
        .await;
    let pod = ready.unwrap();
    let address = SocketAddr::new("10.99.0.1".parse().unwrap(), 7443);
    let client = node.client_of(address).unwrap();
    Tenant { client, pod }
}

/// The sample with a keyring, and beside it a kube-apiserver.
pub async fn started() -> (Node, Tenant) {
    let (mut node, programs) = node().await;
    fs::create_dir(node.path(FOLDER)).unwrap();
    // In the node's own view, where kdc sees the path that users give it.
    let keyring = node.folder().join("keyring");
    kdc(programs, &["keyring", "init", keyring.to_str().unwrap()]);
    write(
        &node,
        "/etc/kms-plugin/keyring",
        &fs::read(keyring).unwrap(),
    );
    place(&node, "kms-plugin.yaml", &deploy("static-pod.yaml"));
    let ready = node
        .wait_until_pod_ready("kube-system", "kms-plugin-node1", LIMIT)
        .await;
    ready.unwrap();
    let tenant = kube_apiserver(&mut node).await;
    (node, tenant)
}

#[tokio::test]
async fn with_a_keyring() {
    let (mut node, tenant) = started().await;
    tenant.encrypts(&node, "first").await;

    kill(&node, "kms-plugin");
    restarted(
        &mut node,
        "kube-system",
        "kms-plugin-node1",
        "kms-plugin",
        1,
    )
    .await;
    tenant.encrypts(&node, "second").await;
}

#[tokio::test]
async fn with_openbao() {
    let (mut node, _) = node().await;
    let bao = openbao(&mut node).await;
    let secret_id = set_up(&node, &bao, "approle").await;
    fs::create_dir(node.path(FOLDER)).unwrap();
    let settings = deploy("kms-plugin-openbao.yaml");
    let mut several = settings
        .lines()
        .filter(|line| line.contains("example.com:8200"));
    assert_eq!(several.clone().count(), 3, "of a highly available OpenBao");
    let first = several.next().unwrap();
    let one: String = settings
        .lines()
        .filter(|line| line == &first || !line.contains("example.com:8200"))
        .map(|line| line.replace("openbao-0.", "openbao.") + "\n")
        .collect();
    write(&node, "/etc/kms-plugin/kms-plugin.yaml", one.as_bytes());
    write(&node, "/etc/kms-plugin/secret-id", &secret_id);
    let authority = fs::read(bao.ca_file().unwrap()).unwrap();
    write(&node, "/etc/kms-plugin/openbao-ca.crt", &authority);
    place(&node, "kms-plugin.yaml", &deploy("static-pod-openbao.yaml"));
    let ready = node
        .wait_until_pod_ready("kube-system", "kms-plugin-node1", LIMIT)
        .await;
    ready.unwrap();
    let tenant = kube_apiserver(&mut node).await;
    tenant.encrypts(&node, "first").await;
}
