//! Status outlasts an OpenBao that cannot be reached, for a bounded time, and nothing else.

use std::fs;

use kdc_testbed::bao::kms_plugin_policy;
use kdc_testbed::proxy::{Fault, Proxy};
use tonic::Code;

use super::{Backend, SEED, healthy, round_trip, unhealthy};
use crate::fixture::{connect, decrypt, encrypt, eventually, program, status};

/// Far longer than any step of these tests takes.
const LONG: [&str; 2] = ["--status-grace", "5m"];

fn gauge(name: &str, key: &str) -> String {
    format!("kdc_kms_{name}{{key=\"{key}\"}}")
}

/// Waits until metrics and `/readyz` say so.
async fn degraded(backend: &Backend) {
    let gauge = gauge("degraded", "kube-dc-kms-plugin");
    eventually("degraded", async || backend.metric(&gauge) == 1.0).await;
}

#[tokio::test]
async fn status_outlasts_an_openbao_that_is_away_and_says_degraded_everywhere() {
    let mut backend = Backend::start().await;
    let short = ["--status-grace", "10s", "--bao-hold", "100s"];
    let (running, mut client) = backend.serving(&short).await;
    let known = encrypt(&mut client, &SEED).await.unwrap();
    assert_eq!(decrypt(&mut client, &known).await.unwrap(), SEED);
    let healthy_gauge = gauge("healthy", "kube-dc-kms-plugin");
    assert_eq!(backend.metric(&healthy_gauge), 1.0);

    backend.proxy.refuse_connections().await;
    degraded(&backend).await;
    assert_eq!(backend.metric(&healthy_gauge), 0.0);
    let ready = backend.probe("/readyz");
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    let expected = "\r\n\r\ndegraded\ndegraded: key kube-dc-kms-plugin: ";
    assert!(ready.contains(expected), "{ready}");
    let log = backend.place.log();
    assert!(log.contains("degraded: OpenBao cannot be reached"), "{log}");
    let answer = status(&mut client).await.unwrap();
    assert_eq!(answer.key_id, known.key_id);
    assert_eq!(decrypt(&mut client, &known).await.unwrap(), SEED);
    let refused = encrypt(&mut client, &SEED).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "it is away all the same");

    unhealthy(&mut client).await;
    let ready = backend.probe("/readyz");
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    let degraded_gauge = gauge("degraded", "kube-dc-kms-plugin");
    assert_eq!(backend.metric(&degraded_gauge), 0.0);
    eventually("the end of the grace is logged", async || {
        backend
            .place
            .log()
            .contains("the Transit key cannot be used")
    })
    .await;

    backend.proxy.accept_connections().await.unwrap();
    healthy(&mut client).await;
    round_trip(&mut client).await;
    assert!(backend.probe("/readyz").ends_with("\r\n\r\nok\n"));
    assert!(running.stop().await.success());
}

#[tokio::test]
async fn answers_that_pass_have_a_grace_and_wrong_ones_none() {
    for (fault, has_grace) in [
        (Fault::Hang, true),
        (Fault::status(503, "node is not active"), true),
        (Fault::status(500, "internal error"), true),
        (Fault::answer(502, &[], "<html>"), true),
        (Fault::html(), false),
        (Fault::garbage(), false),
        (Fault::status(404, "no handler for route"), false),
    ] {
        let backend = Backend::start().await;
        let (running, mut client) = backend.serving(&LONG).await;
        let described = format!("{fault:?}");
        backend.proxy.set(fault);
        if has_grace {
            degraded(&backend).await;
            status(&mut client).await.expect(&described);
        } else {
            unhealthy(&mut client).await;
            let gauge = gauge("degraded", "kube-dc-kms-plugin");
            assert_eq!(backend.metric(&gauge), 0.0, "{described}");
        }
        backend.proxy.clear();
        let healthy_gauge = gauge("healthy", "kube-dc-kms-plugin");
        eventually("well again", async || backend.metric(&healthy_gauge) == 1.0).await;
        round_trip(&mut client).await;
        assert!(running.stop().await.success());
    }
}

#[tokio::test]
async fn a_denial_has_no_grace_nor_has_an_outage_after_it() {
    let mut backend = Backend::start().await;
    let (running, mut client) = backend.serving(&LONG).await;
    let root = backend.bao.root().clone();
    root.call("DELETE", "sys/policies/acl/tcp", None)
        .await
        .unwrap();
    unhealthy(&mut client).await;
    let refused = status(&mut client).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(backend.probe("/readyz").starts_with("HTTP/1.1 503"));

    backend.proxy.refuse_connections().await;
    eventually("the outage is seen", async || {
        let refused = status(&mut client).await.unwrap_err();
        refused.code() == Code::Unavailable
    })
    .await;
    let gauge = gauge("degraded", "kube-dc-kms-plugin");
    assert_eq!(backend.metric(&gauge), 0.0);

    let policy = kms_plugin_policy("etcd");
    root.write_policy("tcp", &policy).await.unwrap();
    backend.proxy.accept_connections().await.unwrap();
    healthy(&mut client).await;
    assert!(running.stop().await.success());
}

#[tokio::test]
async fn a_key_that_is_deleted_has_no_grace() {
    let backend = Backend::start().await;
    let (running, mut client) = backend.serving(&LONG).await;
    let root = backend.bao.root();
    let allow = serde_json::json!({"deletion_allowed": true});
    root.call("POST", "transit/keys/etcd/config", Some(allow))
        .await
        .unwrap();
    root.call("DELETE", "transit/keys/etcd", None)
        .await
        .unwrap();
    unhealthy(&mut client).await;
    assert!(backend.probe("/readyz").starts_with("HTTP/1.1 503"));
    assert!(running.stop().await.success());
}

#[tokio::test]
async fn each_of_several_keys_has_a_grace_of_its_own() {
    let backend = Backend::start().await;
    let mut other = Proxy::start(backend.bao.address()).await.unwrap();
    let token = backend.file("token", &backend.token().await);
    let path = |name: &str| backend.place.path(name).display().to_string();
    let text = format!(
        "bao-insecure-http: true
bao-auth: token
bao-token-file: {}
bao-key: etcd
bao-poll-interval: 1s
http-address: 127.0.0.1:0
keys:
- {{name: one, socket: {}, bao-address: '{}', status-grace: 5m}}
- {{name: two, socket: {}, bao-address: '{}', status-grace: 0s}}
- {{name: three, socket: {}, bao-address: '{}'}}
",
        token.display(),
        path("one.sock"),
        other.address(),
        path("two.sock"),
        other.address(),
        path("kms.sock"),
        backend.proxy.address(),
    );
    let file = backend.place.path("config.yaml");
    fs::write(&file, text).unwrap();
    let mut command = program();
    command.arg("--config").arg(file);
    let running = backend.place.start(command).await;
    for socket in ["one.sock", "two.sock", "kms.sock"] {
        let path = backend.place.path(socket);
        eventually(socket, async || connect(&path).await.is_some()).await;
        healthy(&mut connect(&path).await.unwrap()).await;
    }
    other.refuse_connections().await;
    for (key, is_degraded, is_healthy) in
        [("one", 1.0, 0.0), ("two", 0.0, 0.0), ("three", 0.0, 1.0)]
    {
        eventually(key, async || {
            backend.metric(&gauge("degraded", key)) == is_degraded
                && backend.metric(&gauge("healthy", key)) == is_healthy
        })
        .await;
    }
    let ready = backend.probe("/readyz");
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    assert!(ready.contains("\nnot ready: key two: "), "{ready}");
    assert!(ready.contains("\ndegraded: key one: "), "{ready}");
    assert!(!ready.contains("three"), "{ready}");
    assert!(running.stop().await.success());
}
