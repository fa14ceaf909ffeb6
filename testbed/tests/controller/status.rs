//! Status, conditions and finalizers: the least that has to be written.

use jiff::Timestamp;
use kdc_envelope_k8s::controller::status::{
    add_finalizer, has_finalizer, remove_finalizer, write_status,
};
use kdc_envelope_k8s::controller::{ErrorKind, ObjectKey};
use kdc_envelope_k8s::crd::kdc_cluster::{EncryptionStatus, KekRotationStatus, condition};
use kdc_envelope_k8s::crd::{Condition, ConditionStatus, KdcCluster, KmsKey};
use serde_json::json;

use crate::fixture::{Plane, make_cluster, make_key, raw, run};

const AVAILABLE: Condition<'_> = Condition {
    kind: condition::AVAILABLE,
    status: ConditionStatus::True,
    reason: "AllServersReady",
    message: "2 of 2 API servers",
};

#[test]
fn a_status_that_did_not_change_is_not_written() {
    run(async {
        let plane = Plane::shared().await;
        let objects = plane.objects().await;
        let key = make_key(&objects, "default", "unchanged", json!({})).await;
        let now = Timestamp::now();
        let wanted = |key: &KmsKey, now| {
            let mut status = key.status.clone();
            status.key_id = Some("acme/transit/keys/x".to_owned());
            status
                .conditions
                .set(&AVAILABLE, key.metadata.generation, now);
            status
        };
        let first = wanted(&key, now);
        assert!(
            write_status::<KmsKey>(&objects, &key.metadata, &key.status, &first)
                .await
                .unwrap()
        );
        let name = ObjectKey::new("default", "unchanged");
        let stored: KmsKey = objects.get(&name).await.unwrap().unwrap();
        assert_eq!(stored.status, first);
        for seconds in 1..=20 {
            let later = now
                .checked_add(jiff::SignedDuration::from_secs(seconds))
                .unwrap();
            let again = wanted(&stored, later);
            let written =
                write_status::<KmsKey>(&objects, &stored.metadata, &stored.status, &again);
            assert!(!written.await.unwrap());
        }
        let last: KmsKey = objects.get(&name).await.unwrap().unwrap();
        assert_eq!(
            last.metadata.resource_version,
            stored.metadata.resource_version
        );
    });
}

#[test]
fn fields_and_conditions_of_the_platform_stay_as_they_are() {
    run(async {
        let plane = Plane::shared().await;
        let objects = plane.objects().await;
        let spec = json!({
            "version": "v1.35.0",
            "controlPlane": {"replicas": 3, "new": ["field"]},
            "encryption": {"etcd": {"enabled": true}},
        });
        make_cluster(&objects, "default", "platform", spec).await;
        let theirs = json!({
            "type": "Ready", "status": "True", "reason": "Theirs", "message": "m",
            "lastTransitionTime": "2026-06-07T00:00:00Z",
        });
        let name = ObjectKey::new("default", "platform");
        let status = json!({"status": {
            "phase": "Ready", "endpoint": "https://x", "conditions": [theirs],
            "encryption": {"disableMigrationProgress": 40, "resolvedKeyRef": "old"},
        }});
        let seen: KdcCluster = objects.patch_status(&name, &status).await.unwrap();
        let path = "/apis/k8s.kube-dc.com/v1alpha1/namespaces/default/kdcclusters/platform";
        let before = raw(plane, path).await;

        let mut wanted = seen.status.clone();
        wanted.encryption = Some(EncryptionStatus {
            resolved_key_ref: Some("platform-etcd".to_owned()),
            kek_rotation: Some(KekRotationStatus {
                current_version: Some(3),
                ..KekRotationStatus::default()
            }),
            ..EncryptionStatus::default()
        });
        wanted
            .conditions
            .set(&AVAILABLE, seen.metadata.generation, Timestamp::now());
        let written = write_status::<KdcCluster>(&objects, &seen.metadata, &seen.status, &wanted);
        assert!(written.await.unwrap());

        let after = raw(plane, path).await;
        assert_eq!(after["spec"], before["spec"]);
        assert_eq!(
            after["metadata"]["generation"],
            before["metadata"]["generation"]
        );
        let status = &after["status"];
        assert_eq!(
            (&status["phase"], &status["endpoint"]),
            (&json!("Ready"), &json!("https://x"))
        );
        assert_eq!(status["conditions"][0], theirs);
        assert_eq!(status["conditions"][1]["type"], condition::AVAILABLE);
        assert_eq!(
            status["encryption"],
            json!({"resolvedKeyRef": "platform-etcd", "kekRotation": {"currentVersion": 3}})
        );
    });
}

#[test]
fn a_write_over_something_newer_is_a_conflict_and_changes_nothing() {
    run(async {
        let plane = Plane::shared().await;
        let objects = plane.objects().await;
        let old = make_key(&objects, "default", "conflict", json!({})).await;
        let name = ObjectKey::new("default", "conflict");
        let patch = json!({"metadata": {"labels": {"someone": "else"}}});
        objects.patch::<KmsKey>(&name, &patch).await.unwrap();
        let mut wanted = old.status.clone();
        wanted.current_version = Some(7);
        let refused = write_status::<KmsKey>(&objects, &old.metadata, &old.status, &wanted).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict);
        let refused = add_finalizer::<KmsKey>(&objects, &old.metadata, "example.com/f").await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict);
        let now: KmsKey = objects.get(&name).await.unwrap().unwrap();
        assert_eq!(
            (now.status.current_version, now.metadata.finalizers),
            (None, None)
        );
        // A second object of the name is a conflict too.
        let copy = KmsKey {
            metadata: kube::api::ObjectMeta {
                name: old.metadata.name.clone(),
                namespace: old.metadata.namespace.clone(),
                ..kube::api::ObjectMeta::default()
            },
            ..KmsKey::default()
        };
        let refused = objects.create(&copy).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict);
    });
}

#[test]
fn an_object_waits_for_its_finalizer_and_takes_none_when_it_goes() {
    run(async {
        let plane = Plane::shared().await;
        let objects = plane.objects().await;
        let name = ObjectKey::new("default", "finalized");
        let key = make_key(&objects, "default", "finalized", json!({})).await;
        const OURS: &str = "security.kube-dc.com/test";
        assert!(
            add_finalizer::<KmsKey>(&objects, &key.metadata, OURS)
                .await
                .unwrap()
        );
        let held: KmsKey = objects.get(&name).await.unwrap().unwrap();
        assert!(has_finalizer(&held.metadata, OURS));
        assert!(
            !add_finalizer::<KmsKey>(&objects, &held.metadata, OURS)
                .await
                .unwrap()
        );
        // One made again under the name would not be deleted instead.
        let mut other = held.metadata.clone();
        other.uid = Some("00000000-0000-0000-0000-000000000000".to_owned());
        let refused = objects.delete::<KmsKey>(&other).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict);
        assert!(objects.delete::<KmsKey>(&held.metadata).await.unwrap());
        let going: KmsKey = objects.get(&name).await.unwrap().unwrap();
        assert!(going.metadata.deletion_timestamp.is_some());
        let added = add_finalizer::<KmsKey>(&objects, &going.metadata, "example.com/late");
        assert!(!added.await.unwrap());
        assert!(
            remove_finalizer::<KmsKey>(&objects, &going.metadata, OURS)
                .await
                .unwrap()
        );
        assert!(objects.get::<KmsKey>(&name).await.unwrap().is_none());
        assert!(
            !objects.delete::<KmsKey>(&going.metadata).await.unwrap(),
            "it is gone"
        );
    });
}
