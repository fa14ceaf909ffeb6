//! Several keys in one process.

use std::fs;
use std::path::Path;

use kdc_testbed::bao::kms_plugin_policy;

use super::{Backend, SEED, healthy, unhealthy};
use crate::fixture::{Client, connect, decrypt, encrypt, eventually, program, status};

/// Keys `one` and `two` in OpenBao and `local` in a file, and the tokens of the first two.
fn config(backend: &Backend, tokens: [&Path; 2]) -> std::path::PathBuf {
    let path = |name: &str| backend.place.path(name).display().to_string();
    let text = format!(
        "bao-address: {}
bao-insecure-http: true
bao-auth: token
bao-poll-interval: 1s
http-address: 127.0.0.1:0
keys:
- {{name: one, socket: {}, cluster: one, bao-key: etcd, bao-token-file: {}}}
- {{name: two, socket: {}, cluster: two, bao-key: other, bao-token-file: {}}}
- {{name: local, socket: {}, cluster: three, keyring: {}}}
",
        backend.proxy.address(),
        path("one.sock"),
        tokens[0].display(),
        path("two.sock"),
        tokens[1].display(),
        path("kms.sock"),
        backend.place.keyring.display(),
    );
    let file = backend.place.path("config.yaml");
    fs::write(&file, text).unwrap();
    file
}

async fn client(backend: &Backend, socket: &str) -> Client {
    let path = backend.place.path(socket);
    eventually(socket, async || connect(&path).await.is_some()).await;
    connect(&path).await.unwrap()
}

#[tokio::test]
async fn each_key_has_its_socket_cluster_health_and_series() {
    let backend = Backend::start().await;
    let root = backend.bao.root();
    root.create_key("transit", "other").await.unwrap();
    let policy = kms_plugin_policy("other");
    root.write_policy("tcp-two", &policy).await.unwrap();
    let grant = kdc_testbed::bao::Grant::of(["tcp-two"]).without_default_policy();
    let one = backend.file("token-one", &backend.token().await);
    let two = backend.file("token-two", &root.create_token(&grant).await.unwrap());
    let mut command = program();
    command.arg("--config").arg(config(&backend, [&one, &two]));
    let running = backend.place.start(command).await;
    let mut clients = [
        client(&backend, "one.sock").await,
        client(&backend, "two.sock").await,
        client(&backend, "kms.sock").await,
    ];
    let mut wrapped = Vec::new();
    for client in &mut clients {
        healthy(client).await;
        wrapped.push(encrypt(client, &SEED).await.unwrap());
    }
    for (at, client) in clients.iter_mut().enumerate() {
        for (of, wrapped) in wrapped.iter().enumerate() {
            let opened = decrypt(client, wrapped).await;
            assert_eq!(opened.is_ok(), at == of, "{of} on the socket of {at}");
        }
    }
    for series in [
        "kdc_kms_bao_key_latest_version{key=\"one\"}",
        "kdc_kms_bao_key_latest_version{key=\"two\"}",
        "kdc_kms_healthy{key=\"local\"}",
    ] {
        assert_eq!(backend.metric(series), 1.0, "{series}");
    }
    assert!(
        !backend
            .probe("/metrics")
            .contains("kdc_kms_bao_requests_total{key=\"local\"")
    );
    let log = backend.place.log();
    assert_eq!(log.matches("kms-plugin listening").count(), 3, "{log}");

    // One fails: it alone is not healthy, and readiness names it.
    let path = "transit/keys/other/config";
    let body = serde_json::json!({"deletion_allowed": true});
    root.call("POST", path, Some(body)).await.unwrap();
    root.call("DELETE", "transit/keys/other", None)
        .await
        .unwrap();
    unhealthy(&mut clients[1]).await;
    assert!(status(&mut clients[0]).await.is_ok());
    assert!(status(&mut clients[2]).await.is_ok());
    let ready = backend.probe("/readyz");
    assert!(ready.contains("not ready: key two: "), "{ready}");
    assert!(!ready.contains("key one"), "{ready}");
    assert!(running.stop().await.success());
    for socket in ["one.sock", "two.sock", "kms.sock"] {
        assert!(!backend.place.path(socket).exists(), "{socket}");
    }
}
