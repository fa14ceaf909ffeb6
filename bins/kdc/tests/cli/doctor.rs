//! `kdc plugin doctor` on a real OpenBao: a good setup is ready, and each kind of fault is found and told apart.

mod fixture;
mod local;
mod logins;
mod network;
mod rights;

use std::path::Path;

use kdc_testbed::bao::Bao;
use serde_json::json;

use fixture::{KEY, Patient, grant, server};

/// Files of a kube-apiserver that uses the socket in the folder, with all paths of this machine.
fn api_server(patient: &Patient, socket: &Path) -> [String; 2] {
    let folder = socket.parent().unwrap();
    let config = kdc_testbed::encryption_config::kms_v2(&["secrets"], "kube-dc-kms-plugin", socket);
    let config = patient.file("encryption.yaml", &config);
    let manifest = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "kube-apiserver"},
        "spec": {
            "containers": [{
                "name": "kube-apiserver",
                "command": [
                    "kube-apiserver",
                    "--encryption-provider-config=/etc/kms/encryption.yaml",
                    "--encryption-provider-config-automatic-reload=true",
                ],
                "livenessProbe": {"httpGet": {"path": "/livez", "port": 6443}},
                "volumeMounts": [
                    {"name": "kms", "mountPath": folder},
                    {"name": "config", "mountPath": "/etc/kms"},
                ],
            }],
            "volumes": [
                {"name": "kms", "hostPath": {"path": folder}},
                {"name": "config", "hostPath": {"path": config.parent().unwrap()}},
            ],
        },
    });
    let manifest = patient.file("kube-apiserver.yaml", &manifest.to_string());
    [config, manifest].map(|path| path.to_str().unwrap().to_owned())
}

/// A plugin that logs in with AppRole over TLS, and the file with its settings.
async fn settings(bao: &Bao, patient: &mut Patient, socket: &Path) -> String {
    let root = bao.root();
    root.enable_auth("approle", "approle").await.unwrap();
    let role = root
        .create_approle("approle", "kms", &grant())
        .await
        .unwrap();
    let secret_id = patient.secret("secret-id", &role.secret_id);
    let settings = json!({
        "socket": socket,
        "bao-address": bao.address(),
        "bao-ca-file": bao.ca_file().unwrap(),
        "bao-key": KEY,
        "bao-auth": "approle",
        "bao-role-id": role.role_id,
        "bao-secret-id-file": secret_id,
    });
    let settings = patient.file("kms-plugin.yaml", &settings.to_string());
    settings.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_setup_is_ready() {
    let bao = server(Bao::options().tls()).await;
    let mut patient = Patient::with_keyring();
    let plugin = patient.fixture.bind().await;
    tokio::spawn(plugin.run(std::future::pending()));
    let socket = patient.fixture.path("kms.sock");
    let config = settings(&bao, &mut patient, &socket).await;
    let [encryption, manifest] = api_server(&patient, &socket);
    let arguments = [
        ["--config", &config],
        ["--encryption-config", &encryption],
        ["--apiserver-manifest", &manifest],
    ]
    .concat();
    let found = patient.examine(&arguments);
    let report = found.report();
    assert_eq!(report["verdict"], "ready", "{report:#}");
    assert_eq!(found.code(), 0);
    assert_eq!(found.checks("skip"), ["may-rewrap", "may-too-much"]);
    found
        .passes("health", "unsealed, active")
        .passes("version", "OpenBao 2.")
        .passes("tls", "TLS 1.3, signed by `CN=kdc-testbed`")
        .passes("may-encrypt", "shown by using it")
        .passes("plugin", "healthy, key id")
        .passes("provider-order", "first: writes secrets")
        .passes("apiserver-config", "encryption.yaml");

    let run = patient.run(&arguments);
    let text = run.succeeds().text();
    for words in [
        "\nready: ",
        " 0 warned, 0 failed, 2 skipped\n",
        "\npass  wrap                transit/etcd: works, ",
    ] {
        assert!(text.contains(words), "{text}");
    }
    assert!(!text.contains("cure:"), "{text}");
}

#[test]
fn people_get_the_cure_below_and_what_was_skipped_in_one_line() {
    let patient = Patient::new();
    let run = patient.run(&["--bao-address", "http://bao:8200", "--bao-key", KEY]);
    assert_eq!((run.code, run.stderr.as_str()), (1, ""));
    let text = run.text();
    assert!(text.contains("FAIL  settings"), "{text}");
    assert!(
        text.contains("\n                          cure: use https://, or add --bao-insecure-http"),
        "{text}"
    );
    assert!(
        text.contains("skip  25 checks           OpenBao: the settings are not complete"),
        "{text}"
    );
    assert!(
        text.ends_with("not ready: 0 passed, 0 warned, 2 failed, 28 skipped\n"),
        "{text}"
    );
}
