//! OpenBao away, sealed, hanging, under another certificate; one of several addresses dead.

use std::time::Duration;

use kdc_envelope::{ErrorChain, KekErrorKind, KeyEncryptionKey as _};
use kdc_envelope_bao::{BreakerState, LoginMethod, TransitKek, TransitOptions};
use kdc_testbed::bao::Bao;
use kdc_testbed::process::Signal;

use crate::fixture::{
    Files, config, connected, kek, opens, quick, server, unwrap, within_ten_seconds, wrap,
};

fn watch(kek: &TransitKek) {
    let (watching, session) = (kek.clone(), kek.session().clone());
    tokio::spawn(async move { tokio::join!(watching.watch(), session.maintain()) });
}

async fn healthy(kek: &TransitKek) {
    within_ten_seconds("healthy", async || kek.status().is_ok()).await;
}

async fn unhealthy(kek: &TransitKek) {
    within_ten_seconds("unhealthy", async || kek.status().is_err()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sealing_shows_and_unsealing_heals() {
    let mut bao = server(Bao::options()).await;
    let files = Files::new();
    let kek = connected(&bao, &files).await;
    watch(&kek);
    let wrapped = wrap(&kek).await;
    bao.seal().await.unwrap();
    let refused = unwrap(&kek, &wrapped).await.unwrap_err();
    assert_eq!(refused.kind(), KekErrorKind::Unavailable);
    unhealthy(&kek).await;
    bao.unseal().await.unwrap();
    healthy(&kek).await;
    assert!(opens(&kek, &wrapped).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_shows_and_a_restart_heals() {
    let mut bao = server(Bao::options().persistent()).await;
    let files = Files::new();
    let kek = connected(&bao, &files).await;
    watch(&kek);
    let wrapped = wrap(&kek).await;
    bao.process().kill().await.unwrap();
    assert!(unwrap(&kek, &wrapped).await.is_err());
    unhealthy(&kek).await;
    bao.restart().await.unwrap();
    healthy(&kek).await;
    assert!(opens(&kek, &wrapped).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_outlasts_a_crash_for_the_grace_that_the_hold_allows() {
    let mut bao = server(Bao::options()).await;
    let files = Files::new();
    let token = files.put("token", bao.root_token());
    let mut options = quick();
    options.poll_interval = Duration::from_secs(1);
    options.hold = TransitOptions::HOLD_MARGIN + Duration::from_secs(8);
    let kek = kek(
        config(&[bao.address()], None),
        LoginMethod::TokenFile(token),
        options,
    );
    watch(&kek);
    healthy(&kek).await;
    let before = kek.status().unwrap();
    assert_eq!(before.degraded, None);
    bao.process().kill().await.unwrap();
    within_ten_seconds("degraded", async || {
        let status = kek.status();
        status.is_ok_and(|status| status.degraded.is_some() && status.key_id == before.key_id)
    })
    .await;
    assert!(kek.wrap(&[1; 32], crate::fixture::AAD).await.is_err());
    unhealthy(&kek).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_costs_a_bounded_time_and_then_nothing() {
    let mut bao = server(Bao::options()).await;
    let files = Files::new();
    let kek = connected(&bao, &files).await;
    watch(&kek);
    let wrapped = wrap(&kek).await;
    bao.process().pause().await.unwrap();
    // Far above the limit of 2.2 s, and far below waiting for the server.
    let limit = Duration::from_secs(20);
    let refused = tokio::time::timeout(limit, unwrap(&kek, &wrapped))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(refused.kind(), KekErrorKind::Unavailable);
    unhealthy(&kek).await;
    within_ten_seconds("the breaker opens", async || {
        kek.session().client().breaker_state() != BreakerState::Closed
    })
    .await;
    // Also without calls, the status names the server and what is wrong with it.
    let trouble = kek.status().unwrap_err();
    let said = ErrorChain::new(&trouble).to_string();
    let expected = format!("{} did not answer within", bao.address());
    assert!(said.contains(&expected), "{said}");
    bao.process().signal(Signal::CONT).unwrap();
    healthy(&kek).await;
    assert!(opens(&kek, &wrapped).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_without_openbao_and_finds_it_later() {
    let mut bao = server(Bao::options().persistent()).await;
    let files = Files::new();
    let token = files.put("token", bao.root_token());
    bao.process().kill().await.unwrap();
    let kek = kek(
        config(&[bao.address()], None),
        LoginMethod::TokenFile(token),
        quick(),
    );
    watch(&kek);
    assert!(kek.connect().await.is_err());
    assert!(kek.wrap(&[1; 32], crate::fixture::AAD).await.is_err());
    bao.restart().await.unwrap();
    healthy(&kek).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_first_address_does_not_matter() {
    let bao = server(Bao::options()).await;
    let files = Files::new();
    let token = files.put("token", bao.root_token());
    // No server listens on the first; the second is in a network that drops everything or refuses.
    let addresses = ["http://127.0.0.1:1", bao.address()];
    let kek = kek(
        config(&addresses, None),
        LoginMethod::TokenFile(token),
        quick(),
    );
    kek.connect().await.unwrap();
    assert!(opens(&kek, &wrap(&kek).await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_authority_is_refused_until_its_certificate_is_in_the_file() {
    let mut bao = server(Bao::options().tls()).await;
    let files = Files::new();
    let authority = std::fs::read_to_string(bao.ca_file().unwrap()).unwrap();
    let ca = files.put("ca.pem", &authority);
    let token = files.put("token", bao.root_token());
    let mut options = quick();
    options.poll_interval = Duration::from_secs(1);
    let kek = kek(
        config(&[bao.address()], Some(&ca)),
        LoginMethod::TokenFile(token),
        options,
    );
    watch(&kek);
    healthy(&kek).await;
    let wrapped = wrap(&kek).await;

    let other = bao.swap_certificate().await.unwrap();
    bao.seal().await.unwrap();
    bao.unseal().await.unwrap();
    // Connections that are open go on under the old certificate.
    files.put("ca.pem", &std::fs::read_to_string(&other).unwrap());
    within_ten_seconds("the new authority", async || {
        kek.session().client().stats().tls_reloads() == 1
    })
    .await;
    healthy(&kek).await;
    assert!(opens(&kek, &wrapped).await);
    // A file that holds no certificate leaves the present one in use.
    files.put("ca.pem", "nothing");
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert!(opens(&kek, &wrapped).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_under_an_unknown_authority_gets_no_token() {
    let mut bao = server(Bao::options().tls()).await;
    let files = Files::new();
    let token = files.put("token", bao.root_token());
    bao.swap_certificate().await.unwrap();
    let kek = kek(
        config(&[bao.address()], bao.ca_file()),
        LoginMethod::TokenFile(token),
        quick(),
    );
    let error = kek.connect().await.unwrap_err();
    let chain = ErrorChain::new(&error).to_string();
    assert!(chain.contains("certificate"), "{chain}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_may_have_another_name_than_the_address() {
    let bao = server(Bao::options().tls()).await;
    let files = Files::new();
    let token = || LoginMethod::TokenFile(files.path("token"));
    files.put("token", bao.root_token());
    let mut named = config(&[bao.address()], bao.ca_file());
    named.tls.server_name = Some("localhost".to_owned());
    kek(named.clone(), token(), quick())
        .connect()
        .await
        .unwrap();
    named.tls.server_name = Some("elsewhere.example".to_owned());
    assert!(kek(named, token(), quick()).connect().await.is_err());
}
