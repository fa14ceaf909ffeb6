//! Transit keys and what may change about them.

use std::time::Duration;

use kdc_envelope_bao::admin::{AdminError, Change, KeyConfig, Trial};
use kdc_envelope_bao::{BaoError, BaoErrorClass};
use kdc_testbed::proxy::{Fault, Proxy};
use serde_json::json;

use crate::fixture::{each_version, key, mount, transit};

#[tokio::test]
async fn a_key_is_made_as_it_must_be() {
    for set in each_version().await {
        let keys = set.admin.keys();
        let (change, made) = keys.ensure(&key("k"), &KeyConfig::safe()).await.unwrap();
        assert_eq!(change, Change::Created);
        assert_eq!(made.kind, "aes256-gcm96");
        assert_eq!((made.latest_version, made.auto_rotate_period), (1, 0));
        let may = [
            made.derived,
            made.exportable,
            made.allow_plaintext_backup,
            made.deletion_allowed,
        ];
        assert_eq!(may, [false; 4]);
        assert_eq!(keys.read(&key("k")).await.unwrap().unwrap(), made);
        assert_eq!(keys.list(&transit()).await.unwrap(), ["k"]);
        let (change, again) = keys.ensure(&key("k"), &KeyConfig::safe()).await.unwrap();
        assert_eq!((change, again), (Change::Unchanged, made));
    }
}

/// OpenBao answers 200 when a key is made that exists, and with the old key.
#[tokio::test]
async fn a_key_of_another_kind_is_refused_and_left_alone() {
    for set in each_version().await {
        for (name, body, fields) in [
            ("smaller", json!({"type": "aes128-gcm96"}), "type"),
            ("signing", json!({"type": "ed25519"}), "type"),
            ("derived", json!({"derived": true}), "derived"),
            (
                "open",
                json!({"exportable": true, "allow_plaintext_backup": true}),
                "exportable, allow_plaintext_backup",
            ),
        ] {
            let path = format!("transit/keys/{name}");
            set.done("POST", &path, body).await;
            let config = KeyConfig::safe();
            let error = set
                .admin
                .keys()
                .ensure(&key(name), &config)
                .await
                .unwrap_err();
            match &error {
                AdminError::KeyMismatch { fields: found, .. } => assert_eq!(found, fields),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn drift_of_a_key_is_repaired_and_named() {
    for set in each_version().await {
        let keys = set.admin.keys();
        keys.ensure(&key("k"), &KeyConfig::safe()).await.unwrap();
        let drift = json!({"deletion_allowed": true, "auto_rotate_period": "2h"});
        set.done("POST", "transit/keys/k/config", drift).await;
        let (change, repaired) = keys.ensure(&key("k"), &KeyConfig::safe()).await.unwrap();
        let fields = vec!["deletion_allowed", "auto_rotate_period"];
        assert_eq!(change, Change::Updated { fields });
        assert!(!repaired.deletion_allowed);
        assert_eq!(repaired.auto_rotate_period, 0);
        assert_eq!(keys.read(&key("k")).await.unwrap().unwrap(), repaired);
    }
}

#[tokio::test]
async fn minimums_are_set_without_touching_the_rest_and_old_versions_trimmed() {
    for set in each_version().await {
        let keys = set.admin.keys();
        let mut asked = KeyConfig::default();
        asked.auto_rotate_period = Some(Duration::from_secs(7_200));
        let (change, made) = keys.ensure(&key("k"), &asked).await.unwrap();
        assert_eq!((change, made.auto_rotate_period), (Change::Created, 7_200));
        for _ in 0..2 {
            set.done("POST", "transit/keys/k/rotate", json!({})).await;
        }
        let old = set.encrypt("k", 1).await;
        let mut config = KeyConfig::default();
        config.min_decryption_version = Some(2);
        config.min_encryption_version = Some(3);
        let (change, changed) = keys.ensure_config(&key("k"), &config).await.unwrap();
        let fields = vec!["min_decryption_version", "min_encryption_version"];
        assert_eq!(change, Change::Updated { fields });
        assert_eq!(changed.auto_rotate_period, 7_200);
        let again = keys.ensure_config(&key("k"), &config).await.unwrap();
        assert_eq!(again, (Change::Unchanged, changed));
        assert!(!set.opens("k", &old).await);

        let trimmed = keys.trim(&key("k"), 2).await.unwrap();
        assert_eq!(trimmed.min_available_version, 2);
        assert_eq!(trimmed.versions.keys().collect::<Vec<_>>(), [&2, &3]);
        let error = keys.trim(&key("k"), 3).await.unwrap_err();
        assert_eq!(error.class(), BaoErrorClass::Rejected, "{error:?}");
        config.min_decryption_version = Some(9);
        let error = keys.ensure_config(&key("k"), &config).await.unwrap_err();
        assert_eq!(error.class(), BaoErrorClass::Rejected, "{error:?}");
    }
}

#[tokio::test]
async fn a_key_goes_out_of_use_and_comes_back_and_is_deleted_when_it_may() {
    for set in each_version().await {
        let (keys, k) = (set.admin.keys(), key("k"));
        keys.ensure(&k, &KeyConfig::safe()).await.unwrap();
        let ciphertext = set.encrypt("k", 1).await;
        assert!(keys.soft_delete(&k).await.unwrap().soft_deleted);
        assert!(!set.opens("k", &ciphertext).await);
        let error = keys.ensure(&k, &KeyConfig::safe()).await.unwrap_err();
        assert!(
            matches!(error, AdminError::Bao(BaoError::Profile { .. })),
            "{error:?}"
        );
        assert!(!keys.restore(&k).await.unwrap().soft_deleted);
        assert!(set.opens("k", &ciphertext).await);

        let error = keys.delete(&k).await.unwrap_err();
        assert_eq!(error.class(), BaoErrorClass::Rejected, "{error:?}");
        let mut config = KeyConfig::default();
        config.deletion_allowed = Some(true);
        keys.ensure_config(&k, &config).await.unwrap();
        keys.delete(&k).await.unwrap();
        keys.delete(&k).await.unwrap();
        assert!(keys.read(&k).await.unwrap().is_none());
        assert!(keys.list(&transit()).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_key_that_is_not_there_is_missing_and_so_is_its_mount() {
    for set in each_version().await {
        let (keys, k) = (set.admin.keys(), key("k"));
        let config = KeyConfig::safe();
        for error in [
            keys.ensure_config(&k, &config).await.map(drop).unwrap_err(),
            keys.soft_delete(&k).await.map(drop).unwrap_err(),
            keys.restore(&k).await.map(drop).unwrap_err(),
            keys.rotate(&k, Trial::RoundTrip)
                .await
                .map(drop)
                .unwrap_err(),
            keys.list(&mount("elsewhere")).await.map(drop).unwrap_err(),
        ] {
            assert_eq!(error.class(), BaoErrorClass::Missing, "{error:?}");
        }
        assert!(keys.read(&k).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn encrypting_makes_keys_only_until_it_is_forbidden() {
    for set in each_version().await {
        let plain = json!({"plaintext": "c2VjcmV0"});
        set.done("POST", "transit/encrypt/typo", plain.clone())
            .await;
        let forbidden = set.admin.keys().ensure_no_upsert(&transit()).await.unwrap();
        let fields = vec!["disable_upsert"];
        assert_eq!(forbidden, Change::Updated { fields });
        let (status, _) = set.raw("POST", "transit/encrypt/typo2", plain).await;
        assert_eq!(status, 400);
        let again = set.admin.keys().ensure_no_upsert(&transit()).await.unwrap();
        assert_eq!(again, Change::Unchanged);
    }
}

fn not_stored() -> Fault {
    Fault::status(500, "1 error occurred:\n\t* transaction commit failed\n\n")
}

#[tokio::test]
async fn a_change_that_may_not_be_stored_is_not_tried_again_and_reported() {
    for set in each_version().await {
        set.admin
            .keys()
            .ensure(&key("k"), &KeyConfig::safe())
            .await
            .unwrap();
        let k = key("k");
        for operation in ["config", "trim", "soft-delete", "soft-delete-restore"] {
            let proxy = Proxy::start(set.bao.address()).await.unwrap();
            let admin = set.admin_at(&proxy.address(), set.bao.root_token());
            let keys = admin.keys();
            let path = format!("/transit/keys/k/{operation}");
            proxy.set(not_stored().on(&path));
            let mut config = KeyConfig::default();
            config.deletion_allowed = Some(true);
            let result = match operation {
                "config" => keys.ensure_config(&k, &config).await.map(drop),
                "trim" => keys.trim(&k, 1).await.map(drop),
                "soft-delete" => keys.soft_delete(&k).await.map(drop),
                _ => keys.restore(&k).await.map(drop),
            };
            match result.unwrap_err() {
                AdminError::Unstored {
                    operation: named, ..
                } => assert_eq!(named, operation),
                other => panic!("{operation}: {other:?}"),
            }
            assert_eq!(proxy.counts().requests(&path), 1);
        }
        let keys = set.admin.keys();
        keys.reload(&transit()).await.unwrap();
        assert!(keys.read(&key("k")).await.unwrap().is_some());
    }
}
