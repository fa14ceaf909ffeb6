//! Secrets engines, auth methods and audit devices.

use kdc_envelope_bao::admin::{AdminError, Change};
use kdc_testbed::bao::{Bao, BaoVersion};
use kdc_testbed::proxy::{Fault, Proxy};
use serde_json::json;

use crate::fixture::{Set, each_version, mount, transit};

#[tokio::test]
async fn mounts_are_made_once() {
    for set in each_version().await {
        let (mounts, auth) = (set.admin.mounts(), set.admin.auth_mounts());
        let (engine, method) = (mount("org/transit"), mount("k8s-host"));
        assert!(mounts.read(&engine).await.unwrap().is_none());
        assert!(auth.read(&method).await.unwrap().is_none());
        for expected in [Change::Created, Change::Unchanged] {
            assert_eq!(mounts.ensure_transit(&engine).await.unwrap(), expected);
            assert_eq!(auth.ensure(&method, "kubernetes").await.unwrap(), expected);
        }
        assert_eq!(mounts.list().await.unwrap()["org/transit"].kind, "transit");
        assert_eq!(auth.list().await.unwrap()["k8s-host"].kind, "kubernetes");
        assert_eq!(mounts.read(&engine).await.unwrap().unwrap().kind, "transit");
    }
}

#[tokio::test]
async fn another_engine_at_the_path_is_left_alone() {
    for set in each_version().await {
        let mounts = set.admin.mounts();
        let before = mounts.read(&transit()).await.unwrap();
        let error = mounts.ensure(&transit(), "kv").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "`transit` is a mount of type `transit`, not `kv`; choose another path"
        );
        assert!(matches!(error, AdminError::MountMismatch { .. }));
        assert_eq!(mounts.read(&transit()).await.unwrap(), before);
        // No mount lies within another, though OpenBao shows the outer one when asked for the inner one.
        let within = mount("transit/below");
        assert_eq!(mounts.read(&within).await.unwrap(), None);
        let error = mounts.ensure_transit(&within).await.unwrap_err();
        assert!(error.to_string().contains("already in use"), "{error}");
    }
}

#[tokio::test]
async fn a_mount_above_or_below_is_said_without_waiting_for_one_that_cannot_come() {
    for set in each_version().await {
        set.done("POST", "sys/mounts/a/b", json!({"type": "transit"}))
            .await;
        let proxy = Proxy::start(set.bao.address()).await.unwrap();
        let admin = set.admin_at(&proxy.address(), set.bao.root_token());
        for path in ["a", "a/b/c"] {
            proxy.reset_counts();
            let refused = admin.mounts().ensure_transit(&mount(path)).await;
            let message = refused.unwrap_err().to_string();
            assert!(message.contains("already in use at a/b/"), "{message}");
            let looks = proxy.counts().requests("GET /v1/sys/mounts");
            assert_eq!(looks, 2, "{path}");
        }
    }
}

#[tokio::test]
async fn an_engine_that_shows_under_another_name_is_known_again() {
    for set in each_version().await {
        let mounts = set.admin.mounts();
        for kind in ["kv-v1", "kv-v2"] {
            for expected in [Change::Created, Change::Unchanged] {
                let changed = mounts.ensure(&mount(kind), kind).await.unwrap();
                assert_eq!(changed, expected, "{kind}");
            }
        }
        let other = mounts.ensure(&mount("kv-v1"), "kv-v2").await;
        assert!(matches!(other, Err(AdminError::MountMismatch { .. })));
    }
}

#[tokio::test]
async fn a_mount_whose_answer_is_lost_is_there_all_the_same() {
    for set in each_version().await {
        let proxy = Proxy::start(set.bao.address()).await.unwrap();
        let admin = set.admin_at(&proxy.address(), set.bao.root_token());
        let lost = Fault::Reset(0).on("POST /v1/sys/auth/").times(1);
        proxy.set(lost);
        let method = mount("kubernetes");
        let made = admin.auth_mounts().ensure(&method, "kubernetes").await;
        assert_eq!(made.unwrap(), Change::Created);
        let found = set.admin.auth_mounts().read(&method).await;
        assert!(found.unwrap().is_some());
    }
}

#[tokio::test]
async fn audit_devices_are_those_of_the_servers_configuration() {
    for version in BaoVersion::selected().unwrap() {
        let folder = tempfile::tempdir().unwrap();
        let options = Bao::options().version(version);
        let set = Set::start(options.audit(folder.path().join("audit.log"))).await;
        set.admin
            .namespaces()
            .ensure(&"org".parse().unwrap(), &Default::default())
            .await
            .unwrap();
        let inside = set.admin.in_namespace(Some("org".parse().unwrap()));
        let devices = inside.audit_devices().await.unwrap();
        assert_eq!(devices.len(), 1);
        assert_eq!(devices["main"].kind, "file");
        let without = Set::start(Bao::options().version(version)).await;
        assert!(without.admin.audit_devices().await.unwrap().is_empty());
    }
}
