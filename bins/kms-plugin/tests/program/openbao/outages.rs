//! OpenBao away, sealed, refusing: the program starts, listens, says so, stays, and recovers by itself.

use super::{Backend, SEED, healthy, round_trip, unhealthy};
use crate::fixture::{decrypt, encrypt, status};
use kdc_testbed::bao::kms_plugin_policy;
use kdc_testbed::proxy::Fault;
use tonic::Code;

#[tokio::test]
async fn it_starts_and_listens_while_openbao_is_away_and_recovers() {
    let mut backend = Backend::start().await;
    backend.proxy.refuse_connections().await;
    let token = backend.file("token", &backend.token().await);
    let flags = [
        "--bao-auth",
        "token",
        "--bao-token-file",
        token.to_str().unwrap(),
        "--status-grace",
        "5m",
    ];
    let running = backend.place.start(backend.command(&flags)).await;
    let mut client = backend.place.client().await;
    // There is no grace before OpenBao was reached once.
    let refused = status(&mut client).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "honest, and not a text");
    let refused = encrypt(&mut client, &SEED).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(backend.probe("/livez").starts_with("HTTP/1.1 200"));
    let ready = backend.probe("/readyz");
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    assert!(
        ready.contains("not ready: key kube-dc-kms-plugin: "),
        "{ready}"
    );
    assert!(!backend.place.log().contains("OpenBao login ok"));
    backend.proxy.accept_connections().await.unwrap();
    healthy(&mut client).await;
    round_trip(&mut client).await;
    assert!(backend.probe("/readyz").starts_with("HTTP/1.1 200"));
    assert!(backend.place.log().contains("OpenBao login ok"));
    assert!(running.stop().await.success());
}

#[tokio::test]
async fn it_starts_while_openbao_is_sealed_and_serves_when_it_is_unsealed() {
    let mut backend = Backend::start().await;
    let token = backend.file("token", &backend.token().await);
    backend.bao.seal().await.unwrap();
    let login = [
        "--bao-auth",
        "token",
        "--bao-token-file",
        token.to_str().unwrap(),
    ];
    let running = backend.place.start(backend.command(&login)).await;
    let mut client = backend.place.client().await;
    assert_eq!(
        status(&mut client).await.unwrap_err().code(),
        Code::Unavailable
    );
    crate::fixture::eventually("it says so", async || {
        backend.place.log().contains("sealed")
    })
    .await;
    backend.bao.unseal().await.unwrap();
    healthy(&mut client).await;
    round_trip(&mut client).await;
    assert!(running.stop().await.success());
}

#[tokio::test]
async fn it_starts_without_credential_key_or_right_and_waits_for_each() {
    let backend = Backend::start().await;
    let root = backend.bao.root();
    let nothing = r#"path "sys/nothing" { capabilities = ["deny"] }"#;
    root.write_policy("tcp", nothing).await.unwrap();
    let token = backend.place.path("token");
    let login = [
        "--bao-auth",
        "token",
        "--bao-token-file",
        token.to_str().unwrap(),
        "--bao-key",
        "late",
    ];
    let mut command = crate::fixture::program();
    command.arg("--socket").arg(&backend.place.socket);
    command.args([
        "--bao-address",
        &backend.proxy.address(),
        "--bao-insecure-http",
    ]);
    command.args(["--bao-poll-interval", "1s", "--http-address", "127.0.0.1:0"]);
    command.args(login);
    let running = backend.place.start(command).await;
    let mut client = backend.place.client().await;
    let says = async |words: &str| {
        crate::fixture::eventually(words, async || backend.probe("/readyz").contains(words)).await;
    };
    says("cannot read token file").await;
    super::write_private(&token, &backend.token().await);
    says("do not allow `GET` on `transit/keys/late`").await;
    assert_eq!(
        status(&mut client).await.unwrap_err().code(),
        Code::PermissionDenied
    );
    let policy = kms_plugin_policy("late");
    root.write_policy("tcp", &policy).await.unwrap();
    says("does not exist in OpenBao").await;
    root.create_key("transit", "late").await.unwrap();
    healthy(&mut client).await;
    round_trip(&mut client).await;
    assert!(running.stop().await.success());
}

#[tokio::test]
async fn an_outage_is_reported_at_once_and_cached_seeds_open_through_it() {
    let mut backend = Backend::start().await;
    let (running, mut client) = backend.serving(&[]).await;
    let known = encrypt(&mut client, &SEED).await.unwrap();
    let unknown = encrypt(&mut client, &SEED).await.unwrap();
    assert_eq!(decrypt(&mut client, &known).await.unwrap(), SEED);
    backend.proxy.refuse_connections().await;
    unhealthy(&mut client).await;
    assert_eq!(decrypt(&mut client, &known).await.unwrap(), SEED);
    let refused = decrypt(&mut client, &unknown).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    let breaker = "kdc_kms_bao_breaker_state{key=\"kube-dc-kms-plugin\"}";
    crate::fixture::eventually("the breaker opens", async || backend.metric(breaker) > 0.0).await;
    backend.proxy.accept_connections().await.unwrap();
    healthy(&mut client).await;
    assert_eq!(decrypt(&mut client, &unknown).await.unwrap(), SEED);
    assert!(running.stop().await.success());
}

#[tokio::test]
async fn sigterm_ends_it_cleanly_while_openbao_hangs() {
    let backend = Backend::start().await;
    let (running, mut client) = backend.serving(&[]).await;
    backend.proxy.set(Fault::Hang);
    let call = tokio::spawn(async move { encrypt(&mut client, &SEED).await });
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(running.stop().await.success());
    let refused = call.await.unwrap().unwrap_err();
    assert!(
        !refused.message().contains("h2 protocol error"),
        "{refused}"
    );
    assert!(!backend.place.socket.exists());
}
