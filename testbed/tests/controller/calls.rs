//! Calls that fail, each with the kind that decides what follows.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kdc_envelope_k8s::cluster::{Overrides, connect};
use kdc_envelope_k8s::controller::{CallError, ErrorKind, ObjectKey, Objects};
use kdc_envelope_k8s::crd::KmsKey;
use kube::api::ListParams;
use serde_json::json;

use crate::fixture::{Plane, run};

#[test]
fn a_call_without_an_answer_ends_at_its_deadline() {
    run(async {
        let mut plane = Plane::start().await;
        let limit = Duration::from_secs(1);
        let objects = plane.objects().await.with_deadline(limit);
        let key = ObjectKey::new("default", "x");
        assert!(objects.get::<KmsKey>(&key).await.unwrap().is_none());
        plane.server.process().pause().await.unwrap();
        let start = Instant::now();
        let error = objects.get::<KmsKey>(&key).await.unwrap_err();
        assert!(matches!(error, CallError::Deadline { .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Transient);
        assert!(start.elapsed() >= limit);
        assert!(error.to_string().contains("KMSKey default/x"), "{error}");
        let written = objects
            .apply::<KmsKey>(&key, &json!({"spec": {}}), true)
            .await;
        assert!(matches!(written, Err(CallError::Deadline { .. })));
        plane.server.process().kill().await.unwrap();
        let error = objects.get::<KmsKey>(&key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    });
}

#[test]
fn a_missing_right_is_named_with_verb_and_resource() {
    run(async {
        let plane = Plane::shared().await;
        let testbed = plane.server.client();
        testbed
            .ensure_service_account("default", "without-rights")
            .await
            .unwrap();
        let token = testbed.service_account_token(
            "default",
            "without-rights",
            None,
            Duration::from_secs(600),
        );
        let token = token.await.unwrap();
        let text = std::fs::read_to_string(plane.server.kubeconfig()).unwrap();
        let mut kubeconfig: kube::config::Kubeconfig = serde_json::from_str(&text).unwrap();
        let user = kubeconfig.auth_infos[0].auth_info.as_mut().unwrap();
        user.token = Some(token.into());
        let options = kube::config::KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options);
        let client = connect(config.await.unwrap(), Overrides::default()).unwrap();
        let objects = Objects::new(client, "without-rights");
        let key = ObjectKey::new("default", "x");
        let get = objects.get::<Secret>(&key).await.unwrap_err();
        let list = objects
            .list::<KmsKey>(None, &ListParams::default())
            .await
            .unwrap_err();
        let apply = objects
            .apply::<KmsKey>(&key, &json!({"spec": {}}), true)
            .await
            .unwrap_err();
        for (error, verb, resource) in [
            (get, "cannot get resource", "secrets"),
            (list, "cannot list resource", "kmskeys"),
            (apply, "cannot patch resource", "kmskeys"),
        ] {
            assert_eq!(error.kind(), ErrorKind::Denied);
            let text = error.to_string();
            assert!(text.contains(verb) && text.contains(resource), "{text}");
        }
    });
}

#[test]
fn what_the_schema_refuses_is_rejected() {
    run(async {
        let objects = Plane::shared().await.objects().await;
        let key = ObjectKey::new("default", "refused");
        let fields = json!({"spec": {"purpose": "fun"}});
        let error = objects
            .apply::<KmsKey>(&key, &fields, true)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
        assert!(error.to_string().contains("spec.purpose"), "{error}");
    });
}
