//! The controllers of kdc-manager on a real kube-apiserver and a real OpenBao, with no more rights there than the documented policy gives.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the fixture is part of the tests"
)]

mod dying;
mod fixture;

use std::time::Duration;

use kdc_envelope_k8s::crd::interval::Interval;
use kdc_testbed::Bao;
use serde_json::{Value, json};

use dying::Dying;
use fixture::{World, condition, run, set_clock};

fn rotating() -> Value {
    json!({"purpose": "application", "rotation": {"enabled": true, "interval": "7d"}})
}

#[test]
fn a_kmskey_becomes_a_key_with_the_exact_profile_and_is_ready() {
    run(async {
        let world = World::new("first", "shop").await;
        let _manager = world.manager();
        world.kms_key("prod-etcd", json!({"purpose": "etcd"})).await;
        let key = world
            .until("prod-etcd", |key| condition(key, "Ready") == "True")
            .await;
        assert_eq!(
            key["status"]["keyId"],
            "first/transit/keys/first-shop-prod-etcd"
        );
        assert_eq!(key["status"]["currentVersion"], 1);
        let stored = world.stored("prod-etcd").await;
        for (field, value) in [
            ("type", json!("aes256-gcm96")),
            ("exportable", json!(false)),
            ("allow_plaintext_backup", json!(false)),
            ("deletion_allowed", json!(false)),
            ("derived", json!(false)),
            ("auto_rotate_period", json!(0)),
            ("min_decryption_version", json!(1)),
        ] {
            assert_eq!(stored[field], value, "{field}");
        }
        // Changed by hand, and set back within an interval, with an event that says what.
        let drift = json!({"deletion_allowed": true});
        world
            .bao("POST", "transit/keys/first-shop-prod-etcd/config", drift)
            .await;
        world.until_event("KeyRepaired", "deletion_allowed").await;
        assert_eq!(world.stored("prod-etcd").await["deletion_allowed"], false);
    });
}

#[test]
fn the_policy_of_the_manager_is_enough_and_no_more() {
    run(async {
        let world = World::new("rights", "shop").await;
        let _manager = world.manager();
        world.kms_key("k", json!({})).await;
        world
            .until("k", |key| condition(key, "Ready") == "True")
            .await;
        let token = world.manager_token().await;
        for (path, capability) in [
            ("rights/transit/encrypt/rights-shop-k", "deny"),
            ("rights/transit/decrypt/rights-shop-k", "deny"),
            ("rights/transit/export/encryption-key/rights-shop-k", "deny"),
            ("rights/transit/keys/rights-shop-k/trim", "deny"),
            ("rights/sys/policies/acl/other", "deny"),
            ("rights/auth/k8s-host/role/other", "deny"),
            ("rights/auth/k8s-host/config", "deny"),
            ("rights/transit/keys/rights-shop-k/rotate", "update"),
        ] {
            assert_eq!(
                world.capabilities(&token, path).await,
                [capability],
                "{path}"
            );
        }
        let raise = json!({"min_decryption_version": 1});
        let manager = world.root().with_token(&token);
        let path = "rights/transit/keys/rights-shop-k/config";
        let (status, _) = manager.request("POST", path, Some(raise)).await.unwrap();
        assert_eq!(status, 403);
    });
}

#[test]
fn a_key_that_is_late_is_rotated_once_by_two_replicas_without_a_lease() {
    run(async {
        let world = World::new("late", "shop").await;
        let first = world.manager();
        world.kms_key("k", rotating()).await;
        world
            .until("k", |key| condition(key, "Ready") == "True")
            .await;
        drop(first);
        // Seven days after version 1 was made, and not after version 2.
        let made = world.stored("k").await["keys"]["1"].as_i64().unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let week = Interval::parse("7d", kdc_envelope_k8s::crd::interval::Units::Key).unwrap();
        let week = i64::try_from(week.duration().as_secs()).unwrap();
        set_clock(made + week + 1);
        let managers = [world.late_manager(), world.late_manager()];
        let rotated = |key: &Value| key["status"]["currentVersion"] == 2;
        let key = world.until("k", rotated).await;
        let key = match key["metadata"]["annotations"].get(fixture::CLAIM) {
            Some(_) => {
                world
                    .until("k", |key| {
                        key["metadata"]["annotations"].get(fixture::CLAIM).is_none()
                    })
                    .await
            }
            None => key,
        };
        assert!(key["status"]["lastRotatedTime"].is_string());
        // Several intervals later.
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(world.stored("k").await["latest_version"], 2);
        drop(managers);
    });
}

#[test]
fn a_crash_after_any_write_leaves_nothing_that_the_next_process_does_not_finish() {
    run(async {
        for writes in 1..=3 {
            let world = World::new(&format!("crash{writes}"), "shop").await;
            let dying = Dying::after(world.service().await, writes);
            let died = dying.died();
            let manager = world.manager_with(dying);
            world.kms_key("k", json!({})).await;
            died.notified().await;
            drop(manager);
            let _next = world.manager();
            world
                .until("k", |key| condition(key, "Ready") == "True")
                .await;
            assert_eq!(
                world.stored("k").await["latest_version"],
                1,
                "after write {writes}"
            );
        }
    });
}

#[test]
fn policy_and_role_of_a_cluster_are_written_and_drift_is_repaired_with_an_event() {
    run(async {
        let world = World::with_auth("drift", "docs").await;
        let _manager = world.manager();
        world.kms_key("prod-etcd", json!({"purpose": "etcd"})).await;
        world.cluster("drift-docs", "prod").await;
        world.until_access("drift-docs", "prod", "True").await;
        let policy = world
            .bao("GET", "sys/policies/acl/tcp-prod", Value::Null)
            .await;
        let text = policy["data"]["policy"].as_str().unwrap();
        assert!(
            text.contains("transit/encrypt/drift-docs-prod-etcd"),
            "{text}"
        );
        assert!(
            !text.contains("rotate") && !text.contains("config"),
            "{text}"
        );
        let role = world
            .bao("GET", "auth/k8s-host/role/tcp-prod", Value::Null)
            .await;
        assert_eq!(
            role["data"]["bound_service_account_names"],
            json!(["prod-kms-plugin"])
        );
        assert_eq!(
            role["data"]["bound_service_account_namespaces"],
            json!(["drift-docs"])
        );
        assert_eq!(role["data"]["audience"], "openbao");
        let drift = json!({"audience": "", "bound_service_account_names": ["*"]});
        world
            .bao("POST", "auth/k8s-host/role/tcp-prod", drift)
            .await;
        world
            .until_event("AccessRepaired", "bound_service_account_names, audience")
            .await;
        world
            .bao("DELETE", "sys/policies/acl/tcp-prod", Value::Null)
            .await;
        world
            .until_event("AccessRepaired", "policy `tcp-prod` was gone")
            .await;
    });
}

#[test]
fn a_second_cluster_of_one_name_in_an_organization_is_refused() {
    run(async {
        let world = World::with_auth("twice", "docs").await;
        world.namespace("twice-shop").await;
        let _manager = world.manager_over(&["twice-docs", "twice-shop"]);
        world.kms_key("prod-etcd", json!({"purpose": "etcd"})).await;
        world.cluster("twice-docs", "prod").await;
        world.until_access("twice-docs", "prod", "True").await;
        world
            .kms_key_in("twice-shop", "prod-etcd", json!({"purpose": "etcd"}))
            .await;
        world.cluster("twice-shop", "prod").await;
        world.until_access("twice-shop", "prod", "False").await;
        let role = world
            .bao("GET", "auth/k8s-host/role/tcp-prod", Value::Null)
            .await;
        assert_eq!(
            role["data"]["bound_service_account_namespaces"],
            json!(["twice-docs"])
        );
    });
}

#[test]
fn a_countdown_starts_and_is_cancelled() {
    run(async {
        let world = World::new("countdown", "shop").await;
        let _manager = world.manager();
        world
            .kms_key("k", json!({"deletionPolicy": "schedule"}))
            .await;
        world
            .until("k", |key| key["status"]["scheduledDeletion"].is_string())
            .await;
        world.until_event("DeletionScheduled", "retain").await;
        world
            .kms_key("k", json!({"deletionPolicy": "retain"}))
            .await;
        let key = world
            .until("k", |key| key["status"].get("scheduledDeletion").is_none())
            .await;
        assert_eq!(condition(&key, "Ready"), "True");
        world
            .until("k", |key| key["metadata"].get("finalizers").is_none())
            .await;
    });
}

#[test]
fn openbao_away_is_unknown_and_is_recovered_from() {
    run(async {
        let bao = Bao::options().persistent().start().await.unwrap();
        let mut world = World::on(bao, "away", "shop").await;
        let _manager = world.manager();
        world.kms_key("k", json!({})).await;
        world
            .until("k", |key| condition(key, "Ready") == "True")
            .await;
        world.seal().await;
        let key = world
            .until("k", |key| condition(key, "Ready") == "Unknown")
            .await;
        assert_eq!(key["status"]["currentVersion"], 1, "what is known stays");
        world.unseal().await;
        world
            .until("k", |key| condition(key, "Ready") == "True")
            .await;
        assert_eq!(world.stored("k").await["latest_version"], 1);
    });
}
