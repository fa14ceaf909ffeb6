//! The management cluster, with the controller that is tested.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kdc_envelope::kmsv2::ProviderName;
use kdc_envelope_k8s::cluster::{Kubeconfig, KubeconfigSource, Overrides, connect_kubeconfig};
use kdc_envelope_k8s::controller::{ObjectKey, Objects, Reconciler as _, Recorder};
use kdc_envelope_k8s::crd::kamaji::TenantControlPlane;
use kdc_envelope_k8s::crd::{KDC_CLUSTERS, KMS_KEYS, KdcCluster, KmsKey};
use kdc_envelope_k8s::hosted::{HostedReconciler, Settings};
use kdc_envelope_k8s::rotation::Timestamp;
use kdc_testbed::{ApiServer, Etcd};
use serde_json::{Value, json};
use tokio::sync::Mutex;

pub(crate) const CONTROL_PLANE: &str =
    "/apis/kamaji.clastix.io/v1alpha1/namespaces/shop/tenantcontrolplanes/prod-cp";

pub(crate) struct Platform {
    pub(crate) server: ApiServer,
    pub(crate) objects: Objects,
    controller: Mutex<HostedReconciler>,
    _etcd: Etcd,
}

fn settings(plugin_image: Option<&str>) -> Settings {
    Settings {
        openbao_url: None,
        plugin_image: plugin_image.map(str::to_owned),
        init_image: "busybox:1".to_owned(),
        plugin_flags: Vec::new(),
        authority: Some("-----BEGIN CERTIFICATE-----\n".to_owned()),
        auth_mount: "k8s-host".to_owned(),
        audience: "openbao".to_owned(),
        control_plane_suffix: "-cp".to_owned(),
        provider: ProviderName::new("kube-dc-kms-plugin").unwrap(),
        platform_secret: ("kube-dc".to_owned(), "master-config".to_owned()),
        budget: None,
    }
}

fn now() -> Timestamp {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test is an outermost layer: what it calls takes the time as a parameter"
    )]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_secs(since.as_secs())
}

fn controller(plugin_image: Option<&str>) -> HostedReconciler {
    let recorder = Recorder::new("k8s.kube-dc.com/k8-manager", "test");
    HostedReconciler::new(settings(plugin_image), recorder, now.into())
}

fn cluster() -> ObjectKey {
    ObjectKey::new("shop", "prod")
}

/// TenantControlPlanes with any fields; the real definition is Kamaji's.
fn definition() -> Value {
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "tenantcontrolplanes.kamaji.clastix.io"},
        "spec": {
            "group": "kamaji.clastix.io",
            "scope": "Namespaced",
            "names": {
                "kind": "TenantControlPlane", "listKind": "TenantControlPlaneList",
                "plural": "tenantcontrolplanes", "singular": "tenantcontrolplane",
            },
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": any, "status": any}}},
            }],
        },
    })
}

impl Platform {
    /// With a cluster `shop/prod` that asks for nothing.
    pub(crate) async fn start() -> Self {
        let etcd = Etcd::start().await.unwrap();
        let server = ApiServer::options().start(&etcd).await.unwrap();
        let kubeconfig = Kubeconfig {
            source: KubeconfigSource::File(server.kubeconfig().to_owned()),
            context: None,
        };
        let client = connect_kubeconfig(&kubeconfig, Overrides::default())
            .await
            .unwrap();
        let platform = Self {
            server,
            objects: Objects::new(client, "k8-manager").with_deadline(Duration::from_secs(60)),
            controller: Mutex::new(controller(Some("kms-plugin:1"))),
            _etcd: etcd,
        };
        for yaml in [KMS_KEYS.yaml, KDC_CLUSTERS.yaml] {
            let definition = serde_saphyr::from_str(yaml).unwrap();
            platform.apply(&definition).await;
        }
        platform.apply(&definition()).await;
        for name in ["kube-dc", "shop"] {
            let namespace =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            platform.apply(&namespace).await;
        }
        let settings = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "master-config", "namespace": "kube-dc"},
            "stringData": {"enable_openbao": "true", "openbao_url": "https://bao:8200"},
        });
        platform.apply(&settings).await;
        let object =
            json!({"spec": {"version": "v1.36.0", "encryption": {"etcd": {"enabled": false}}}});
        platform
            .objects
            .apply::<KdcCluster>(&cluster(), &object, true)
            .await
            .unwrap();
        let status = json!({"status": {"phase": "Ready"}});
        platform
            .objects
            .patch_status::<KdcCluster>(&cluster(), &status)
            .await
            .unwrap();
        platform
    }

    /// The API server takes a moment to serve a kind that is new.
    pub(crate) async fn apply(&self, object: &Value) -> Value {
        let mut last = None;
        for _ in 0..150 {
            match self.server.client().apply(object).await {
                Ok(stored) => return stored,
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("{}: {last:?}", object["kind"]);
    }

    /// Sets `spec.encryption.etcd` of the cluster.
    pub(crate) async fn ask(&self, etcd: Value) {
        let mut etcd = etcd;
        let defaults = json!({"disableRequested": null});
        for (name, value) in defaults.as_object().unwrap() {
            let fields = etcd.as_object_mut().unwrap();
            fields.entry(name.clone()).or_insert_with(|| value.clone());
        }
        let patch = json!({"spec": {"encryption": {"etcd": etcd}}});
        self.objects
            .patch::<KdcCluster>(&cluster(), &patch)
            .await
            .unwrap();
    }

    /// Runs the controller once, and makes the key as its own controller does.
    pub(crate) async fn step(&self) {
        if let Err(error) = self
            .controller
            .lock()
            .await
            .reconcile(&cluster(), &self.objects)
            .await
        {
            eprintln!("{}", kdc_envelope::ErrorChain::new(&error));
        }
        let key = ObjectKey::new("shop", "prod-etcd");
        let Some(found) = self.key(&key).await else {
            return;
        };
        if found.status.key_id.is_none() {
            let ready = json!({
                "type": "Ready", "status": "True", "reason": "KeyExists", "message": "",
                "lastTransitionTime": "2026-06-07T00:00:00Z",
            });
            let status = json!({"status": {
                "keyId": "acme/transit/keys/acme-shop-prod-etcd", "currentVersion": 1, "conditions": [ready],
            }});
            self.objects
                .patch_status::<KmsKey>(&key, &status)
                .await
                .unwrap();
        }
    }

    /// The controller starts again without its image.
    pub(crate) async fn forget_image(&self) {
        *self.controller.lock().await = controller(None);
    }

    pub(crate) async fn cluster(&self) -> KdcCluster {
        self.objects.get(&cluster()).await.unwrap().unwrap()
    }

    pub(crate) async fn key(&self, key: &ObjectKey) -> Option<KmsKey> {
        self.objects.get(key).await.unwrap()
    }

    pub(crate) async fn raw(&self, path: &str) -> Value {
        let answer = self.server.client().raw(path).await.unwrap();
        serde_json::from_str(&answer.body).unwrap_or_default()
    }

    pub(crate) async fn control_plane(&self) -> Value {
        self.raw(CONTROL_PLANE).await
    }

    pub(crate) async fn patch_control_plane(&self, patch: &Value) {
        let key = ObjectKey::new("shop", "prod-cp");
        self.objects
            .patch::<TenantControlPlane>(&key, patch)
            .await
            .unwrap();
    }

    /// The versions of everything in the namespace that the controller might write, but for the cluster's own.
    pub(crate) async fn versions(&self) -> BTreeMap<String, String> {
        let mut versions = BTreeMap::new();
        for path in [
            "/api/v1/namespaces/shop/secrets",
            "/api/v1/namespaces/shop/pods",
            "/api/v1/namespaces/shop/serviceaccounts",
            "/apis/kamaji.clastix.io/v1alpha1/namespaces/shop/tenantcontrolplanes",
            "/apis/security.kube-dc.com/v1alpha1/namespaces/shop/kmskeys",
        ] {
            let list = self.raw(path).await;
            for item in list["items"].as_array().into_iter().flatten() {
                let text = |field: &str| item["metadata"][field].as_str().unwrap().to_owned();
                versions.insert(format!("{path}/{}", text("name")), text("resourceVersion"));
            }
        }
        versions
    }
}
