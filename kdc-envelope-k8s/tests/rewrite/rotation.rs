//! The two passes of a rotation, by names and by wildcards.

use std::collections::BTreeSet;
use std::sync::Arc;

use kdc_envelope_k8s::rewrite::{RewriteOptions, SkipReason, count, resolve};
use kdc_testbed::Resource;
use kdc_testbed::etcd::Row;
use serde_json::{Value, json};

use crate::fixture::{ControlPlane, Things, counts, is_encrypted, names, pass, run};

const NAMED: [&str; 3] = ["secrets", "configmaps", "things.rotated.example.com"];

/// What `*.*` does not encrypt: a count of which addresses are taken, and who serves them.
const NEVER_ENCRYPTED: [&str; 4] = [
    "/registry/masterleases/",
    "/registry/peerserverleases/",
    "/registry/ranges/",
    "/registry/apiserver",
];

#[test]
fn a_first_pass_rewrites_every_row_and_a_second_one_none() {
    run(async {
        let mut control_plane = ControlPlane::start(&NAMED, &["old"]).await;
        control_plane = create_things(control_plane, "rotated", 7).await;
        fill(&control_plane).await;
        control_plane.restart(&NAMED, &["new", "old"]).await;

        let (before, rows) = (objects(&control_plane).await, rows(&control_plane).await);
        assert!(rows.len() > 1207 && rows.iter().all(|row| is_encrypted(row, "old")));
        let resources = names(&NAMED);
        let client = control_plane.kube().await;
        let total = u64::try_from(rows.len()).unwrap();
        assert_eq!(count(&client, &resources).await.unwrap().objects(), total);
        let options = RewriteOptions::default();
        let report = pass(&client, &resources, &options).await.unwrap();
        assert_eq!(counts(&report), [total, total, 0, 0, 0], "{report:?}");
        assert!(report.is_complete() && report.skipped.is_empty());
        let each: Vec<_> = report
            .resources
            .iter()
            .map(|each| each.resource.clone())
            .collect();
        assert_eq!(each, resources);
        assert_eq!(report.resources[2].objects, 7);

        let rewritten = self::rows(&control_plane).await;
        assert_eq!(rewritten.len(), rows.len());
        assert!(rewritten.iter().all(|row| is_encrypted(row, "new")));
        let report = pass(&client, &resources, &options).await.unwrap();
        assert_eq!(counts(&report), [total, 0, total, 0, 0], "{report:?}");
        assert_eq!(
            self::rows(&control_plane).await,
            rewritten,
            "a verifying pass writes nothing"
        );

        // The old key is not needed any more, and nothing of any object has changed.
        control_plane.restart(&NAMED, &["new"]).await;
        assert_eq!(objects(&control_plane).await, before);
    });
}

#[test]
fn custom_objects_in_a_group_that_looks_like_one_of_kubernetes_are_rewritten() {
    run(async {
        let control_plane = ControlPlane::shared().await;
        let things = Things::stale(&control_plane, "kdc-envelope.k8s.io", 40).await;
        let (client, options) = (control_plane.kube().await, RewriteOptions::default());
        let resources = things.group_resource();
        let report = pass(&client, &resources, &options).await.unwrap();
        assert_eq!(counts(&report), [40, 40, 0, 0, 0], "{report:?}");
        assert_eq!(things.stale_names().await, Vec::<String>::new());
    });
}

#[test]
fn wildcards_cover_every_row_that_can_be_encrypted() {
    run(async {
        let mut control_plane = ControlPlane::start(&["*.*"], &["old"]).await;
        control_plane = create_things(control_plane, "wild", 1).await;
        let event = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "one"},
            "involvedObject": {"kind": "Secret", "namespace": "default", "name": "x"},
        });
        let events = Resource::new("v1", "events");
        control_plane
            .client()
            .create(events, "default", &event)
            .await
            .unwrap();
        control_plane.restart(&["*.*"], &["new", "old"]).await;
        let client = control_plane.kube().await;

        let report = pass(
            &client,
            &names(&["*.wild.example.com"]),
            &RewriteOptions::default(),
        )
        .await
        .unwrap();
        assert_eq!(counts(&report), [1, 1, 0, 0, 0], "{report:?}");
        let everything = names(&["*.*"]);
        let report = pass(&client, &everything, &RewriteOptions::default())
            .await
            .unwrap();
        assert!(
            report.is_complete() && report.rewritten() > 100,
            "{report:?}"
        );
        assert_eq!(
            stale_keys(&control_plane, "new").await,
            Vec::<String>::new()
        );

        // Each row by one name, and what has no rows by its reason.
        let resources: Vec<_> = report.resources.iter().map(|each| &each.resource).collect();
        let once: BTreeSet<_> = resources.iter().collect();
        assert_eq!(once.len(), resources.len());
        let events = resources.iter().filter(|name| name.resource() == "events");
        assert_eq!(events.count(), 1);
        let skipped: Vec<_> = report
            .skipped
            .iter()
            .map(|skipped| (skipped.resource.to_string(), skipped.reason))
            .collect();
        assert_eq!(
            skipped,
            [("componentstatuses".to_owned(), SkipReason::NotStored)]
        );
        let resolution = resolve(&client, &everything).await.unwrap();
        assert_eq!(resolution.resources.len(), resources.len());
    });
}

#[test]
fn names_that_are_not_served_here_are_named_and_the_rest_is_passed_over() {
    run(async {
        let control_plane = ControlPlane::shared().await;
        let client = control_plane.kube().await;
        let service = json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": "v1.away.example.com"},
            "spec": {
                "group": "away.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 100,
                "insecureSkipTLSVerify": true, "service": {"namespace": "default", "name": "away"},
            },
        });
        let services = Resource::new("apiregistration.k8s.io/v1", "apiservices");
        control_plane
            .client()
            .create(services, "", &service)
            .await
            .unwrap();
        let wanted = names(&[
            "secrets",
            "secret",
            "secrets.nowhere.example.com",
            "pods.away.example.com",
        ]);
        let resolution = resolve(&client, &wanted).await.unwrap();
        assert_eq!(resolution.resources.len(), 1);
        let reasons: Vec<_> = resolution
            .skipped
            .iter()
            .map(|skipped| (skipped.resource.to_string(), skipped.reason))
            .collect();
        assert_eq!(
            reasons,
            [
                ("secret".to_owned(), SkipReason::NotServed),
                (
                    "secrets.nowhere.example.com".to_owned(),
                    SkipReason::NotServed
                ),
                // Its server does not answer, so it is not known what it serves.
                ("pods.away.example.com".to_owned(), SkipReason::Aggregated),
            ]
        );
        let error = resolution.require(&wanted[2..3]).unwrap_err();
        assert!(
            error.to_string().contains("`secrets.nowhere.example.com`"),
            "{error}"
        );
        let report = pass(&client, &wanted, &RewriteOptions::default()).await;
        let report = report.unwrap();
        assert!(
            report.is_complete() && report.skipped.len() == 3,
            "{report:?}"
        );
        let resolution = resolve(
            &client,
            &names(&["*.away.example.com", "*.nowhere.example.com"]),
        )
        .await
        .unwrap();
        let reasons: Vec<_> = resolution
            .skipped
            .iter()
            .map(|skipped| skipped.reason)
            .collect();
        assert_eq!(reasons, [SkipReason::Aggregated, SkipReason::EmptyGroup]);
        assert_eq!(resolution.resources, []);
        control_plane
            .client()
            .delete(services, "", "v1.away.example.com")
            .await
            .unwrap();
    });
}

#[test]
fn an_object_without_a_uid_cannot_be_patched_and_is_named() {
    run(async {
        let control_plane = ControlPlane::shared().await;
        let things = Things::stale(&control_plane, "restored", 2).await;
        // As another tool put it into etcd.
        let object = things.object("thing-bare", "kept", None).to_string();
        let key = things.key("thing-bare");
        control_plane
            .etcd
            .put(&key, object.as_bytes())
            .await
            .unwrap();
        let client = control_plane.kube().await;
        let report = pass(
            &client,
            &things.group_resource(),
            &RewriteOptions::default(),
        )
        .await
        .unwrap();
        assert_eq!(counts(&report), [3, 2, 0, 0, 1], "{report:?}");
        // It says so of an object that it has just listed.
        let refusal = &report.resources[0].refusals[0];
        assert_eq!(&*refusal.name, "thing-bare");
        assert!(refusal.why.contains("not found (404)"), "{refusal:?}");
        assert_eq!(things.stale_names().await, ["thing-bare"]);
    });
}

/// Things that the API server writes itself.
async fn create_things(control_plane: ControlPlane, group: &str, count: usize) -> ControlPlane {
    let control_plane = Arc::new(control_plane);
    let things = Things::stale(&control_plane, group, 0).await;
    for number in 0..count {
        things.create(&Things::name(number), "kept").await;
    }
    drop(things);
    Arc::into_inner(control_plane).unwrap()
}

/// Secrets and ConfigMaps, more than two pages of each, in two namespaces.
async fn fill(control_plane: &ControlPlane) {
    let client = control_plane.client();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}});
    client
        .create(Resource::NAMESPACES, "", &namespace)
        .await
        .unwrap();
    for number in 0..600 {
        let namespace = ["default", "other"][number % 2];
        let metadata = json!({"name": format!("object-{number}")});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "immutable": number == 0, "stringData": {"a": "b"}});
        client
            .create(Resource::SECRETS, namespace, &secret)
            .await
            .unwrap();
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "b"}});
        client
            .create(Resource::CONFIG_MAPS, namespace, &map)
            .await
            .unwrap();
    }
}

/// Keys of rows that this key did not write, though it could.
async fn stale_keys(control_plane: &ControlPlane, key: &str) -> Vec<String> {
    let mut rows = control_plane.etcd.rows("/registry/").await.unwrap();
    rows.retain(|row| {
        let is_never = |prefix: &&str| row.key.starts_with(*prefix);
        !is_encrypted(row, key) && !NEVER_ENCRYPTED.iter().any(is_never)
    });
    rows.into_iter().map(|row| row.key).collect()
}

async fn rows(control_plane: &ControlPlane) -> Vec<Row> {
    let mut rows = Vec::new();
    for resource in ["secrets", "configmaps", "rotated.example.com/things"] {
        rows.extend(
            control_plane
                .etcd
                .rows(&format!("/registry/{resource}/"))
                .await
                .unwrap(),
        );
    }
    rows
}

/// All objects as their users see them, but for their resourceVersions.
async fn objects(control_plane: &ControlPlane) -> Vec<Value> {
    let mut objects = Vec::new();
    let things = Resource::new("rotated.example.com/v1", "things");
    for resource in [Resource::SECRETS, Resource::CONFIG_MAPS, things] {
        let list = control_plane.list(resource).await;
        for mut object in list["items"].as_array().unwrap().clone() {
            object["metadata"]["resourceVersion"] = Value::Null;
            objects.push(object);
        }
    }
    objects
}
