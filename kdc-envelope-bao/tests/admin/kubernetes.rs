//! The Kubernetes auth method.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use kdc_envelope_bao::BaoErrorClass;
use kdc_envelope_bao::admin::{Change, KubernetesConfig, KubernetesRole};
use serde_json::{Value, json};

use crate::fixture::{Set, each_version, mount, name};

/// Servers with a Kubernetes auth method, and a certificate.
async fn each_with_method() -> Vec<(Set, String)> {
    let mut all = Vec::new();
    for set in each_version().await {
        set.bao
            .root()
            .enable_auth("kubernetes", "k8s-host")
            .await
            .unwrap();
        let pem = set.certificate();
        all.push((set, pem));
    }
    all
}

fn updated<const N: usize>(fields: [&'static str; N]) -> Change {
    let fields = fields.into();
    Change::Updated { fields }
}

fn role() -> KubernetesRole {
    let mut role = KubernetesRole::new("project", "demo-kms-plugin", "openbao", &name("tcp-demo"));
    role.token_ttl = Duration::from_secs(1_200);
    role.token_max_ttl = Duration::from_secs(3_600);
    role
}

#[tokio::test]
async fn a_configuration_is_written_once_and_repaired() {
    for (set, pem) in each_with_method().await {
        let method = mount("k8s-host");
        let kubernetes = set.admin.kubernetes(&method);
        assert!(kubernetes.read_config().await.unwrap().is_none());
        let mut config = KubernetesConfig::new("https://10.0.0.1:6443", pem.as_str());
        config.pem_keys = [pem.clone()].into();
        for expected in [Change::Created, Change::Unchanged] {
            assert_eq!(kubernetes.ensure_config(&config).await.unwrap(), expected);
        }
        let drift = json!({
            "kubernetes_host": "https://elsewhere:6443", "kubernetes_ca_cert": pem,
            "disable_local_ca_jwt": true, "issuer": "somebody",
        });
        set.done("POST", "auth/k8s-host/config", drift).await;
        let repaired = kubernetes.ensure_config(&config).await.unwrap();
        assert_eq!(repaired, updated(["kubernetes_host", "pem_keys", "issuer"]));
        assert_eq!(
            kubernetes.ensure_config(&config).await.unwrap(),
            Change::Unchanged
        );
    }
}

#[tokio::test]
async fn a_reviewer_token_is_set_from_its_file_and_taken_away_when_none_is_wanted() {
    for (set, pem) in each_with_method().await {
        let method = mount("k8s-host");
        let kubernetes = set.admin.kubernetes(&method);
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "reviewer\n").unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
        let plain = KubernetesConfig::new("https://10.0.0.1:6443", pem);
        let mut reviewed = plain.clone();
        reviewed.reviewer_token_file = Some(file.path().to_owned());

        kubernetes.ensure_config(&plain).await.unwrap();
        let set_anew = kubernetes.ensure_config(&reviewed).await.unwrap();
        assert_eq!(set_anew, updated(["token_reviewer_jwt"]));
        // Which token it is does not show.
        fs::write(file.path(), "another\n").unwrap();
        assert_eq!(
            kubernetes.ensure_config(&reviewed).await.unwrap(),
            Change::Unchanged
        );
        kubernetes.write_config(&reviewed).await.unwrap();
        let found = kubernetes.read_config().await.unwrap().unwrap();
        assert!(found.token_reviewer_jwt_set);
        let taken = kubernetes.ensure_config(&plain).await.unwrap();
        assert_eq!(taken, updated(["token_reviewer_jwt"]));

        reviewed.reviewer_token_file = Some("/nowhere/token".into());
        let error = kubernetes.ensure_config(&reviewed).await.unwrap_err();
        assert_eq!(error.class(), BaoErrorClass::Denied);
        assert_eq!(
            error.to_string(),
            "cannot read reviewer token file `/nowhere/token`"
        );
    }
}

#[tokio::test]
async fn a_role_is_made_once_listed_and_deleted() {
    for (set, _) in each_with_method().await {
        let method = mount("k8s-host");
        let kubernetes = set.admin.kubernetes(&method);
        let demo = name("tcp-demo");
        assert!(kubernetes.read_role(&demo).await.unwrap().is_none());
        assert!(kubernetes.list_roles().await.unwrap().is_empty());
        for expected in [Change::Created, Change::Unchanged] {
            assert_eq!(
                kubernetes.ensure_role(&demo, &role()).await.unwrap(),
                expected
            );
        }
        assert_eq!(kubernetes.read_role(&demo).await.unwrap().unwrap(), role());
        assert_eq!(kubernetes.list_roles().await.unwrap(), ["tcp-demo"]);
        kubernetes.delete_role(&demo).await.unwrap();
        kubernetes.delete_role(&demo).await.unwrap();
        assert!(kubernetes.read_role(&demo).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn what_a_role_says_in_other_words_is_no_drift() {
    for (set, _) in each_with_method().await {
        let method = mount("k8s-host");
        let kubernetes = set.admin.kubernetes(&method);
        let mut wanted = role();
        wanted.token_policies = ["b".to_owned(), "a".to_owned()].into();
        kubernetes.ensure_role(&name("r"), &wanted).await.unwrap();
        let same = json!({"token_policies": "b,a,a", "token_ttl": "20m", "token_max_ttl": "1h"});
        set.done("POST", "auth/k8s-host/role/r", same).await;
        let again = kubernetes.ensure_role(&name("r"), &wanted).await.unwrap();
        assert_eq!(again, Change::Unchanged);
    }
}

#[tokio::test]
async fn what_openbao_stores_in_other_words_is_no_drift() {
    for (set, _) in each_with_method().await {
        let method = mount("k8s-host");
        let kubernetes = set.admin.kubernetes(&method);
        let mut networks = role();
        networks.token_bound_cidrs = [
            "10.0.0.1/32",
            "::1/128",
            "10.1.2.3/8",
            "2001:DB8::/32",
            "::ffff:10.0.0.0/104",
            " 10.0.0.9",
        ]
        .map(str::to_owned)
        .into();
        let mut spaces = role();
        spaces.token_policies = [" tcp-demo ".to_owned()].into();
        spaces.bound_service_account_names = [" demo".to_owned()].into();
        spaces.token_type = String::new();
        // Whose list of namespaces OpenBao shows as `null`.
        let mut selected = role();
        selected.bound_service_account_namespaces.clear();
        selected.bound_service_account_namespace_selector =
            r#"{"matchLabels":{"a":"b"}}"#.to_owned();
        for (role, wanted) in [("a", networks), ("b", spaces), ("c", selected)] {
            for expected in [Change::Created, Change::Unchanged, Change::Unchanged] {
                let changed = kubernetes.ensure_role(&name(role), &wanted).await.unwrap();
                assert_eq!(changed, expected, "{role}");
            }
        }
    }
}

#[tokio::test]
async fn a_network_that_is_none_is_refused_before_it_is_sent() {
    for (set, _) in each_with_method().await {
        let method = mount("k8s-host");
        let kubernetes = set.admin.kubernetes(&method);
        // OpenBao takes this for a Unix socket, and shows it with ever more quotation marks.
        let mut wanted = role();
        wanted.token_bound_cidrs = ["010.0.0.1/8".to_owned()].into();
        let error = kubernetes.ensure_role(&name("r"), &wanted).await;
        let error = error.unwrap_err();
        assert_eq!(error.class(), BaoErrorClass::Rejected);
        assert_eq!(
            error.to_string(),
            "role `r` is not written: `010.0.0.1/8` in token_bound_cidrs is neither an address nor a network such as 10.0.0.0/8"
        );
        assert!(kubernetes.read_role(&name("r")).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn drift_in_any_field_of_a_role_is_repaired_and_named() {
    for (set, _) in each_with_method().await {
        let method = mount("k8s-host");
        let kubernetes = set.admin.kubernetes(&method);
        let demo = name("tcp-demo");
        kubernetes.ensure_role(&demo, &role()).await.unwrap();
        let drifts: [(&'static str, Value); 14] = [
            ("bound_service_account_names", json!(["*"])),
            (
                "bound_service_account_namespaces",
                json!(["project", "other"]),
            ),
            ("audience", json!("")),
            ("alias_name_source", json!("serviceaccount_name")),
            ("token_policies", json!(["tcp-demo", "root-like"])),
            ("token_no_default_policy", json!(false)),
            ("token_ttl", json!(60)),
            ("token_max_ttl", json!(0)),
            ("token_period", json!("24h")),
            ("token_explicit_max_ttl", json!(7_200)),
            ("token_num_uses", json!(3)),
            ("token_bound_cidrs", json!(["10.0.0.0/8"])),
            ("token_strictly_bind_ip", json!(true)),
            ("token_type", json!("service")),
        ];
        for (field, value) in drifts {
            let body = json!({ field: value });
            set.done("POST", "auth/k8s-host/role/tcp-demo", body).await;
            let repaired = kubernetes.ensure_role(&demo, &role()).await.unwrap();
            assert_eq!(repaired, updated([field]));
            assert_eq!(kubernetes.read_role(&demo).await.unwrap().unwrap(), role());
        }
        let selector = r#"{"matchLabels":{"a":"b"}}"#;
        let body = json!({"bound_service_account_namespace_selector": selector});
        set.done("POST", "auth/k8s-host/role/tcp-demo", body).await;
        let repaired = kubernetes.ensure_role(&demo, &role()).await.unwrap();
        assert_eq!(
            repaired,
            updated(["bound_service_account_namespace_selector"])
        );
    }
}
