//! One tenant with a key in OpenBao, and the objects that a person writes to encrypt it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kdc_testbed::bao::{Grant, kms_plugin_policy};
use kdc_testbed::hosted::{
    AUTH_MOUNT, ManagementCluster, ORGANIZATION, PODS, Pace, TENANT_CONTROL_PLANES, TenantRunner,
};
use kdc_testbed::{Client, Resource};
use serde_json::{Value, json};

pub const NAMESPACE: &str = "acme-shop";
pub const NAME: &str = "prod-cp";
pub const KEY: &str = "acme-shop-prod-etcd";
pub const CONFIG_SECRET: &str = "prod-encryption-config";
const SOCKET: &str = "unix:///run/kms/plugin/kms.sock";

/// A management cluster and its runner, which ends first.
pub struct Stand {
    pub runner: TenantRunner,
    pub cluster: ManagementCluster,
}

impl Stand {
    /// With the key of the tenant and its role, and a plain control plane of `replicas` that is ready.
    pub async fn start(pace: Pace, replicas: u32) -> Self {
        let stand = Self::without_key(pace, replicas).await;
        let organization = stand.cluster.organization();
        organization.enable_transit("transit").await.unwrap();
        organization.create_key("transit", KEY).await.unwrap();
        let policy = kms_plugin_policy(KEY);
        organization
            .write_policy("tcp-prod", &policy)
            .await
            .unwrap();
        let grant = Grant::of(["tcp-prod"]).without_default_policy();
        let account = format!("{NAMESPACE}/prod-kms-plugin");
        organization
            .create_kubernetes_role(AUTH_MOUNT, "tcp-prod", &account, "openbao", &grant)
            .await
            .unwrap();
        stand
    }

    /// With a plain control plane of `replicas` that is ready, and nothing in OpenBao but the namespace of the organization.
    pub async fn without_key(pace: Pace, replicas: u32) -> Self {
        let cluster = ManagementCluster::start().await.unwrap();
        cluster.namespace(NAMESPACE, &json!({})).await.unwrap();
        let runner = TenantRunner::start(&cluster, pace).await.unwrap();
        let stand = Self { runner, cluster };
        stand
            .client()
            .create(TENANT_CONTROL_PLANES, NAMESPACE, &plain(replicas))
            .await
            .unwrap();
        stand.rolled_out(replicas).await;
        stand
    }

    pub fn client(&self) -> &Client {
        self.cluster.client()
    }

    /// The tenant, through its Service.
    pub fn tenant(&self) -> Client {
        self.runner.tenant_client(NAMESPACE, NAME, None).unwrap()
    }

    pub async fn plane(&self) -> Value {
        let plane = self.client().read(TENANT_CONTROL_PLANES, NAMESPACE, NAME);
        plane.await.unwrap()
    }

    pub async fn patch(&self, spec: Value) {
        let patch = json!({"spec": spec});
        self.client()
            .merge_patch(TENANT_CONTROL_PLANES, NAMESPACE, NAME, None, &patch)
            .await
            .unwrap();
    }

    /// All pods of the tenant, those that end among them.
    pub async fn pods(&self) -> Vec<Value> {
        let pods = self.client().list(PODS, NAMESPACE).await.unwrap();
        pods["items"].as_array().unwrap().clone()
    }

    /// Waits until the object says that it is ready as its last generation wants it, and no other pod is left.
    pub async fn rolled_out(&self, replicas: u32) {
        self.eventually("the control plane is rolled out", async || {
            let plane = self.plane().await;
            let status = &plane["status"];
            let pods = self.pods().await;
            status["observedGeneration"] == plane["metadata"]["generation"]
                && status["kubernetesResources"]["version"]["status"] == "Ready"
                && pods.len() == usize::try_from(replicas).unwrap()
        })
        .await;
    }

    /// The configuration of the tenant, with these providers in order.
    pub async fn configure(&self, providers: &[Value]) -> String {
        let text = kdc_testbed::encryption_config::with_providers(&["secrets"], providers);
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": CONFIG_SECRET, "namespace": NAMESPACE},
            "data": {"config.yaml": BASE64.encode(&text)},
        });
        self.client().apply(&secret).await.unwrap();
        text
    }

    /// Makes the account of the plugin, and adds all that it takes to the control plane in one update.
    pub async fn add_plugin(&self) {
        self.client()
            .ensure_service_account(NAMESPACE, "prod-kms-plugin")
            .await
            .unwrap();
        self.patch(json!({"controlPlane": {"deployment": self.plugin()}}))
            .await;
    }

    /// Changes a Secret's consumers at once: kubelet looks at volumes when the pod itself changes.
    pub async fn annotate_pods(&self, value: &str) {
        for pod in self.pods().await {
            let name = pod["metadata"]["name"].as_str().unwrap();
            let patch = json!({"metadata": {"annotations": {"example.dev/config": value}}});
            self.client()
                .merge_patch(PODS, NAMESPACE, name, None, &patch)
                .await
                .unwrap();
        }
    }

    /// The rows of Secrets, as stored.
    pub async fn rows(&self) -> Vec<kdc_testbed::etcd::Row> {
        let plane = self.plane().await;
        let schema = plane["status"]["storage"]["setup"]["schema"]
            .as_str()
            .unwrap();
        let prefix = format!("/{schema}/secrets/default/");
        self.cluster.data_store().rows(&prefix).await.unwrap()
    }

    /// Waits until `holds`, for three minutes at most.
    pub async fn eventually(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        for _ in 0..900 {
            if holds().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let logs: Vec<String> = self.logs().await;
        panic!(
            "never: {what}; {:?}\n{}",
            self.runner.trouble(),
            logs.join("\n")
        );
    }

    async fn logs(&self) -> Vec<String> {
        let mut logs = Vec::new();
        for pod in self.pods().await {
            let name = pod["metadata"]["name"].as_str().unwrap();
            logs.push(format!("{name}: {}", pod["status"]));
            for container in ["kms-socket-folder", "kms-plugin", "kube-apiserver"] {
                let log = self.runner.log(NAMESPACE, name, container);
                let start = log.len().saturating_sub(2_000);
                logs.push(format!(
                    "{container}: {}",
                    log.get(start..).unwrap_or_default()
                ));
            }
        }
        logs
    }

    fn plugin(&self) -> Value {
        let restricted = json!({"runAsUser": 65532, "runAsGroup": 65532, "runAsNonRoot": true});
        let socket = json!({"name": "kms-socket", "mountPath": "/run/kms"});
        let address = self.cluster.bao().address();
        json!({
            "serviceAccountName": "prod-kms-plugin",
            "automountServiceAccountToken": false,
            "additionalVolumes": [
                {"name": "kms-socket", "emptyDir": {"medium": "Memory"}},
                {"name": "encryption-config", "secret": {"secretName": CONFIG_SECRET, "defaultMode": 0o400}},
                {"name": "openbao-token", "projected": {"sources": [{"serviceAccountToken": {
                    "audience": "openbao", "expirationSeconds": 3600, "path": "openbao",
                }}]}},
            ],
            "additionalVolumeMounts": {"apiServer": [
                socket,
                {"name": "encryption-config", "mountPath": "/etc/kubernetes/encryption", "readOnly": true},
            ]},
            "additionalInitContainers": [
                {
                    "name": "kms-socket-folder", "image": "busybox:1.37",
                    "command": ["sh", "-c", "mkdir -m 0750 -p /run/kms/plugin"],
                    "securityContext": restricted, "volumeMounts": [socket],
                },
                {
                    "name": "kms-plugin", "image": "registry.example/kms-plugin:test", "restartPolicy": "Always",
                    "args": [
                        "--socket=/run/kms/plugin/kms.sock",
                        "--cluster=prod",
                        format!("--bao-address={address}"),
                        "--bao-insecure-http",
                        format!("--bao-namespace={ORGANIZATION}"),
                        format!("--bao-key={KEY}"),
                        "--bao-auth=kubernetes",
                        format!("--bao-auth-mount={AUTH_MOUNT}"),
                        "--bao-role=tcp-prod",
                        "--bao-jwt-file=/var/run/secrets/tokens/openbao",
                        "--http-address=0.0.0.0:8082",
                    ],
                    "securityContext": restricted,
                    "ports": [{"name": "kms-health", "containerPort": 8082}],
                    "startupProbe": {
                        "httpGet": {"port": "kms-health", "path": "/livez"}, "periodSeconds": 1, "failureThreshold": 60,
                    },
                    "volumeMounts": [
                        socket,
                        {"name": "openbao-token", "mountPath": "/var/run/secrets/tokens", "readOnly": true},
                    ],
                },
            ],
            "extraArgs": {"apiServer": [
                "--encryption-provider-config=/etc/kubernetes/encryption/config.yaml",
                "--encryption-provider-config-automatic-reload=true",
            ]},
        })
    }
}

/// A TenantControlPlane without encryption.
fn plain(replicas: u32) -> Value {
    json!({
        "apiVersion": "kamaji.clastix.io/v1alpha1", "kind": "TenantControlPlane",
        "metadata": {"name": NAME},
        "spec": {
            "controlPlane": {
                "deployment": {"replicas": replicas},
                "service": {"serviceType": "ClusterIP"},
            },
            "kubernetes": {"version": "v1.36.3", "kubelet": {}},
        },
    })
}

/// The KMS provider of the tenant.
pub fn kms() -> Value {
    json!({"kms": {
        "apiVersion": "v2", "name": "kube-dc-kms-plugin", "endpoint": SOCKET, "timeout": "3s",
    }})
}

/// No encryption.
pub fn identity() -> Value {
    json!({"identity": {}})
}

/// Writes a Secret of the tenant.
pub async fn write_secret(tenant: &Client, name: &str) {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"value": name},
    });
    tenant
        .create(Resource::SECRETS, "default", &secret)
        .await
        .unwrap();
}

/// The tests start some ten servers each, of several hundred MiB; so one at a time.
pub async fn alone() -> tokio::sync::MutexGuard<'static, ()> {
    static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    ONE.lock().await
}
