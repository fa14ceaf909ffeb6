//! Rotation: what is done, what is proven, and what is said when it fails.

use std::time::Duration;

use kdc_envelope_bao::admin::{AdminError, KeyConfig, Trial};
use kdc_envelope_bao::{BaoError, BaoErrorClass, TransitKey};
use kdc_testbed::bao::Grant;
use kdc_testbed::proxy::{Fault, Proxy, Rule};
use serde_json::json;

use crate::fixture::{Set, each_version, key};

const ROTATE: &str = "POST /v1/transit/keys/k/rotate";
const ENCRYPT: &str = "POST /v1/transit/encrypt/k";
const DECRYPT: &str = "POST /v1/transit/decrypt/k";

/// Servers with the key `k`.
async fn each_with_key() -> Vec<Set> {
    let all = each_version().await;
    for set in &all {
        set.admin
            .keys()
            .ensure(&key("k"), &KeyConfig::safe())
            .await
            .unwrap();
    }
    all
}

/// Rotates through a proxy that does this; how often it saw the rotation.
async fn rotate_with(set: &Set, rule: impl Into<Rule>) -> (Result<TransitKey, AdminError>, usize) {
    let proxy = Proxy::start(set.bao.address()).await.unwrap();
    let admin = set.admin_at(&proxy.address(), set.bao.root_token());
    proxy.set(rule);
    let result = admin.keys().rotate(&key("k"), Trial::RoundTrip).await;
    (result, proxy.counts().requests(ROTATE))
}

async fn latest(set: &Set) -> u32 {
    let key = set.admin.keys().read(&key("k")).await.unwrap();
    key.unwrap().latest_version
}

#[tokio::test]
async fn a_rotation_makes_the_next_version_and_keeps_the_former_ones() {
    for set in each_with_key().await {
        let old = set.encrypt("k", 1).await;
        for version in 2..5 {
            let rotated = set.rotate().await;
            assert_eq!(rotated.latest_version, version);
            assert!(rotated.versions.contains_key(&version));
        }
        assert!(set.opens("k", &old).await);
    }
}

#[tokio::test]
async fn rotations_by_clones_take_turns() {
    for set in each_with_key().await {
        let admins: Vec<_> = (0..8).map(|_| set.admin.clone()).collect();
        let mut tasks = Vec::new();
        for admin in admins {
            tasks.push(tokio::spawn(async move {
                admin.keys().rotate(&key("k"), Trial::RoundTrip).await
            }));
        }
        let mut versions = Vec::new();
        for task in tasks {
            versions.push(task.await.unwrap().unwrap().latest_version);
        }
        versions.sort_unstable();
        assert_eq!(versions, (2..10).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_lost_answer_is_looked_into_and_the_rotation_not_repeated() {
    for set in each_with_key().await {
        let (result, sent) = rotate_with(&set, Fault::TruncateBody(0).on(ROTATE)).await;
        let error = result.unwrap_err();
        assert!(
            matches!(
                error,
                AdminError::PhantomSuspected {
                    before: 1,
                    seen: Some(2),
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(error.to_string().contains("rotate it once more"));
        assert_eq!(error.class(), BaoErrorClass::Rejected);
        assert_eq!((sent, latest(&set).await), (1, 2));
        // The remedy that the error names.
        let rotated = set.rotate().await;
        assert_eq!(rotated.latest_version, 3);
    }
}

#[tokio::test]
async fn a_commit_that_failed_is_suspect_even_if_nothing_new_shows() {
    for set in each_with_key().await {
        let failed = Fault::status(500, "1 error occurred:\n\t* transaction commit failed\n\n");
        let (result, sent) = rotate_with(&set, failed.on(ROTATE)).await;
        let error = result.unwrap_err();
        assert!(
            matches!(
                error,
                AdminError::PhantomSuspected {
                    before: 1,
                    seen: Some(1),
                    ..
                }
            ),
            "{error:?}"
        );
        assert_eq!(sent, 1);
    }
}

#[tokio::test]
async fn a_rotation_that_did_not_happen_leaves_the_key_as_it_was() {
    for set in each_with_key().await {
        for fault in [
            Fault::status(
                500,
                "local node not active but active cluster node not found",
            ),
            Fault::html(),
            Fault::garbage(),
        ] {
            let (result, sent) = rotate_with(&set, fault.on(ROTATE)).await;
            let error = result.unwrap_err();
            assert!(
                matches!(error, AdminError::NotRotated { version: 1, .. }),
                "{error:?}"
            );
            assert_eq!(error.class(), BaoErrorClass::Transient);
            assert_eq!((sent, latest(&set).await), (1, 1));
        }
        // What certainly was not carried out is told as it is.
        let sealed = Fault::status(503, "Vault is sealed").on(ROTATE);
        let (result, sent) = rotate_with(&set, sealed).await;
        assert!(
            matches!(result, Err(AdminError::Bao(BaoError::Sealed { .. }))),
            "{result:?}"
        );
        assert_eq!(sent, 1);
    }
}

#[tokio::test]
async fn a_version_that_does_not_decrypt_what_it_encrypted_is_an_error() {
    for set in each_with_key().await {
        let wrong = Fault::status(400, "cipher: message authentication failed");
        let (result, _) = rotate_with(&set, wrong.on(DECRYPT)).await;
        let error = result.unwrap_err();
        assert!(
            matches!(error, AdminError::Bao(BaoError::Canary { version: 2, .. })),
            "{error:?}"
        );
        let other = r#"{"request_id":"1","data":{"plaintext":"b3RoZXI="}}"#;
        let (result, _) = rotate_with(&set, Fault::answer(200, &[], other).on(DECRYPT)).await;
        let error = result.unwrap_err();
        assert!(
            matches!(error, AdminError::Bao(BaoError::Canary { version: 3, .. })),
            "{error:?}"
        );
        let older = r#"{"request_id":"1","data":{"ciphertext":"vault:v1:AAAA","key_version":1}}"#;
        let (result, _) = rotate_with(&set, Fault::answer(200, &[], older).on(ENCRYPT)).await;
        let error = result.unwrap_err();
        assert!(
            matches!(error, AdminError::Bao(BaoError::Canary { version: 4, .. })),
            "{error:?}"
        );
    }
}

const ROTATOR: &str = r#"
    path "transit/keys/k" { capabilities = ["read"] }
    path "transit/keys/k/rotate" { capabilities = ["update"] }
"#;
const TRIAL: &str = r#"
    path "transit/encrypt/k" { capabilities = ["update"] }
    path "transit/decrypt/k" { capabilities = ["update"] }
"#;

async fn write_policy(set: &Set, text: &str) {
    set.bao.root().write_policy("rotator", text).await.unwrap();
}

#[tokio::test]
async fn a_rotator_that_may_not_try_versions_makes_none() {
    for set in each_with_key().await {
        write_policy(&set, ROTATOR).await;
        let grant = Grant::of(["rotator"]);
        let token = set.bao.root().create_token(&grant).await.unwrap();
        let admin = set.admin_at(set.bao.address(), &token);
        for _ in 0..3 {
            let error = admin
                .keys()
                .rotate(&key("k"), Trial::RoundTrip)
                .await
                .unwrap_err();
            assert!(
                matches!(error, AdminError::NotRotated { version: 1, .. }),
                "{error:?}"
            );
            assert_eq!(error.class(), BaoErrorClass::Denied);
            let message = error.to_string();
            assert!(message.contains("`transit/encrypt/k`"), "{message}");
            assert!(std::error::Error::source(&error).is_none(), "said once");
            assert_eq!(latest(&set).await, 1);
        }
    }
}

#[tokio::test]
async fn a_rotation_without_a_trial_needs_no_right_to_encrypt_or_decrypt() {
    for set in each_with_key().await {
        write_policy(&set, ROTATOR).await;
        let grant = Grant::of(["rotator"]).without_default_policy();
        let token = set.bao.root().create_token(&grant).await.unwrap();
        let proxy = Proxy::start(set.bao.address()).await.unwrap();
        let admin = set.admin_at(&proxy.address(), &token);
        for version in 2..4 {
            let rotated = admin.keys().rotate(&key("k"), Trial::None).await.unwrap();
            assert_eq!(rotated.latest_version, version);
        }
        assert_eq!(latest(&set).await, 3);
        for operation in [ENCRYPT, DECRYPT] {
            assert_eq!(proxy.counts().requests(operation), 0, "{operation}");
        }
    }
}

#[tokio::test]
async fn a_version_that_could_not_be_tried_is_tried_before_another_is_made() {
    for set in each_with_key().await {
        write_policy(&set, &[ROTATOR, TRIAL].concat()).await;
        let grant = Grant::of(["rotator"]);
        let token = set.bao.root().create_token(&grant).await.unwrap();
        let proxy = Proxy::start(set.bao.address()).await.unwrap();
        let admin = set.admin_at(&proxy.address(), &token);
        // The right goes away while the rotation is on its way.
        proxy.set(Fault::Delay(Duration::from_millis(500)).on(ROTATE));
        let k = key("k");
        let take_away = async {
            while proxy.counts().requests(ROTATE) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            write_policy(&set, ROTATOR).await;
        };
        let (mut result, ()) = tokio::join!(admin.keys().rotate(&k, Trial::RoundTrip), take_away);
        for _ in 0..3 {
            let error = result.unwrap_err();
            assert!(
                matches!(error, AdminError::Unproven { version: 2, .. }),
                "{error:?}"
            );
            let message = error.to_string();
            assert!(message.contains("`transit/encrypt/k`"), "{message}");
            result = admin.keys().rotate(&k, Trial::RoundTrip).await;
        }
        assert_eq!(latest(&set).await, 2);
        write_policy(&set, &[ROTATOR, TRIAL].concat()).await;
        let rotated = admin.keys().rotate(&k, Trial::RoundTrip).await;
        assert_eq!(rotated.unwrap().latest_version, 2);
        let rotated = admin.keys().rotate(&k, Trial::RoundTrip).await;
        assert_eq!(rotated.unwrap().latest_version, 3);
        assert_eq!(proxy.counts().requests(ROTATE), 2);
    }
}

#[tokio::test]
async fn keys_that_must_not_be_rotated_are_not() {
    for set in each_with_key().await {
        let refused = async |expected: &str| {
            let (result, sent) = rotate_with(&set, Fault::html().on("nothing")).await;
            let error = result.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert_eq!(sent, 0);
        };
        let config = "transit/keys/k/config";
        set.done("POST", config, json!({"auto_rotate_period": "2h"}))
            .await;
        refused("is rotated by OpenBao every 7200 s").await;
        set.done("POST", config, json!({"auto_rotate_period": 0}))
            .await;
        set.admin.keys().soft_delete(&key("k")).await.unwrap();
        refused("it is deleted").await;
    }
}
