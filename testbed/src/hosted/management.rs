//! The cluster that hosts control planes: an API server with the custom resources, OpenBao, and a DataStore.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::datastore::{DATA_STORE, DataStore};
use super::webhook::Webhook;
use super::{crds, unexpected};
use crate::bao::Caller;
use crate::client::{ApiError, Client, Resource};
use crate::{ApiServer, Bao, Error, Etcd, bao};

/// The organization of the tests: the name of its namespace in OpenBao.
pub const ORGANIZATION: &str = "acme";
/// Where its Kubernetes logins are.
pub const AUTH_MOUNT: &str = "k8s-host";
/// Where Kamaji itself is, and the certificates of the DataStore.
const KAMAJI: &str = "kamaji-system";

/// A management cluster. Ends, and all that it stored with it, when dropped.
#[derive(Debug)]
pub struct ManagementCluster {
    _webhook: Webhook,
    server: ApiServer,
    _etcd: Etcd,
    bao: Bao,
    organization: Caller,
    data_store: DataStore,
}

impl ManagementCluster {
    /// Starts one, with an OpenBao in memory that speaks plain HTTP.
    ///
    /// # Errors
    /// When a server cannot be started or does not take what is set up in it.
    pub async fn start() -> Result<Self, Error> {
        Self::start_with(Bao::options()).await
    }

    /// Starts one with this OpenBao.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(bao: bao::Options) -> Result<Self, Error> {
        let etcd = Etcd::start().await?;
        let (server, bao, data_store) = tokio::try_join!(
            ApiServer::options().start(&etcd),
            bao.start(),
            DataStore::start(),
        )?;
        install(server.client()).await?;
        let organization = bao.root().create_namespace(ORGANIZATION).await?;
        organization.enable_auth("kubernetes", AUTH_MOUNT).await?;
        organization
            .configure_kubernetes(AUTH_MOUNT, &server)
            .await?;
        let webhook = Webhook::start(server.client()).await?;
        let cluster = Self {
            _webhook: webhook,
            server,
            _etcd: etcd,
            bao,
            organization,
            data_store,
        };
        cluster.register_data_store().await?;
        Ok(cluster)
    }

    /// API calls with all rights.
    #[must_use]
    pub fn client(&self) -> &Client {
        self.server.client()
    }

    /// Its API server.
    #[must_use]
    pub fn server(&self) -> &ApiServer {
        &self.server
    }

    /// Its API server, to kill it and start it again.
    pub fn server_mut(&mut self) -> &mut ApiServer {
        &mut self.server
    }

    /// A kubeconfig file with all rights.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        self.server.kubeconfig()
    }

    /// OpenBao.
    #[must_use]
    pub fn bao(&self) -> &Bao {
        &self.bao
    }

    /// OpenBao, to seal, pause or kill it.
    pub fn bao_mut(&mut self) -> &mut Bao {
        &mut self.bao
    }

    /// All rights in the [organization's](ORGANIZATION) namespace of OpenBao, where [`AUTH_MOUNT`] reviews tokens at this
    /// cluster's API server. No Transit engine is mounted.
    #[must_use]
    pub fn organization(&self) -> &Caller {
        &self.organization
    }

    /// The etcd of the tenants; its DataStore object is [`DATA_STORE`].
    #[must_use]
    pub fn data_store(&self) -> &DataStore {
        &self.data_store
    }

    /// The etcd of the tenants, to kill or pause it.
    pub fn data_store_mut(&mut self) -> &mut DataStore {
        &mut self.data_store
    }

    /// Makes a namespace with these labels, as that of a project.
    ///
    /// # Errors
    /// [`ApiError`], as the server refuses.
    pub async fn namespace(&self, name: &str, labels: &Value) -> Result<(), ApiError> {
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels},
        });
        self.client()
            .ensure(Resource::NAMESPACES, "", &namespace)
            .await
    }

    /// The DataStore object, with the Secrets that it names.
    async fn register_data_store(&self) -> Result<(), Error> {
        self.namespace(KAMAJI, &json!({}))
            .await
            .map_err(|error| unexpected(&error))?;
        let root = self.data_store.root();
        let read = |path: &Path| {
            std::fs::read(path)
                .map(|bytes| BASE64.encode(bytes))
                .map_err(Error::file("read", path))
        };
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "etcd-root-certificate", "namespace": KAMAJI},
            "data": {"ca.crt": read(&root.ca)?, "tls.crt": read(&root.cert)?, "tls.key": read(&root.key)?},
        });
        let reference = |key: &str| {
            json!({"secretReference": {
                "name": "etcd-root-certificate", "namespace": KAMAJI, "keyPath": key,
            }})
        };
        let endpoint = self.data_store.etcd().endpoint();
        let data_store = json!({
            "apiVersion": "kamaji.clastix.io/v1alpha1", "kind": "DataStore",
            "metadata": {"name": DATA_STORE},
            "spec": {
                "driver": "etcd",
                "endpoints": [endpoint.trim_start_matches("https://")],
                "tlsConfig": {
                    "certificateAuthority": {"certificate": reference("ca.crt")},
                    "clientCertificate": {
                        "certificate": reference("tls.crt"), "privateKey": reference("tls.key"),
                    },
                },
            },
        });
        for object in [secret, data_store] {
            let applied = self.client().apply(&object).await;
            applied.map_err(|error| unexpected(&error))?;
        }
        Ok(())
    }
}

/// Installs all definitions and waits until they are served.
async fn install(client: &Client) -> Result<(), Error> {
    const LIMIT: Duration = Duration::from_secs(60);
    let definitions = crds::all()?;
    for definition in &definitions {
        let applied = client.apply(definition).await;
        applied.map_err(|error| unexpected(&error))?;
    }
    for definition in &definitions {
        let spec = &definition["spec"];
        let group = spec["group"].as_str().unwrap_or_default();
        let version = spec["versions"].get(0).unwrap_or(&Value::Null);
        let version = version["name"].as_str().unwrap_or_default();
        let plural = spec["names"]["plural"].as_str().unwrap_or_default();
        let path = format!("/apis/{group}/{version}/{plural}?limit=1");
        let served = async {
            while !client
                .raw(&path)
                .await
                .is_ok_and(|answer| answer.status == 200)
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(LIMIT, served).await.is_err() {
            return Err(Error::Unexpected {
                name: "kube-apiserver",
                detail: format!("{path} is not served"),
            });
        }
    }
    Ok(())
}
