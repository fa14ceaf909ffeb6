//! What every backend must do, and what is particular to Transit.

use std::sync::Arc;

use kdc_envelope::kek::conformance;
use kdc_envelope::{Aad, KekErrorKind, KeyEncryptionKey as _};
use kdc_envelope_bao::{AAD_ANNOTATION, LoginMethod, Operation, Outcome, TransitCiphertext};
use serde_json::json;

use crate::fixture::{
    AAD, Files, KEY, SEED, config, connected, each_version, kek, opens, quick, server, unwrap, wrap,
};
use kdc_testbed::bao::{Bao, Grant};

#[tokio::test(flavor = "multi_thread")]
async fn conforms_on_every_version() {
    for bao in each_version().await {
        let files = Files::new();
        let kek = connected(&bao, &files).await;
        conformance::check(&kek).await.unwrap();
        let rotate = async || {
            bao.root().rotate_key("transit", KEY).await.unwrap();
            kek.connect().await.unwrap();
        };
        conformance::check_rotation(&kek, rotate).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_policy_is_enough_and_no_more() {
    let bao = server(Bao::options()).await;
    let files = Files::new();
    let grant = Grant::of(["kms"]).without_default_policy();
    let token = bao.root().create_token(&grant).await.unwrap();
    let token_file = files.put("token", &token);
    let kek = kek(
        config(&[bao.address()], None),
        LoginMethod::TokenFile(token_file),
        quick(),
    );
    kek.connect().await.unwrap();
    conformance::check(&kek).await.unwrap();
    let caller = bao.root().with_token(&token);
    for path in [
        "transit/keys/etcd/rotate",
        "transit/keys/etcd/config",
        "transit/encrypt/other",
    ] {
        let (status, _) = caller
            .request("POST", path, Some(json!({"plaintext": "AAAA"})))
            .await
            .unwrap();
        assert_eq!(status, 403, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_bound_says_so_and_what_is_not_is_not_marked() {
    let bao = server(Bao::options()).await;
    let files = Files::new();
    let kek = connected(&bao, &files).await;
    let bound = wrap(&kek).await;
    assert_eq!(bound.annotations.get(AAD_ANNOTATION), Some(&b"1"[..]));
    let plain = kek.wrap(&SEED, Aad::EMPTY).await.unwrap();
    assert!(plain.annotations.is_empty());
    // An attacker who strips the mark of a bound key only makes it unreadable.
    let mut stripped = bound.clone();
    stripped.annotations = kdc_envelope::Annotations::new();
    let refused = unwrap(&kek, &stripped).await.unwrap_err();
    assert_eq!(refused.kind(), KekErrorKind::Authentication);
    // A plain one opens whatever it is said to be bound to.
    assert!(opens(&kek, &plain).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unbound_key_moves_without_being_revealed() {
    let bao = server(Bao::options()).await;
    let files = Files::new();
    let kek = connected(&bao, &files).await;
    let old = kek.wrap(&SEED, Aad::EMPTY).await.unwrap();
    let bound = wrap(&kek).await;
    bao.root().rotate_key("transit", KEY).await.unwrap();
    kek.connect().await.unwrap();
    let decrypts = || {
        kek.session()
            .client()
            .stats()
            .requests(Operation::Decrypt, Outcome::Ok)
    };
    let before = decrypts();
    let moved = kek.rewrap(&old, Aad::EMPTY).await.unwrap().unwrap();
    assert_eq!(decrypts(), before);
    let version = TransitCiphertext::parse(&moved.ciphertext)
        .unwrap()
        .version();
    assert_eq!(version.get(), 2);
    assert!(opens(&kek, &moved).await);
    // Transit's own rewrap would lose what a key is bound to.
    let moved = kek.rewrap(&bound, AAD).await.unwrap().unwrap();
    assert!(decrypts() > before);
    assert_eq!(moved.key_id, kek.status().unwrap().key_id);
    assert!(opens(&kek, &moved).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_calls_share_requests_and_each_gets_its_own_answer() {
    let bao = server(Bao::options()).await;
    let files = Files::new();
    let kek = Arc::new(connected(&bao, &files).await);
    let calls: Vec<_> = (0..200u8)
        .map(|number| {
            let kek = Arc::clone(&kek);
            tokio::spawn(async move {
                let (secret, aad) = ([number; 32], [number; 4]);
                let wrapped = kek.wrap(&secret, Aad::new(&aad)).await.unwrap();
                let opened = kek.unwrap(&wrapped, Aad::new(&aad)).await.unwrap();
                assert_eq!(opened.expose(), secret);
                let other = kek.unwrap(&wrapped, Aad::new(b"other")).await.unwrap_err();
                assert_eq!(other.kind(), KekErrorKind::Authentication);
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    let stats = kek.session().client().stats();
    let requests: u64 = [Operation::Encrypt, Operation::Decrypt]
        .iter()
        .map(|operation| stats.requests(*operation, Outcome::Ok))
        .sum();
    assert_eq!(stats.batched_items(), 2 + 200 * 3);
    assert!(requests < 300, "{requests} requests for 600 calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfit_key_is_refused_with_the_reason() {
    let bao = server(Bao::options()).await;
    let files = Files::new();
    let token = files.put("token", bao.root_token());
    let refusal = async |body: serde_json::Value| {
        let root = bao.root();
        let open = json!({"deletion_allowed": true});
        root.call("POST", "transit/keys/etcd/config", Some(open))
            .await
            .unwrap();
        root.call("DELETE", "transit/keys/etcd", None)
            .await
            .unwrap();
        root.call("POST", "transit/keys/etcd", Some(body))
            .await
            .unwrap();
        let kek = kek(
            config(&[bao.address()], None),
            LoginMethod::TokenFile(token.clone()),
            quick(),
        );
        let error = kek.connect().await.unwrap_err().to_string();
        assert!(kek.status().is_err());
        error
    };
    let error = refusal(json!({"type": "rsa-2048"})).await;
    assert!(error.contains("its type is `rsa-2048`"), "{error}");
    // Without versions, and still an answer of OpenBao.
    let error = refusal(json!({"type": "hmac", "key_size": 32})).await;
    assert!(error.contains("its type is `hmac`"), "{error}");
    let error = refusal(json!({"derived": true})).await;
    assert!(error.contains("it is derived"), "{error}");
}
