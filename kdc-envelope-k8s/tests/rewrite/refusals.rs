//! Objects, rows and requests that the API server refuses.

use std::sync::Arc;
use std::time::Duration;

use kdc_envelope_k8s::rewrite::{RewriteError, RewriteOptions, Verb};
use kdc_testbed::Resource;
use serde_json::{Value, json};

use crate::fixture::{
    ControlPlane, Hook, Reply, Things, counts, hooked, kube_config, names, pass, run,
};

const POLICIES: Resource = Resource::new(
    "admissionregistration.k8s.io/v1",
    "validatingadmissionpolicies",
);
const BINDINGS: Resource = Resource::new(
    "admissionregistration.k8s.io/v1",
    "validatingadmissionpolicybindings",
);
const WEBHOOKS: Resource = Resource::new(
    "admissionregistration.k8s.io/v1",
    "validatingwebhookconfigurations",
);
const ROLES: Resource = Resource::new("rbac.authorization.k8s.io/v1", "clusterroles");
const ROLE_BINDINGS: Resource =
    Resource::new("rbac.authorization.k8s.io/v1", "clusterrolebindings");

fn options() -> RewriteOptions {
    RewriteOptions::default()
}

#[test]
fn an_object_that_a_policy_refuses_is_named_and_the_others_are_rewritten() {
    for (group, reason, status) in [("policy", "Invalid", 422), ("policies", "Forbidden", 403)] {
        run(async {
            let control_plane = ControlPlane::shared().await;
            let things = Things::stale(&control_plane, group, 5).await;
            forbid(&things, group, reason).await;
            let client = control_plane.kube().await;
            let report = pass(&client, &things.group_resource(), &options())
                .await
                .unwrap();
            assert_eq!(counts(&report), [5, 4, 0, 0, 1], "{report:?}");
            assert!(!report.is_complete());
            let refusal = &report.resources[0].refusals[0];
            assert_eq!(
                (&*refusal.namespace, &*refusal.name),
                ("default", "thing-003")
            );
            let why = &refusal.why;
            assert!(
                why.contains("not this one") && why.ends_with(&format!("({status})")),
                "{why}"
            );
            assert!(!why.contains(char::is_control), "{why:?}");
            assert_eq!(things.stale_names().await, ["thing-003"]);
            let json = serde_json::to_value(&report).unwrap();
            assert_eq!(
                json["resources"][0]["resource"],
                format!("things.{}", things.group())
            );
        });
    }
}

/// A policy against one object, once it is in force.
async fn forbid(things: &Things, name: &str, reason: &str) {
    let rule = json!({
        "apiGroups": [things.group()], "apiVersions": ["*"], "resources": ["things"], "operations": ["UPDATE"],
    });
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "object.metadata.name != 'thing-003'", "message": "not this one", "reason": reason}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    });
    let client = things.control_plane().client();
    client.create(POLICIES, "", &policy).await.unwrap();
    client.create(BINDINGS, "", &binding).await.unwrap();
    things.wait_until_refused("thing-003", "not this one").await;
}

#[test]
fn an_object_whose_webhook_is_away_is_refused_after_some_tries() {
    run(async {
        let control_plane = ControlPlane::shared().await;
        let things = Things::stale(&control_plane, "webhook", 5).await;
        let webhook = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "away"},
            "webhooks": [{
                "name": "away.webhook.example.com", "failurePolicy": "Fail", "sideEffects": "None",
                "admissionReviewVersions": ["v1"], "timeoutSeconds": 1,
                "clientConfig": {"url": "https://127.0.0.1:1/"},
                "matchConditions": [{"name": "one", "expression": "object.metadata.name == 'thing-003'"}],
                "rules": [{
                    "apiGroups": [things.group()], "apiVersions": ["*"], "resources": ["things"],
                    "operations": ["UPDATE"],
                }],
            }],
        });
        control_plane
            .client()
            .create(WEBHOOKS, "", &webhook)
            .await
            .unwrap();
        let why = "failed calling webhook";
        things.wait_until_refused("thing-003", why).await;
        let hook = Hook::new(async |_| Reply::Pass);
        let client = hooked(kube_config(&control_plane.server).await, &hook);
        let report = pass(&client, &things.group_resource(), &options())
            .await
            .unwrap();
        assert_eq!(counts(&report), [5, 4, 0, 0, 1], "{report:?}");
        let why = &report.resources[0].refusals[0].why;
        assert!(why.contains("failed calling webhook"), "{why}");
        let tries = hook.seen().iter().filter(|seen| seen.is_patch()).count();
        assert_eq!(tries, 4 + 5);
    });
}

#[test]
fn a_row_that_no_key_decrypts_is_refused_and_then_keeps_the_rest_from_being_listed() {
    run(async {
        let control_plane = ControlPlane::shared().await;
        let things = Arc::new(Things::stale(&control_plane, "damaged", 5).await);
        let hook = Hook::before_patches({
            let things = Arc::clone(&things);
            async move { things.damage("thing-003").await }
        });
        let client = hooked(kube_config(&control_plane.server).await, &hook);
        let report = pass(&client, &things.group_resource(), &options())
            .await
            .unwrap();
        assert_eq!(counts(&report), [5, 4, 0, 0, 1], "{report:?}");
        let refusal = &report.resources[0].refusals[0];
        assert_eq!(&*refusal.name, "thing-003");
        assert!(
            refusal.why.contains("message authentication failed"),
            "{refusal:?}"
        );

        let error = pass(&client, &things.group_resource(), &options())
            .await
            .unwrap_err();
        // As 1.32 and 1.36 say it, and 1.37.
        let words = ["unable to transform key", "corrupt object"];
        assert!(
            matches!(&error, RewriteError::Unreadable { resource, why, .. }
                if *resource == things.group_resource()[0] && why.contains("thing-003")
                    && words.iter().any(|words| why.contains(words))),
            "{error}"
        );
        assert!(
            error.to_string().contains("cannot decrypt a row"),
            "{error}"
        );
        control_plane
            .etcd
            .delete(&things.key("thing-003"))
            .await
            .unwrap();
    });
}

/// What etcd takes in one request.
const MAX_REQUEST: usize = 1_572_864;

#[test]
fn a_row_that_is_too_large_once_it_is_encrypted_is_refused_and_the_others_are_rewritten() {
    run(async {
        let control_plane = ControlPlane::shared().await;
        let things = Things::stale(&control_plane, "largest", 4).await;
        let key = things.key("thing-large");
        // As the API server writes it, but for the resourceVersion, which it does not store.
        things.create("thing-large", "small").await;
        let object =
            things
                .control_plane()
                .client()
                .read(things.resource, "default", "thing-large");
        let mut object = object.await.unwrap();
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.remove("resourceVersion");
        // Without these, as it leaves them out when a row is too large.
        metadata.remove("managedFields");
        object["spec"]["text"] = json!("");
        // As it is, etcd takes it with some bytes to spare; not with the 50 more of aesgcm, and what a transaction adds.
        let length = MAX_REQUEST - 120 - object.to_string().len();
        object["spec"]["text"] = json!("x".repeat(length));
        let row = object.to_string().into_bytes();
        control_plane.etcd.put(&key, &row).await.unwrap();
        let hook = Hook::new(async |_| Reply::Pass);
        let client = hooked(kube_config(&control_plane.server).await, &hook);
        let report = pass(&client, &things.group_resource(), &options()).await;
        let report = report.unwrap();
        assert_eq!(counts(&report), [5, 4, 0, 0, 1], "{report:?}");
        assert!(!report.is_complete());
        let refusal = &report.resources[0].refusals[0];
        assert_eq!(refusal.place(), "default/thing-large");
        assert!(
            refusal.why.contains("request is too large")
                && refusal.why.contains("--max-request-bytes"),
            "{refusal:?}"
        );
        let seen = hook.seen();
        let patches = seen.iter().filter(|seen| seen.is_patch());
        let tries = patches.filter(|seen| seen.path.contains("thing-large"));
        assert_eq!(tries.count(), 1);
        assert_eq!(things.stale_names().await, ["thing-large"]);
    });
}

#[test]
fn rights_that_are_missing_are_named() {
    run(async {
        let control_plane = ControlPlane::shared().await;
        let things = Things::stale(&control_plane, "rights", 3).await;
        let mut config = kube_config(&control_plane.server).await;
        config.auth_info.token = Some(token(&control_plane, "nobody", &json!([])).await.into());
        let client = kube::Client::try_from(config.clone()).unwrap();
        let error = pass(&client, &names(&["secrets"]), &options())
            .await
            .unwrap_err();
        assert_denied(&error, Verb::List, "secrets");
        let error = pass(&client, &things.group_resource(), &options())
            .await
            .unwrap_err();
        assert_denied(&error, Verb::List, "apiservices.apiregistration.k8s.io");

        let rules = json!([
            {"apiGroups": ["apiregistration.k8s.io"], "resources": ["apiservices"], "verbs": ["list"]},
            {"apiGroups": [things.group()], "resources": ["things"], "verbs": ["list"]},
        ]);
        config.auth_info.token = Some(token(&control_plane, "reader", &rules).await.into());
        let client = kube::Client::try_from(config.clone()).unwrap();
        let error = pass(&client, &things.group_resource(), &options())
            .await
            .unwrap_err();
        assert_denied(&error, Verb::Patch, &format!("things.{}", things.group()));
        assert_eq!(things.stale_names().await.len(), 3);

        // What the documentation says is enough is enough.
        let rules = json!([
            {"apiGroups": ["apiregistration.k8s.io"], "resources": ["apiservices"], "verbs": ["list"]},
            {"apiGroups": [things.group()], "resources": ["things"], "verbs": ["list", "patch"]},
        ]);
        config.auth_info.token = Some(token(&control_plane, "writer", &rules).await.into());
        let client = kube::Client::try_from(config.clone()).unwrap();
        let report = pass(&client, &things.group_resource(), &options())
            .await
            .unwrap();
        assert_eq!(counts(&report), [3, 3, 0, 0, 0], "{report:?}");

        config.auth_info.token = Some("wrong".to_owned().into());
        let client = kube::Client::try_from(config).unwrap();
        let error = pass(&client, &names(&["secrets"]), &options())
            .await
            .unwrap_err();
        assert_denied(&error, Verb::Get, "/api/v1");
    });
}

fn assert_denied(error: &RewriteError, wanted: Verb, name: &str) {
    assert!(
        matches!(error, RewriteError::Denied { verb, resource, .. } if *verb == wanted && **resource == *name),
        "{error}"
    );
}

/// The token of a service account with these rights.
async fn token(control_plane: &ControlPlane, name: &str, rules: &Value) -> String {
    let client = control_plane.client();
    client
        .ensure_service_account("default", name)
        .await
        .unwrap();
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": name}, "rules": rules,
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": name}],
    });
    client.create(ROLES, "", &role).await.unwrap();
    client.create(ROLE_BINDINGS, "", &binding).await.unwrap();
    // The authorizer learns of them by a watch.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let lifetime = Duration::from_secs(600);
    client
        .service_account_token("default", name, None, lifetime)
        .await
        .unwrap()
}
