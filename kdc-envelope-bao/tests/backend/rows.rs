//! Rows of plugins that stored plain Transit ciphertexts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kdc_envelope::{Aad, Annotations, KekErrorKind, KeyEncryptionKey as _, KeyId, WrappedKey};
use kdc_envelope_bao::LoginMethod;
use kdc_testbed::bao::Bao;
use serde_json::json;

use crate::fixture::{
    AAD, Files, KEY, SEED, config, connected, each_version, kek, opens, quick, server, unwrap,
};

/// A ciphertext as those plugins get it: newest version, nothing bound.
async fn plain_ciphertext(bao: &Bao) -> Vec<u8> {
    let body = json!({"plaintext": STANDARD.encode(SEED)});
    let answer = bao
        .root()
        .call("POST", "transit/encrypt/etcd", Some(body))
        .await
        .unwrap();
    answer["data"]["ciphertext"].as_str().unwrap().into()
}

/// Key id and annotations as the plugins write them for the newest version of a key.
async fn identities(bao: &Bao) -> Vec<(&'static str, String, Annotations)> {
    let key = bao
        .root()
        .call("GET", "transit/keys/etcd", None)
        .await
        .unwrap();
    let version = key["data"]["latest_version"].as_u64().unwrap();
    let created = key["data"]["keys"][version.to_string()].as_u64().unwrap();
    let kleidi = Annotations::try_from_iter([("v2.kleidi.beezy.dev", "1")]).unwrap();
    vec![
        (
            "vault-kubernetes-kms",
            version.to_string(),
            Annotations::new(),
        ),
        (
            "vault-kms-provider",
            created.to_string(),
            Annotations::new(),
        ),
        (
            "vault-kms-plugin",
            format!("transit/etcd/{version}"),
            Annotations::new(),
        ),
        (
            "kleidi",
            format!("kleidi-kms-plugin_{version}_{created}"),
            kleidi,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_other_plugins_open_and_move_to_our_key_id() {
    for bao in each_version().await {
        let files = Files::new();
        let kek = connected(&bao, &files).await;
        for _ in 0..2 {
            for (plugin, key_id, annotations) in identities(&bao).await {
                let key_id = KeyId::new(key_id).unwrap();
                let row = WrappedKey::new(key_id, plain_ciphertext(&bao).await)
                    .with_annotations(annotations);
                assert!(opens(&kek, &row).await, "{plugin}");
                let moved = kek.rewrap(&row, AAD).await.unwrap().unwrap();
                assert_eq!(moved.key_id, kek.status().unwrap().key_id, "{plugin}");
                assert!(opens(&kek, &moved).await, "{plugin}");
            }
            bao.root().rotate_key("transit", KEY).await.unwrap();
        }
    }
}

/// Under a rotation, these plugins name one version and store a ciphertext of another.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_whose_key_id_lies_about_the_version_opens() {
    let bao = server(Bao::options()).await;
    let files = Files::new();
    let kek = connected(&bao, &files).await;
    bao.root().rotate_key("transit", KEY).await.unwrap();
    let row = WrappedKey::new(KeyId::new("1").unwrap(), plain_ciphertext(&bao).await);
    assert!(row.ciphertext.starts_with(b"vault:v2:"));
    assert!(opens(&kek, &row).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_rows_are_not_guessed_at() {
    let bao = server(Bao::options()).await;
    let files = Files::new();
    let kek_open = connected(&bao, &files).await;
    let ciphertext = plain_ciphertext(&bao).await;
    let row = |id: &str| WrappedKey::new(KeyId::new(id).unwrap(), ciphertext.clone());
    let refused = unwrap(&kek_open, &row("obk2.abcdef")).await.unwrap_err();
    assert_eq!(refused.kind(), KekErrorKind::UnknownKey);

    let mut options = quick();
    options.opens_plain_rows = false;
    let token = LoginMethod::TokenFile(files.path("token"));
    let strict = kek(config(&[bao.address()], None), token, options);
    strict.connect().await.unwrap();
    let refused = unwrap(&strict, &row("1")).await.unwrap_err();
    assert_eq!(refused.kind(), KekErrorKind::UnknownKey);
    // A bound ciphertext does not pass as a plain one.
    let bound = kek_open.wrap(&SEED, Aad::new(b"x")).await.unwrap();
    let passed_off = WrappedKey::new(KeyId::new("1").unwrap(), bound.ciphertext);
    let refused = unwrap(&kek_open, &passed_off).await.unwrap_err();
    assert_eq!(refused.kind(), KekErrorKind::Authentication);
}
