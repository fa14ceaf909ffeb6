//! The way back: decrypted first, detached then.

use kdc_envelope_k8s::crd::kdc_cluster::FORCE_DISABLE;
use kdc_envelope_k8s::hosted::attachment::is_attached;
use kdc_envelope_k8s::hosted::{Observed, Step};
use kdc_envelope_k8s::rotation::change::ChangeKind;
use kdc_envelope_k8s::rotation::request::ChangeRequest;
use serde_json::{Value, json};

use crate::scene::{attached, change, plain, prepared, readable, refused, step, writing};

fn requested() -> Value {
    json!({"enabled": true, "disableRequested": true})
}

/// Encrypted, and switched off at once.
fn switched_off() -> Observed {
    attached(
        json!({"enabled": false}),
        change(ChangeKind::Enable, true),
        writing(),
    )
}

fn confirm(observed: &mut Observed, time: &str) {
    let annotations = [(FORCE_DISABLE.to_owned(), time.to_owned())];
    observed.cluster.metadata.annotations = Some(annotations.into());
}

#[test]
fn enabled_false_on_an_encrypted_cluster_is_refused() {
    let error = refused(&switched_off());
    assert_eq!(error.reason(), "DisableNotRequested");
    assert!(
        error.to_string().contains("disableRequested: true"),
        "{error}"
    );
}

#[test]
fn disable_requested_decrypts_every_row_with_the_plugin_still_there() {
    let observed = attached(requested(), change(ChangeKind::Enable, true), writing());
    let Step::Begin(ChangeRequest::Disable { resources }) = step(&observed) else {
        panic!("nothing is decrypted");
    };
    assert!(resources.is_empty(), "all of them");
    let observed = attached(requested(), change(ChangeKind::Disable, false), readable());
    assert!(matches!(step(&observed), Step::Advance));
}

#[test]
fn the_plugins_leave_when_everything_is_decrypted_and_no_api_server_reads_them() {
    let observed = attached(requested(), change(ChangeKind::Disable, true), readable());
    assert!(
        matches!(step(&observed), Step::Begin(_)),
        "the plugin is still read"
    );
    let observed = attached(requested(), change(ChangeKind::Disable, true), plain());
    let Step::UpdateControlPlane {
        object,
        is_attached: false,
        is_forced: false,
    } = step(&observed)
    else {
        panic!("the plugins stay");
    };
    assert!(!is_attached(&object).unwrap());
}

#[test]
fn disabling_needs_no_prerequisite() {
    let mut observed = attached(requested(), change(ChangeKind::Enable, true), writing());
    observed.platform.plugin_image = None;
    observed.platform.openbao_url = None;
    observed.key = None;
    assert!(matches!(
        step(&observed),
        Step::Begin(ChangeRequest::Disable { .. })
    ));
}

#[test]
fn disabling_turns_an_enabling_around() {
    let observed = attached(requested(), change(ChangeKind::Enable, false), readable());
    assert!(matches!(step(&observed), Step::Begin(ChangeRequest::Abort)));
}

#[test]
fn enabled_false_after_both_steps_changes_nothing() {
    let mut observed = prepared(json!({"enabled": false}));
    observed.change = Some(change(ChangeKind::Disable, true));
    observed.configuration = Some(plain());
    assert!(matches!(step(&observed), Step::Idle));
}

#[test]
fn enabled_false_between_decrypting_and_detaching_detaches() {
    let observed = attached(
        json!({"enabled": false}),
        change(ChangeKind::Disable, true),
        plain(),
    );
    assert!(matches!(
        step(&observed),
        Step::UpdateControlPlane {
            is_attached: false,
            is_forced: false,
            ..
        }
    ));
}

#[test]
fn a_confirmation_breaks_the_glass() {
    let mut observed = switched_off();
    confirm(&mut observed, "2026-05-01T00:00:00Z");
    assert!(matches!(
        step(&observed),
        Step::UpdateControlPlane {
            is_attached: false,
            is_forced: true,
            ..
        }
    ));
}

#[test]
fn a_confirmation_that_is_no_time_or_lies_in_the_future_is_refused() {
    for given in ["yes", "", "2026-05-01", "2126-01-01T00:00:00Z"] {
        let mut observed = switched_off();
        confirm(&mut observed, given);
        assert_eq!(
            refused(&observed).reason(),
            "ForceDisableInvalid",
            "{given}"
        );
    }
}
