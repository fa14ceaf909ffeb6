//! From `enabled: true` to rows that are encrypted, one step after the other.

use kdc_envelope_k8s::hosted::attachment::is_attached;
use kdc_envelope_k8s::hosted::pods::PodView;
use kdc_envelope_k8s::hosted::{Observed, Step};
use kdc_envelope_k8s::rotation::change::ChangeKind;
use kdc_envelope_k8s::rotation::request::ChangeRequest;
use serde_json::{Value, json};

use crate::scene::{
    attached, change, control_plane, pod, prepared, readable, refused, step, untouched, writing,
};

fn enabled() -> Value {
    json!({"enabled": true})
}

fn waits(observed: &Observed) -> (&'static str, String) {
    match step(observed) {
        Step::Wait(waiting) => (waiting.reason, waiting.message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_service_account_comes_before_the_secrets_and_both_before_the_rows() {
    let mut observed = untouched(enabled());
    observed.key = Some(crate::scene::ready_key(&observed.cluster));
    assert!(
        matches!(step(&observed), Step::CreateServiceAccount(name) if name == "prod-kms-plugin")
    );
    observed.has_service_account = true;
    assert!(
        matches!(step(&observed), Step::CreateSecret(name) if name == "prod-encryption-config")
    );
    let mut observed = prepared(enabled());
    observed.is_authority_stored = false;
    assert!(matches!(step(&observed), Step::StoreAuthority));
    observed.is_authority_stored = true;
    assert!(matches!(
        step(&observed),
        Step::Begin(ChangeRequest::Enable { .. })
    ));
}

#[test]
fn secrets_of_an_earlier_cluster_of_the_name_are_not_used() {
    let mut observed = prepared(enabled());
    observed.secrets[2].owner = Some("uid of an earlier one".to_owned());
    assert_eq!(waits(&observed).0, "SecretOfAnotherCluster");
}

#[test]
fn a_control_plane_that_is_not_there_is_waited_for_by_its_name() {
    let mut observed = prepared(enabled());
    observed.control_plane = None;
    let (reason, message) = waits(&observed);
    assert_eq!(reason, "ControlPlaneMissing");
    assert!(message.contains("prod-cp"), "{message}");
}

#[test]
fn the_plugins_come_when_the_configuration_reads_them_and_not_before() {
    let mut observed = prepared(enabled());
    observed.change = Some(change(ChangeKind::Enable, false));
    assert!(
        matches!(step(&observed), Step::Advance),
        "the configuration comes first"
    );
    observed.configuration = Some(readable());
    let Step::UpdateControlPlane {
        object,
        is_attached: true,
        ..
    } = step(&observed)
    else {
        panic!("no plugin");
    };
    assert!(is_attached(&object).unwrap());
    assert_eq!(object["metadata"]["resourceVersion"], "7");
    let text = object.to_string();
    for part in [
        "--bao-namespace=acme",
        "--bao-key=acme-shop-prod-etcd",
        "--bao-role=tcp-prod",
        "kms-plugin:1",
    ] {
        assert!(text.contains(part), "{part}");
    }
}

#[test]
fn what_is_in_the_way_in_the_control_plane_is_refused_before_the_rows() {
    let mut observed = prepared(enabled());
    let object = &mut observed.control_plane.as_mut().unwrap().object;
    object["spec"]["controlPlane"]["deployment"]["serviceAccountName"] = json!("mine");
    let error = refused(&observed);
    assert_eq!(error.reason(), "ControlPlaneConflict");
    assert!(error.to_string().contains("prod-cp"), "{error}");
}

#[test]
fn nothing_goes_on_while_a_pod_is_ending() {
    let mut observed = attached(enabled(), change(ChangeKind::Enable, false), readable());
    assert!(matches!(step(&observed), Step::Advance));
    observed.pods.push(PodView {
        is_ending: true,
        ..pod("old")
    });
    let (reason, message) = waits(&observed);
    assert_eq!(reason, "PodsChanging");
    assert!(message.contains("old"), "{message}");
}

#[test]
fn nothing_goes_on_while_there_are_other_pods_than_replicas() {
    let mut observed = attached(enabled(), change(ChangeKind::Enable, false), readable());
    observed.pods.pop();
    assert!(waits(&observed).1.contains("should be 2"));
}

#[test]
fn a_sleeping_control_plane_waits_and_says_so() {
    let mut observed = prepared(enabled());
    observed.control_plane = Some(control_plane(0));
    observed.pods.clear();
    assert_eq!(waits(&observed).0, "ControlPlaneSleeping");
}

#[test]
fn pods_are_told_of_a_new_configuration_once() {
    let mut observed = attached(enabled(), change(ChangeKind::Enable, false), writing());
    observed.pods[1].config_hash = Some("another".into());
    let Step::AnnotatePods(pods, hash) = step(&observed) else {
        panic!("no pod is told");
    };
    assert_eq!(pods, ["b".into()]);
    observed.pods[1].config_hash = Some(hash.to_string().into());
    assert!(matches!(step(&observed), Step::Advance));
}

#[test]
fn a_plugin_that_was_edited_by_hand_is_put_back_before_anything_else() {
    let mut observed = attached(enabled(), change(ChangeKind::Enable, true), writing());
    let object = &mut observed.control_plane.as_mut().unwrap().object;
    object["spec"]["controlPlane"]["deployment"]["additionalInitContainers"] = json!([]);
    observed.pods.clear();
    assert!(matches!(
        step(&observed),
        Step::UpdateControlPlane {
            is_attached: true,
            ..
        }
    ));
}

#[test]
fn a_resource_that_is_added_is_encrypted_too() {
    let both = json!({"enabled": true, "resources": ["secrets", "configmaps"]});
    let observed = attached(both, change(ChangeKind::Enable, true), writing());
    let Step::Begin(ChangeRequest::Enable { resources, .. }) = step(&observed) else {
        panic!("nothing begins");
    };
    assert_eq!(resources.len(), 2);
}

#[test]
fn a_resource_that_is_taken_out_is_decrypted() {
    let configmaps = json!({"enabled": true, "resources": ["configmaps"]});
    let mut observed = attached(configmaps, change(ChangeKind::Enable, true), writing());
    // First what is asked for, then what is not.
    assert!(matches!(
        step(&observed),
        Step::Begin(ChangeRequest::Enable { .. })
    ));
    let layout = observed.configuration.as_ref().unwrap().1.clone();
    let secrets = layout
        .rules()
        .map(|(name, chain)| (name.clone(), chain.clone()));
    let name = kdc_envelope_k8s::GroupResource::new("configmaps", "");
    let chain = layout.rules().next().unwrap().1.clone();
    let both: kdc_envelope_k8s::Layout = secrets.chain([(name, chain)]).collect();
    observed.configuration.as_mut().unwrap().1 = std::sync::Arc::new(both);
    let Step::Begin(ChangeRequest::Disable { resources }) = step(&observed) else {
        panic!("nothing is decrypted");
    };
    assert_eq!(resources.len(), 1);
    assert_eq!(resources[0].to_string(), "secrets");
}

#[test]
fn enabling_again_turns_a_disabling_around() {
    let observed = attached(enabled(), change(ChangeKind::Disable, false), readable());
    assert!(matches!(step(&observed), Step::Begin(ChangeRequest::Abort)));
}
