//! A control plane with one API server, which obeys its object as Kamaji and kubelet do: another API server when its flags change, its
//! configuration from the Secret, and a plugin on the socket that the object names. The key of the plugin is in this process.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kdc_envelope::KeyEncryptionKey;
use kdc_envelope::local::{Keyring, LocalKek};
use kdc_envelope_k8s::controller::ObjectKey;
use kdc_envelope_k8s::hosted::attachment::{CONFIG_FILE, SOCKET};
use kdc_envelope_k8s::hosted::pods::CONFIG_HASH;
use kdc_envelope_k8s::rotation::ConfigHash;
use kdc_envelope_kms::metrics::Metrics;
use kdc_envelope_kms::server::{Server, SocketAddress, SocketOptions};
use kdc_testbed::{ApiServer, Etcd, Resource};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::platform::Platform;

pub(crate) struct Tenant {
    etcd: Etcd,
    server: ApiServer,
    folder: TempDir,
    kek: Arc<LocalKek>,
    plugin: Option<JoinHandle<()>>,
    pods: u32,
}

/// The kubeconfig of an API server without files beside it, as in the Secrets of Kamaji.
fn kubeconfig(server: &ApiServer) -> String {
    let text = std::fs::read_to_string(server.kubeconfig()).unwrap();
    let mut kubeconfig: Value = serde_saphyr::from_str(&text).unwrap();
    let cluster = kubeconfig["clusters"][0]["cluster"]
        .as_object_mut()
        .unwrap();
    if let Some(file) = cluster.remove("certificate-authority") {
        let pem = std::fs::read(file.as_str().unwrap()).unwrap();
        let data = BASE64_STANDARD.encode(pem);
        cluster.insert("certificate-authority-data".to_owned(), data.into());
    }
    kubeconfig.to_string()
}

fn port(server: &ApiServer) -> u16 {
    let (_, port) = server.url().rsplit_once(':').unwrap();
    port.parse().unwrap()
}

impl Tenant {
    /// With Secrets from before, and without a plugin.
    pub(crate) async fn start(platform: &Platform) -> Self {
        let etcd = Etcd::start().await.unwrap();
        let options = ApiServer::options().name("prod-cp.shop.svc");
        let server = options.start(&etcd).await.unwrap();
        for name in ["before", "b", "c"] {
            let object = json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
                "stringData": {"value": "plain"},
            });
            server
                .client()
                .create(Resource::SECRETS, "default", &object)
                .await
                .unwrap();
        }
        let kek = LocalKek::new(Keyring::generate(1).unwrap()).unwrap();
        let mut tenant = Self {
            etcd,
            server,
            folder: tempfile::tempdir().unwrap(),
            kek: Arc::new(kek),
            plugin: None,
            pods: 0,
        };
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "prod-cp-admin-kubeconfig", "namespace": "shop"},
            "stringData": {"admin.svc": kubeconfig(&tenant.server)},
        });
        platform.apply(&secret).await;
        let object = json!({
            "apiVersion": "kamaji.clastix.io/v1alpha1", "kind": "TenantControlPlane",
            "metadata": {"name": "prod-cp", "namespace": "shop"},
            "spec": {
                "networkProfile": {"port": port(&tenant.server)},
                "controlPlane": {"deployment": {
                    "replicas": 1,
                    "serviceAccountName": "default",
                    "additionalVolumes": [{"name": "scratch", "emptyDir": {}}],
                    "extraArgs": {"apiServer": ["--event-ttl=2h"]},
                }},
            },
        });
        platform.apply(&object).await;
        let status = json!({"status": {"kubeconfig": {"admin": {"secretName": "prod-cp-admin-kubeconfig"}}}});
        let key = ObjectKey::new("shop", "prod-cp");
        let patched = platform
            .objects
            .patch_status::<kdc_envelope_k8s::crd::kamaji::TenantControlPlane>(&key, &status);
        patched.await.unwrap();
        tenant.add_pod(platform).await;
        tenant
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join(CONFIG_FILE)
    }

    fn pod(&self) -> ObjectKey {
        ObjectKey::new("shop", format!("prod-cp-{}", self.pods))
    }

    async fn add_pod(&mut self, platform: &Platform) {
        self.pods += 1;
        let key = self.pod();
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": key.name, "namespace": "shop", "labels": {"kamaji.clastix.io/name": "prod-cp"},
            },
            "spec": {"containers": [{"name": "kube-apiserver", "image": "kube-apiserver"}]},
        });
        platform.apply(&pod).await;
        let status = json!({"status": {
            "phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}],
        }});
        platform
            .objects
            .patch_status::<Pod>(&key, &status)
            .await
            .unwrap();
    }

    /// Whether the object of the control plane has a configuration for its API servers.
    pub(crate) async fn is_attached(&self, platform: &Platform) -> bool {
        let object = platform.control_plane().await;
        let flags = &object["spec"]["controlPlane"]["deployment"]["extraArgs"]["apiServer"];
        let flags = flags.as_array().into_iter().flatten();
        let mut flags = flags.filter_map(Value::as_str);
        flags.any(|flag| flag.starts_with("--encryption-provider-config="))
    }

    /// Does what Kamaji and kubelet would do now.
    pub(crate) async fn obey(&mut self, platform: &Platform) {
        let is_attached = self.is_attached(platform).await;
        if is_attached != self.plugin.is_some() {
            self.roll_out(platform, is_attached).await;
        } else if is_attached {
            self.bring_secret(platform).await;
        }
    }

    async fn configuration(platform: &Platform) -> Vec<u8> {
        let key = ObjectKey::new("shop", "prod-encryption-config");
        let secret: Secret = platform.objects.get(&key).await.unwrap().unwrap();
        secret.data.unwrap().get(CONFIG_FILE).unwrap().0.clone()
    }

    /// kubelet looks at once when the pod changes.
    async fn bring_secret(&self, platform: &Platform) {
        let pod: Pod = platform.objects.get(&self.pod()).await.unwrap().unwrap();
        let annotations = pod.metadata.annotations.unwrap_or_default();
        let bytes = Self::configuration(platform).await;
        let is_told = annotations.get(CONFIG_HASH) == Some(&ConfigHash::of(&bytes).to_string());
        if is_told && std::fs::read(self.file()).unwrap() != bytes {
            let next = self.folder.path().join("next");
            std::fs::write(&next, bytes).unwrap();
            std::fs::rename(&next, self.file()).unwrap();
        }
    }

    /// The old API server serves until the new one does.
    async fn roll_out(&mut self, platform: &Platform, is_attached: bool) {
        let mut options = ApiServer::options().name("prod-cp.shop.svc");
        if is_attached {
            std::fs::write(self.file(), Self::configuration(platform).await).unwrap();
            self.plugin = Some(self.serve().await);
            options = options.encryption_config(self.file()).automatic_reload();
        }
        let server = options.start(&self.etcd).await.unwrap();
        let old = self.pod();
        self.add_pod(platform).await;
        let port = json!({"spec": {"networkProfile": {"port": port(&server)}}});
        platform.patch_control_plane(&port).await;
        let pod: Pod = platform.objects.get(&old).await.unwrap().unwrap();
        platform.objects.delete::<Pod>(&pod.metadata).await.unwrap();
        self.server = server;
        if let (false, Some(plugin)) = (is_attached, self.plugin.take_if(|_| !is_attached)) {
            plugin.abort();
        }
    }

    /// The plugin, where the configuration has it.
    async fn serve(&self) -> JoinHandle<()> {
        let folder = PathBuf::from(SOCKET);
        std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
        let address: SocketAddress = format!("unix://{SOCKET}").parse().unwrap();
        let kek: Arc<dyn KeyEncryptionKey> = Arc::<LocalKek>::clone(&self.kek);
        let options = SocketOptions::new(address);
        let server = Server::of_one_key(kek, "prod", options, Metrics::new("test"));
        let bound = server.bind().await.unwrap();
        tokio::spawn(async move {
            bound.run(std::future::pending()).await.unwrap();
        })
    }

    /// The values of all Secrets in etcd.
    pub(crate) async fn rows(&self) -> Vec<Vec<u8>> {
        let rows = self.etcd.rows("/registry/secrets/").await.unwrap();
        rows.into_iter().map(|row| row.value).collect()
    }

    /// The value of a Secret, as users read it.
    pub(crate) async fn secret(&self, name: &str) -> String {
        let object = self
            .server
            .client()
            .read(Resource::SECRETS, "default", name)
            .await
            .unwrap();
        let value = object["data"]["value"].as_str().unwrap();
        String::from_utf8(BASE64_STANDARD.decode(value).unwrap()).unwrap()
    }
}
