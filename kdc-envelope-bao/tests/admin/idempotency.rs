//! Asserting what is so already sends no write.

use std::collections::BTreeMap;

use kdc_envelope_bao::admin::{
    Admin, AdminError, Change, KeyConfig, KubernetesConfig, KubernetesRole,
};
use kdc_envelope_bao::{BaoError, Operation, Outcome};
use kdc_testbed::bao::Bao;
use kdc_testbed::proxy::{Fault, Proxy, Rule};

use crate::fixture::{Set, each_version, key, mount, name, namespace};

/// What a controller asserts for one tenant.
async fn assert_everything(admin: &Admin, pem: &str) -> Vec<Change> {
    let org = admin.in_namespace(Some(namespace("org")));
    let none = BTreeMap::new();
    let (transit, method) = (mount("transit"), mount("k8s-host"));
    let kubernetes = org.kubernetes(&method);
    let config = KubernetesConfig::new("https://10.0.0.1:6443", pem);
    let role = KubernetesRole::new("project", "sa", "openbao", &name("tcp-demo"));
    let text = "path \"transit/encrypt/k\" { capabilities = [\"update\"] }\n";
    vec![
        admin
            .namespaces()
            .ensure(&namespace("org"), &none)
            .await
            .unwrap(),
        org.mounts().ensure_transit(&transit).await.unwrap(),
        org.keys().ensure_no_upsert(&transit).await.unwrap(),
        org.keys()
            .ensure(&key("k"), &KeyConfig::safe())
            .await
            .unwrap()
            .0,
        org.policies()
            .ensure(&name("tcp-demo"), text)
            .await
            .unwrap(),
        org.auth_mounts()
            .ensure(&method, "kubernetes")
            .await
            .unwrap(),
        kubernetes.ensure_config(&config).await.unwrap(),
        kubernetes
            .ensure_role(&name("tcp-demo"), &role)
            .await
            .unwrap(),
    ]
}

fn requests(admin: &Admin) -> u64 {
    let stats = admin.session().client().stats();
    let count = |outcome| stats.requests(Operation::Admin, outcome);
    Outcome::ALL.into_iter().map(count).sum()
}

/// What a gateway between says when it does not pass a request on.
const NO_ROUTE: &str = r#"{"message":"no Route matched with those values"}"#;

/// Whether the error is about the write of another administrator.
fn is_foreign<T: std::fmt::Debug>(result: Result<T, AdminError>) -> bool {
    matches!(
        result,
        Err(AdminError::Bao(BaoError::Unintelligible { .. }))
    )
}

#[tokio::test]
async fn what_a_gateway_says_is_neither_absence_nor_success() {
    let set = Set::with_transit(Bao::options()).await;
    let none = BTreeMap::new();
    let (org, demo, k) = (namespace("org"), name("tcp-demo"), key("k"));
    set.admin.namespaces().ensure(&org, &none).await.unwrap();
    let proxy = Proxy::start(set.bao.address()).await.unwrap();
    // Each with a breaker of its own, which would answer for the server after a few calls.
    let logged_in = async |rule: Rule| {
        proxy.clear();
        let admin = set.impatient_admin_at(&proxy.address());
        admin.session().log_in().await.unwrap();
        proxy.set(rule);
        admin
    };
    for status in [403, 404] {
        let no_route = Fault::answer(status, &[], NO_ROUTE).on("GET /v1/");
        let admin = logged_in(no_route.clone()).await;
        assert!(is_foreign(admin.namespaces().read(&org).await), "{status}");
        let admin = logged_in(no_route.clone()).await;
        assert!(is_foreign(admin.namespaces().list().await), "{status}");
        let admin = logged_in(no_route.clone()).await;
        assert!(is_foreign(admin.keys().read(&k).await), "{status}");
        let admin = logged_in(no_route).await;
        assert!(is_foreign(admin.policies().read(&demo).await), "{status}");
    }
    let text = "path \"transit/encrypt/k\" { capabilities = [\"update\"] }\n";
    for page in ["<html>It works!</html>", "{}", ""] {
        let page = Fault::answer(200, &[], page);
        let admin = logged_in(page.clone().on("POST /v1/sys/policies")).await;
        let written = admin.policies().ensure(&demo, text).await;
        assert!(is_foreign(written), "{page:?}");
        let admin = logged_in(page.clone().on("DELETE /v1/sys/namespaces")).await;
        let deleted = admin.namespaces().delete(&org).await;
        assert!(is_foreign(deleted), "{page:?}");
    }
    let (policies, namespaces) = (set.admin.policies(), set.admin.namespaces());
    assert!(policies.read(&demo).await.unwrap().is_none());
    assert!(namespaces.read(&org).await.unwrap().is_some());
}

#[tokio::test]
async fn the_second_time_nothing_is_written() {
    for set in each_version().await {
        let pem = set.certificate();
        let proxy = Proxy::start(set.bao.address()).await.unwrap();
        let admin = set.admin_at(&proxy.address(), set.bao.root_token());
        let first = Box::pin(assert_everything(&admin, &pem)).await;
        assert!(!first.contains(&Change::Unchanged), "{first:?}");

        proxy.reset_counts();
        let before = requests(&admin);
        let second = Box::pin(assert_everything(&admin, &pem)).await;
        assert_eq!(second, vec![Change::Unchanged; first.len()]);
        // One read each.
        assert_eq!(requests(&admin) - before, second.len() as u64);
        let counts = proxy.counts();
        assert_eq!(counts.requests("GET "), second.len());
        for write in ["POST ", "PUT ", "PATCH ", "DELETE "] {
            assert_eq!(counts.requests(write), 0, "{write}");
        }
    }
}
