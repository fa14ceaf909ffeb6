//! New versions, versions that vanish, and keys that are made again.

use std::time::Duration;

use kdc_envelope::{KekErrorKind, KeyEncryptionKey as _};
use kdc_envelope_bao::{LoginMethod, TransitOptions};
use kdc_testbed::bao::Bao;
use serde_json::json;

use crate::fixture::{
    Files, KEY, config, connected, kek, opens, quick, server, unwrap, within_ten_seconds, wrap,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_reads_at_once_and_writes_after_the_hold_on_every_replica() {
    let bao = server(Bao::options()).await;
    let files = Files::new();
    let eager = connected(&bao, &files).await;
    let mut held: TransitOptions = quick();
    held.hold = Duration::from_secs(5);
    held.poll_interval = Duration::from_secs(600);
    let token = || LoginMethod::TokenFile(files.path("token"));
    let replica = kek(config(&[bao.address()], None), token(), held.clone());
    replica.connect().await.unwrap();

    bao.root().rotate_key("transit", KEY).await.unwrap();
    eager.connect().await.unwrap();
    let new = wrap(&eager).await;
    assert_eq!(eager.status().unwrap().version, 2);
    // It has not polled since, and still opens what the other one wrote.
    assert!(opens(&replica, &new).await);
    replica.connect().await.unwrap();
    let started_now = kek(config(&[bao.address()], None), token(), held);
    started_now.connect().await.unwrap();
    for kek in [&replica, &started_now] {
        assert_eq!(kek.status().unwrap().version, 1);
        assert_eq!(kek.latest_version(), 2);
    }
    let watch = tokio::spawn({
        let replica = replica.clone();
        async move { replica.watch().await }
    });
    within_ten_seconds("the hold ends by itself", async || {
        replica.status().unwrap().version == 2
    })
    .await;
    assert_eq!(replica.status().unwrap(), eager.status().unwrap());
    watch.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lowest_version_to_encrypt_with_is_obeyed_before_the_hold_ends() {
    let bao = server(Bao::options()).await;
    let files = Files::new();
    let token = files.put("token", bao.root_token());
    let mut held = quick();
    held.hold = Duration::from_secs(3_600);
    let kek = kek(
        config(&[bao.address()], None),
        LoginMethod::TokenFile(token),
        held,
    );
    kek.connect().await.unwrap();
    bao.root().rotate_key("transit", KEY).await.unwrap();
    let lowest = json!({"min_encryption_version": 2});
    bao.root()
        .call("POST", "transit/keys/etcd/config", Some(lowest))
        .await
        .unwrap();
    kek.connect().await.unwrap();
    assert_eq!(kek.status().unwrap().version, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_decrypt_any_more_says_what_to_do() {
    let bao = server(Bao::options()).await;
    let files = Files::new();
    let kek = connected(&bao, &files).await;
    let old = wrap(&kek).await;
    bao.root().rotate_key("transit", KEY).await.unwrap();
    let raise = json!({"min_decryption_version": 2});
    bao.root()
        .call("POST", "transit/keys/etcd/config", Some(raise))
        .await
        .unwrap();
    for _ in 0..2 {
        // First as OpenBao says it, then as it is known here.
        let refused = unwrap(&kek, &old).await.unwrap_err();
        assert_eq!(refused.kind(), KekErrorKind::Denied);
        let source = std::error::Error::source(&refused).unwrap().to_string();
        assert!(source.contains("lower it to read again"), "{source}");
        kek.connect().await.unwrap();
    }
    let lower = json!({"min_decryption_version": 1});
    bao.root()
        .call("POST", "transit/keys/etcd/config", Some(lower))
        .await
        .unwrap();
    kek.connect().await.unwrap();
    assert!(opens(&kek, &old).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_made_again_under_its_name_has_another_key_id() {
    let bao = server(Bao::options()).await;
    let files = Files::new();
    let kek = connected(&bao, &files).await;
    let lost = wrap(&kek).await;
    // Creation times have whole seconds.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let open = json!({"deletion_allowed": true});
    bao.root()
        .call("POST", "transit/keys/etcd/config", Some(open))
        .await
        .unwrap();
    bao.root()
        .call("DELETE", "transit/keys/etcd", None)
        .await
        .unwrap();
    let missing = kek.connect().await.unwrap_err();
    assert!(missing.to_string().contains("does not exist"), "{missing}");
    assert!(kek.status().is_err());

    bao.root().create_key("transit", KEY).await.unwrap();
    kek.connect().await.unwrap();
    let status = kek.status().unwrap();
    assert_eq!(status.version, 1);
    assert_ne!(status.key_id, lost.key_id);
    let refused = unwrap(&kek, &lost).await.unwrap_err();
    assert_eq!(refused.kind(), KekErrorKind::UnknownKey);
    assert!(opens(&kek, &wrap(&kek).await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_in_use_that_is_gone_makes_it_unhealthy() {
    let bao = server(Bao::options()).await;
    let files = Files::new();
    let kek = connected(&bao, &files).await;
    let root = bao.root();
    let allow =
        json!({"exportable": true, "allow_plaintext_backup": true, "deletion_allowed": true});
    root.call("POST", "transit/keys/etcd/config", Some(allow))
        .await
        .unwrap();
    let backup = root.call("GET", "transit/backup/etcd", None).await.unwrap();
    root.rotate_key("transit", KEY).await.unwrap();
    kek.connect().await.unwrap();
    let new = wrap(&kek).await;
    root.call("DELETE", "transit/keys/etcd", None)
        .await
        .unwrap();
    let restore = json!({"backup": backup["data"]["backup"]});
    root.call("POST", "transit/restore/etcd", Some(restore))
        .await
        .unwrap();

    let error = kek.connect().await.unwrap_err().to_string();
    assert!(error.contains("went back from version 2 to 1"), "{error}");
    assert!(kek.status().is_err());
    assert!(unwrap(&kek, &new).await.is_err());
    // As the error says: past the lost version all is well again.
    root.rotate_key("transit", KEY).await.unwrap();
    root.rotate_key("transit", KEY).await.unwrap();
    kek.connect().await.unwrap();
    assert_eq!(kek.status().unwrap().version, 3);
}
