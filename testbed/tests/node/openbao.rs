//! The samples with the key in OpenBao, which runs outside of the cluster.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use kdc_testbed::{Bao, BaoVersion, Node, Server, servers};
use serde_json::{Value, json};

use crate::fixture::{
    LIMIT, PODS, Tenant, complete, deploy, deploy_path, node, write_encryption_config,
};

/// Names under which the samples reach it.
pub const NAMES: [&str; 2] = ["openbao.openbao.svc", "openbao.example.com"];

/// A real OpenBao that the node knows by the names of the samples; the first under its own port.
pub async fn openbao(node: &mut Node) -> Bao {
    let options = Bao::options().tls();
    let options = NAMES
        .iter()
        .fold(options, |options, name| options.name(name));
    let bao = options.start().await.unwrap();
    let address = bao.address().strip_prefix("https://").unwrap();
    node.lend(NAMES[0], 8200, address.parse().unwrap()).unwrap();
    node.resolve(NAMES[1], kdc_testbed::node::ADDRESS).unwrap();
    bao
}

/// What an administrator does: `setup.sh METHOD`, with TokenReview by the node's kube-apiserver. Gives what it prints.
pub async fn set_up(node: &Node, bao: &Bao, method: &str) -> Vec<u8> {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reviewer", "namespace": "kube-system"}});
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "reviewer"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "kube-system", "name": "reviewer"}],
    });
    for object in [account, binding] {
        node.apply(&object.to_string()).await.unwrap();
    }
    let token = node.token("kube-system", "reviewer", None).await.unwrap();
    let token_file = node.folder().join("reviewer");
    fs::write(&token_file, token).unwrap();
    fs::set_permissions(&token_file, fs::Permissions::from_mode(0o600)).unwrap();
    let cli = servers::prepare(Server::Bao(BaoVersion::DEFAULT), &mut |_| {}).unwrap();
    let done = Command::new(deploy_path("openbao/setup.sh"))
        .arg(method)
        .env("BAO", cli)
        .env("BAO_ADDR", bao.address())
        .env("BAO_CACERT", bao.ca_file().unwrap())
        .env("BAO_TOKEN", bao.root_token())
        .env("HOME", node.folder())
        .env("KUBERNETES_HOST", node.url())
        .env("KUBERNETES_CA_FILE", node.ca_file())
        .env("REVIEWER_TOKEN_FILE", token_file)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    done.stdout
}

#[tokio::test]
async fn the_sidecar_logs_in_with_its_token_and_serves() {
    let (mut node, programs) = node().await;
    node.image("kdc:0.1.0", &programs.kdc).unwrap();
    let bao = openbao(&mut node).await;
    set_up(&node, &bao, "kubernetes").await;
    write_encryption_config(&node, "/run/kms/plugin/kms.sock");
    let authority = fs::read_to_string(bao.ca_file().unwrap()).unwrap();
    for object in [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "acme-shop"}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "prod-kms-plugin", "namespace": "acme-shop"}}),
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "openbao-ca", "namespace": "acme-shop"},
            "data": {"ca.crt": authority},
        }),
    ] {
        node.apply(&object.to_string()).await.unwrap();
    }
    let mut pod: Value = serde_saphyr::from_str(&deploy("native-sidecar-openbao.yaml")).unwrap();
    complete(&mut pod);
    let tenant = Tenant::start(&mut node, &pod).await;
    tenant.encrypts(&node, "first").await;
    let log = node
        .logs("acme-shop", "kube-apiserver", "kms-plugin")
        .await
        .unwrap();
    assert!(log.contains("OpenBao login ok"), "{log}");
    let mounts = tenant.pod["spec"]["containers"][0]["volumeMounts"].to_string();
    assert!(
        !mounts.contains("serviceaccount"),
        "no ordinary token: {mounts}"
    );

    let said = doctor(&mut node).await;
    assert!(said.contains("unwrap"), "{said}");
    assert!(said.contains("listens"), "{said}");
}

/// Runs `kdc plugin doctor` as an ephemeral container, which must end well, and gives what it prints.
async fn doctor(node: &mut Node) -> String {
    let mut container: Value =
        serde_saphyr::from_str(&deploy("native-sidecar-doctor.yaml")).unwrap();
    // As `kubectl debug` does.
    container["name"] = json!("doctor");
    container["image"] = json!("kdc:0.1.0");
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "kube-apiserver", "namespace": "acme-shop"},
        "spec": {"ephemeralContainers": [container]},
    });
    let at = "ephemeralcontainers";
    let added = node
        .client()
        .apply_to(PODS, "acme-shop", "kube-apiserver", at, &pod);
    added.await.unwrap();
    let ended = |pod: &Value| {
        let ended = &pod["status"]["ephemeralContainerStatuses"][0]["state"]["terminated"];
        (!ended.is_null()).then(|| ended["exitCode"].clone())
    };
    let ended = node.wait("acme-shop", "kube-apiserver", LIMIT, ended).await;
    let code = ended.unwrap();
    let said = node
        .logs("acme-shop", "kube-apiserver", "doctor")
        .await
        .unwrap();
    assert_eq!(code, 0, "{said}");
    said
}
