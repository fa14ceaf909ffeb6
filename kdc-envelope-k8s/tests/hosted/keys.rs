//! The KMSKey of a cluster: made, or given and checked.

use kdc_envelope_k8s::crd::KmsKey;
use kdc_envelope_k8s::crd::kdc_cluster::ALLOW_SHARED_KEY;
use kdc_envelope_k8s::hosted::{Observed, Step};
use serde_json::{Value, json};

use crate::scene::{
    attached, change, named, prepared, ready_key, refused, step, untouched, writing,
};
use kdc_envelope_k8s::rotation::change::ChangeKind;

/// A cluster that names the key `mine`, which is ready.
fn given() -> Observed {
    let mut observed = prepared(json!({"enabled": true, "keyRef": "mine"}));
    observed.key = Some(ready_key(&observed.cluster));
    observed
}

fn edited(key: &KmsKey, place: &str, value: Value) -> KmsKey {
    let mut object = serde_json::to_value(key).unwrap();
    let (parent, name) = place.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[name] = value;
    serde_json::from_value(object).unwrap()
}

fn edit(observed: &mut Observed, place: &str, value: Value) {
    let key = observed.key.take().unwrap();
    observed.key = Some(edited(&key, place, value));
}

#[test]
fn without_key_ref_a_key_is_made_with_labels_and_finalizer_and_no_owner() {
    let observed = untouched(json!({"enabled": true}));
    let Step::CreateKey(key) = step(&observed) else {
        panic!("no key is made");
    };
    let written = serde_json::to_value(&key).unwrap();
    assert_eq!(written["metadata"]["name"], "prod-etcd");
    assert_eq!(written["metadata"]["namespace"], "shop");
    assert_eq!(
        written["metadata"]["labels"],
        json!({
            "k8s.kube-dc.com/kdccluster": "prod",
            "security.kube-dc.com/managed-by": "kdccluster",
        })
    );
    assert!(
        written["metadata"].get("ownerReferences").is_none(),
        "{written}"
    );
    assert_eq!(
        written["metadata"]["finalizers"].as_array().unwrap().len(),
        1
    );
    assert_eq!(
        written["spec"],
        json!({"purpose": "etcd", "deletionPolicy": "retain"})
    );
}

#[test]
fn a_key_that_was_made_follows_the_rotation_of_the_spec() {
    let rotation = json!({"enabled": true, "interval": "90d"});
    let mut observed = prepared(json!({"enabled": true, "kekRotation": rotation}));
    let Step::SetRotation(set) = step(&observed) else {
        panic!("the rotation is not set");
    };
    assert_eq!(serde_json::to_value(&set).unwrap(), rotation);
    edit(&mut observed, "/spec/rotation", rotation);
    assert!(!matches!(step(&observed), Step::SetRotation(_)));
    observed.cluster = crate::scene::cluster(json!({"enabled": true}));
    let Step::SetRotation(off) = step(&observed) else {
        panic!("the rotation stays on");
    };
    assert_eq!(
        serde_json::to_value(&off).unwrap(),
        json!({"enabled": false})
    );
}

#[test]
fn the_rotation_of_a_given_key_is_never_touched() {
    let rotation = json!({"enabled": true, "interval": "90d"});
    let mut observed = given();
    observed.cluster = crate::scene::cluster(json!({
        "enabled": true, "keyRef": "mine", "kekRotation": rotation,
    }));
    assert!(matches!(step(&observed), Step::Begin(_)));
}

#[test]
fn a_key_that_is_being_made_is_waited_for() {
    let mut observed = prepared(json!({"enabled": true}));
    edit(&mut observed, "/status/conditions/0/status", json!("False"));
    edit(
        &mut observed,
        "/status/conditions/0/message",
        json!("OpenBao is away"),
    );
    let Step::Wait(waiting) = step(&observed) else {
        panic!("it is not waited for");
    };
    assert_eq!(waiting.reason, "KeyNotReady");
    assert!(
        waiting.message.contains("OpenBao is away"),
        "{}",
        waiting.message
    );
}

#[test]
fn a_given_key_must_be_there() {
    let mut observed = given();
    observed.key = None;
    let error = refused(&observed);
    assert_eq!(error.reason(), "KeyNotFound");
    assert!(error.to_string().contains("mine"), "{error}");
}

#[test]
fn a_given_key_must_be_ready() {
    let mut observed = given();
    edit(&mut observed, "/status/conditions/0/status", json!("False"));
    assert_eq!(refused(&observed).reason(), "KeyNotReady");
}

#[test]
fn a_given_key_must_be_for_etcd() {
    for purpose in ["application", "backup", "nonsense"] {
        let mut observed = given();
        edit(&mut observed, "/spec/purpose", json!(purpose));
        let error = refused(&observed);
        assert_eq!(error.reason(), "KeyPurposeInvalid");
        assert!(error.to_string().contains(purpose), "{error}");
    }
}

#[test]
fn a_given_key_must_not_be_scheduled_for_deletion() {
    for (place, value) in [
        ("/spec/deletionPolicy", json!("schedule")),
        ("/status/scheduledDeletion", json!("2026-07-01T00:00:00Z")),
        ("/metadata/deletionTimestamp", json!("2026-07-01T00:00:00Z")),
    ] {
        let mut observed = given();
        edit(&mut observed, place, value);
        assert_eq!(
            refused(&observed).reason(),
            "KeyScheduledForDeletion",
            "{place}"
        );
    }
}

#[test]
fn a_key_of_another_cluster_is_refused_unless_sharing_is_allowed() {
    let mut observed = given();
    let other = named("other", json!({"enabled": true, "keyRef": "mine"}));
    observed.neighbours.push(other);
    let error = refused(&observed);
    assert_eq!(error.reason(), "KeyInUse");
    assert!(error.to_string().contains("other"), "{error}");
    let annotations = [(ALLOW_SHARED_KEY.to_owned(), "true".to_owned())];
    observed.cluster.metadata.annotations = Some(annotations.into());
    assert!(matches!(step(&observed), Step::Begin(_)));
}

#[test]
fn a_cluster_without_encryption_uses_no_key() {
    let mut observed = given();
    observed
        .neighbours
        .push(named("other", json!({"enabled": false, "keyRef": "mine"})));
    assert!(matches!(step(&observed), Step::Begin(_)));
}

#[test]
fn a_key_of_the_name_that_was_not_made_for_the_cluster_is_refused() {
    let mut observed = prepared(json!({"enabled": true}));
    edit(&mut observed, "/metadata/labels", json!({}));
    assert_eq!(refused(&observed).reason(), "KeyNotOurs");
}

#[test]
fn a_key_id_that_names_no_key_is_refused() {
    for key_id in ["", "acme", "acme/transit/keys/", "/keys/x"] {
        let mut observed = given();
        edit(&mut observed, "/status/keyId", json!(key_id));
        assert_eq!(refused(&observed).reason(), "KeyIdInvalid", "{key_id}");
    }
}

#[test]
fn the_key_of_encrypted_rows_cannot_be_changed() {
    let mut observed = attached(
        json!({"enabled": true, "keyRef": "mine"}),
        change(ChangeKind::Enable, true),
        writing(),
    );
    observed.cluster.status.encryption =
        serde_json::from_value(json!({"resolvedKeyRef": "prod-etcd"})).unwrap();
    observed.key = Some(ready_key(&observed.cluster));
    let error = refused(&observed);
    assert_eq!(error.reason(), "KeyRefChanged");
    assert!(error.to_string().contains("prod-etcd"), "{error}");
}
