use super::*;

fn resource(name: &str, verbs: &str, is_stored: bool) -> Resource {
    Resource {
        name: name.into(),
        verbs: verbs.split_whitespace().map(Into::into).collect(),
        is_stored,
    }
}

fn all(name: &str) -> Resource {
    resource(name, "create delete get list patch update watch", true)
}

fn version(name: &str, resources: Vec<Resource>) -> Version {
    Version {
        name: name.into(),
        service: None,
        resources,
    }
}

fn served() -> Vec<Group> {
    let group = |name: &str, versions| Group {
        name: name.into(),
        versions,
    };
    let metrics = Version {
        service: Some("kube-system/metrics-server".into()),
        ..version("v1", vec![])
    };
    vec![
        group(
            "",
            vec![version(
                "v1",
                vec![
                    all("secrets"),
                    all("configmaps"),
                    all("events"),
                    resource("secrets/status", "get patch", false),
                    resource("bindings", "create", false),
                    resource("componentstatuses", "get list", false),
                    resource("frozen", "get list", true),
                ],
            )],
        ),
        group("events.k8s.io", vec![version("v1", vec![all("events")])]),
        group(
            "example.com",
            vec![
                version(
                    "v2",
                    vec![all("widgets"), resource("old", "get list", true)],
                ),
                version("v1", vec![all("widgets"), all("old"), all("gadgets")]),
            ],
        ),
        group("metrics.k8s.io", vec![metrics]),
    ]
}

fn found(names: &[&str]) -> Resolution {
    let names: Vec<_> = names
        .iter()
        .map(|name| GroupResource::from_text(name))
        .collect();
    resolve_in(&served(), &names)
}

fn names(resolution: &Resolution) -> Vec<String> {
    let names = resolution.resources.iter();
    names
        .map(|resource| format!("{}/{}", resource.resource, resource.version))
        .collect()
}

fn skipped(resolution: &Resolution) -> Vec<(String, SkipReason)> {
    let skipped = resolution.skipped.iter();
    skipped
        .map(|skipped| (skipped.resource.to_string(), skipped.reason))
        .collect()
}

#[test]
fn a_name_is_found_in_the_version_that_can_be_patched() {
    let resolution = found(&[
        "secrets",
        "widgets.example.com",
        "old.example.com",
        "gadgets.example.com",
    ]);
    assert_eq!(
        names(&resolution),
        [
            "secrets/v1",
            "widgets.example.com/v2",
            "old.example.com/v1",
            "gadgets.example.com/v1"
        ]
    );
    assert_eq!(skipped(&resolution), []);
}

#[test]
fn a_wildcard_is_all_of_its_group_in_order_of_names() {
    let resolution = found(&["*."]);
    assert_eq!(
        names(&resolution),
        ["configmaps/v1", "events/v1", "secrets/v1"]
    );
    assert_eq!(
        skipped(&resolution),
        [
            ("componentstatuses".to_owned(), SkipReason::NotStored),
            ("frozen".to_owned(), SkipReason::NotPatchable),
        ]
    );
    let resolution = found(&["*.example.com"]);
    assert_eq!(
        names(&resolution),
        [
            "gadgets.example.com/v1",
            "old.example.com/v1",
            "widgets.example.com/v2"
        ]
    );
}

#[test]
fn everything_is_each_row_once_and_no_row_of_another_server() {
    let resolution = found(&["secrets", "*.*"]);
    assert_eq!(
        names(&resolution),
        [
            "secrets/v1",
            "configmaps/v1",
            "events/v1",
            "gadgets.example.com/v1",
            "old.example.com/v1",
            "widgets.example.com/v2"
        ]
    );
    let skipped = skipped(&resolution);
    assert!(skipped.contains(&("*.metrics.k8s.io".to_owned(), SkipReason::Aggregated)));
    assert!(
        !skipped
            .iter()
            .any(|(name, _)| name.contains("bindings") || name.contains('/'))
    );
}

#[test]
fn events_have_one_set_of_rows_by_any_name() {
    for given in [
        &["events.events.k8s.io"][..],
        &["*.events.k8s.io"],
        &["events", "events.events.k8s.io"],
    ] {
        assert_eq!(names(&found(given)), ["events/v1"], "{given:?}");
    }
}

#[test]
fn a_name_that_is_not_served_is_named_and_the_rest_is_found() {
    let resolution = found(&["secrets", "secret", "widgets.nowhere.example", "configmaps"]);
    assert_eq!(names(&resolution), ["secrets/v1", "configmaps/v1"]);
    let not_served: Vec<_> = resolution.not_served().map(ToString::to_string).collect();
    assert_eq!(
        not_served,
        [
            "secret: nothing is served under this name",
            "widgets.nowhere.example: nothing is served under this name",
        ]
    );
}

#[test]
fn what_an_aggregated_server_may_serve_is_not_taken_for_a_name_that_nothing_serves() {
    let resolution = found(&["secrets", "pods.metrics.k8s.io"]);
    assert_eq!(names(&resolution), ["secrets/v1"]);
    assert_eq!(resolution.not_served().count(), 0);
    assert_eq!(
        resolution.skipped[0].to_string(),
        "pods.metrics.k8s.io: an aggregated API server keeps its rows elsewhere (service kube-system/metrics-server)"
    );
}

#[test]
fn a_name_that_an_operator_typed_has_to_be_served() {
    let refused = |name: &str| {
        let typed = ["secrets", name].map(GroupResource::from_text);
        let required = found(&["secrets", name]).require(&typed);
        required.unwrap_err().to_string()
    };
    assert_eq!(
        refused("secret"),
        "nothing is served under the name `secret`; correct it, or take it out of the list"
    );
    assert!(refused("secrets.example.com").contains("`secrets.example.com`"));
    assert_eq!(
        refused("pods.metrics.k8s.io"),
        "`pods.metrics.k8s.io` is served by the aggregated API server behind the service kube-system/metrics-server, which keeps \
         its own rows; take it out of the list"
    );
    let resolution = found(&["secrets", "secret", "*.metrics.k8s.io"]);
    let typed = ["secrets", "*.metrics.k8s.io"].map(GroupResource::from_text);
    assert_eq!(resolution.require(&typed), Ok(()));
}

#[test]
fn a_wildcard_over_nothing_is_named() {
    let resolution = found(&["*.apps"]);
    assert_eq!(names(&resolution), Vec::<String>::new());
    assert_eq!(
        skipped(&resolution),
        [("*.apps".to_owned(), SkipReason::EmptyGroup)]
    );
}

#[test]
fn a_name_without_patch_is_named_in_the_result() {
    let resolution = found(&["frozen", "componentstatuses", "bindings"]);
    assert_eq!(
        skipped(&resolution),
        [
            ("frozen".to_owned(), SkipReason::NotPatchable),
            ("componentstatuses".to_owned(), SkipReason::NotStored),
            ("bindings".to_owned(), SkipReason::NotStored),
        ]
    );
}
