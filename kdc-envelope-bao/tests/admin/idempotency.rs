//! Asserting what is so already sends no write.

use std::collections::BTreeMap;

use kdc_envelope_bao::admin::{Admin, Change, KeyConfig, KubernetesConfig, KubernetesRole};
use kdc_envelope_bao::{Operation, Outcome};
use kdc_testbed::proxy::Proxy;

use crate::support::{each_version, key, mount, name, namespace};

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

#[tokio::test]
async fn the_second_time_nothing_is_written() {
    for set in each_version().await {
        let pem = set.certificate();
        let proxy = Proxy::start(set.bao.address()).await.unwrap();
        let admin = set.admin_at(&proxy.address(), set.bao.root_token());
        let first = assert_everything(&admin, &pem).await;
        assert!(!first.contains(&Change::Unchanged), "{first:?}");

        proxy.reset_counts();
        let before = requests(&admin);
        let second = assert_everything(&admin, &pem).await;
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
