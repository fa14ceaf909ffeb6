//! The definitions, as a real API server takes them.

use kdc_envelope_k8s::controller::ObjectKey;
use kdc_envelope_k8s::crd::{KdcCluster, KmsKey};
use serde_json::json;

use crate::fixture::{Plane, make_cluster, make_key, raw, run};

#[test]
fn a_key_gets_the_defaults_and_its_columns() {
    run(async {
        let plane = Plane::shared().await;
        let objects = plane.objects().await;
        let key = make_key(&objects, "default", "defaults", json!({})).await;
        let spec = serde_json::to_value(&key.spec).unwrap();
        assert_eq!(
            spec,
            json!({
                "purpose": "application", "algorithm": "aes256-gcm96", "exportable": false,
                "deletionPolicy": "retain",
            })
        );
        let kinds = raw(plane, "/apis/security.kube-dc.com/v1alpha1").await;
        let kind = &kinds["resources"][0];
        assert_eq!(
            (&kind["name"], &kind["shortNames"]),
            (&json!("kmskeys"), &json!(["kkey"]))
        );
    });
}

#[test]
fn rules_of_the_schema_refuse_by_name() {
    run(async {
        let objects = Plane::shared().await.objects().await;
        let key = ObjectKey::new("default", "rules");
        for (spec, named) in [
            (
                json!({"rotation": {"enabled": true}}),
                "interval is required",
            ),
            (
                json!({"rotation": {"enabled": true, "interval": "2w"}}),
                "spec.rotation.interval",
            ),
            (
                json!({"rotation": {"enabled": true, "interval": "090d"}}),
                "spec.rotation.interval",
            ),
            (json!({"exportable": true}), "must be false"),
            (json!({"algorithm": "rsa-4096"}), "spec.algorithm"),
            (json!({"deletionPolicy": "purge"}), "spec.deletionPolicy"),
        ] {
            let fields = json!({"spec": spec});
            let refused = objects
                .apply::<KmsKey>(&key, &fields, true)
                .await
                .unwrap_err();
            assert!(refused.to_string().contains(named), "{refused}");
        }
        for spec in [
            json!({"rotation": {"enabled": true, "interval": "90d"}}),
            json!({"rotation": {"enabled": false}}),
            json!({"rotation": {"interval": "1h30m500ms"}}),
        ] {
            let fields = json!({"spec": spec});
            objects.apply::<KmsKey>(&key, &fields, true).await.unwrap();
        }
    });
}

#[test]
fn a_cluster_has_its_defaults_and_keeps_what_the_platform_adds() {
    run(async {
        let objects = Plane::shared().await.objects().await;
        let spec = json!({
            "version": "v1.35.0",
            "workers": [{"name": "w"}],
            "encryption": {"etcd": {"enabled": true}},
            "backup": {"schedule": "0 2 * * *"},
        });
        let cluster = make_cluster(&objects, "default", "defaulted", spec).await;
        let etcd = cluster.spec.encryption.unwrap().etcd.unwrap();
        assert_eq!(etcd.resources.as_deref(), Some(&["secrets".to_owned()][..]));
        assert_eq!(cluster.spec.backup.unwrap().retention(), Some(7));
        let stored = raw(
            Plane::shared().await,
            "/apis/k8s.kube-dc.com/v1alpha1/namespaces/default/kdcclusters/defaulted",
        )
        .await;
        assert_eq!(stored["spec"]["workers"], json!([{"name": "w"}]));
        assert_eq!(stored["spec"]["backup"]["schedule"], "0 2 * * *");
        let key = ObjectKey::new("default", "no-resources");
        let spec = json!({"version": "v1.35.0", "encryption": {"etcd": {"enabled": true, "resources": []}}});
        let refused = objects
            .apply::<KdcCluster>(&key, &json!({"spec": spec}), true)
            .await;
        assert!(refused.unwrap_err().to_string().contains("resources"));
    });
}
