//! What the platform must provide, and what a spec may ask for.

use kdc_envelope_k8s::hosted::{ConfigError, Step};
use serde_json::json;

use crate::scene::{cluster, refused, step, untouched};

#[test]
fn openbao_that_is_not_enabled_is_named_with_the_place_where_it_is_set() {
    let mut observed = untouched(json!({"enabled": true}));
    observed.platform.is_openbao_enabled = Some(false);
    let error = refused(&observed);
    assert_eq!(error.reason(), "OpenBaoDisabled");
    let line = error.to_string();
    assert!(
        line.contains("enable_openbao=true") && line.contains("kube-dc/master-config"),
        "{line}"
    );
    // Without settings of the platform, an address says that there is one.
    observed.platform.is_openbao_enabled = None;
    assert!(matches!(step(&observed), Step::CreateKey(_)));
    observed.platform.openbao_url = None;
    assert_eq!(refused(&observed).reason(), "OpenBaoDisabled");
}

#[test]
fn a_missing_address_of_openbao_is_named() {
    for url in [None, Some(String::new())] {
        let mut observed = untouched(json!({"enabled": true}));
        observed.platform.openbao_url = url;
        let error = refused(&observed);
        assert_eq!(error.reason(), "OpenBaoUrlMissing");
        assert!(error.to_string().contains("OPENBAO_URL"), "{error}");
    }
}

#[test]
fn a_missing_image_of_the_plugin_is_named() {
    let mut observed = untouched(json!({"enabled": true}));
    observed.platform.plugin_image = None;
    let error = refused(&observed);
    assert_eq!(error.reason(), "KMSPluginImageMissing");
    assert!(error.to_string().contains("KMS_PLUGIN_IMAGE"), "{error}");
}

#[test]
fn every_missing_prerequisite_is_named_at_once() {
    let mut observed = untouched(json!({"enabled": true}));
    observed.platform.openbao_url = None;
    observed.platform.plugin_image = None;
    let Step::Refuse(errors) = step(&observed) else {
        panic!("it goes on");
    };
    let reasons: Vec<_> = errors.iter().map(ConfigError::reason).collect();
    assert_eq!(reasons, ["OpenBaoUrlMissing", "KMSPluginImageMissing"]);
}

#[test]
fn a_prerequisite_that_is_put_back_lets_it_go_on() {
    let mut observed = untouched(json!({"enabled": true}));
    let image = observed.platform.plugin_image.take();
    assert!(matches!(step(&observed), Step::Refuse(_)));
    observed.platform.plugin_image = image;
    assert!(matches!(step(&observed), Step::CreateKey(_)));
}

#[test]
fn rotation_needs_an_interval() {
    let observed = untouched(json!({"enabled": true, "kekRotation": {"enabled": true}}));
    assert_eq!(refused(&observed).reason(), "KEKRotationInvalid");
}

#[test]
fn weeks_are_refused_by_name_and_so_are_intervals_out_of_bounds() {
    for (interval, part) in [
        ("2w", "(w)"),
        ("6d", "7d"),
        ("731d", "730d"),
        ("1y", "unit"),
        ("90", "unit"),
    ] {
        let rotation = json!({"enabled": true, "interval": interval});
        let error = refused(&untouched(
            json!({"enabled": true, "kekRotation": rotation}),
        ));
        assert!(error.to_string().contains(part), "{interval}: {error}");
    }
}

#[test]
fn keys_may_not_rotate_sooner_than_backups_expire() {
    let rotation = json!({"enabled": true, "interval": "10d"});
    let mut observed = untouched(json!({"enabled": true, "kekRotation": rotation}));
    observed.cluster.spec.backup = serde_json::from_value(json!({"retentionDays": 30})).unwrap();
    let error = refused(&observed);
    assert!(error.to_string().contains("at least 30d"), "{error}");
    observed.cluster.spec.backup =
        serde_json::from_value(json!({"enabled": false, "retentionDays": 30})).unwrap();
    assert!(matches!(step(&observed), Step::CreateKey(_)));
}

#[test]
fn resources_that_are_needed_before_the_plugin_are_refused() {
    let observed = untouched(json!({"enabled": true, "resources": ["secrets", "events"]}));
    let error = refused(&observed);
    assert!(error.to_string().contains("`events`"), "{error}");
}

#[test]
fn a_cluster_that_asks_for_nothing_is_left_alone() {
    let mut observed = untouched(json!({"enabled": false}));
    observed.platform.plugin_image = None;
    assert!(matches!(step(&observed), Step::Idle));
    observed.cluster = cluster(json!(null));
    assert!(matches!(step(&observed), Step::Idle));
}
