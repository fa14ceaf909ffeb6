//! Kamaji's objects, as far as a plugin beside the API servers needs them.
//!
//! Lists that users fill too are kept as they came ([`Value`]): every one of them is one value to the API server, so a controller that
//! changes an entry writes back all the others, and must lose nothing of them.

use std::collections::BTreeMap;

use kube::api::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;

use super::resource;

/// The label of the pods of a control plane; its value is the name of the TenantControlPlane.
pub const NAME_LABEL: &str = "kamaji.clastix.io/name";
/// Present while Kamaji leaves a TenantControlPlane alone.
pub const PAUSED: &str = "kamaji.clastix.io/paused";

/// The control plane of one tenant: `kamaji.clastix.io/v1alpha1`.
#[derive(Debug, Clone, Default, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct TenantControlPlane {
    /// Name, namespace, owners.
    pub metadata: ObjectMeta,
    /// What is wanted.
    #[serde(default)]
    pub spec: TenantControlPlaneSpec,
    /// What is.
    #[serde(default, deserialize_with = "super::null_is_default")]
    pub status: TenantControlPlaneStatus,
}

resource!(
    TenantControlPlane,
    NamespaceResourceScope,
    "TenantControlPlane",
    "tenantcontrolplanes",
    "kamaji.clastix.io",
    "v1alpha1"
);

/// What a control plane is to be.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct TenantControlPlaneSpec {
    /// Its servers.
    pub control_plane: ControlPlane,
    /// The name of the DataStore; Kamaji fills it in.
    pub data_store: Option<String>,
    /// Resources that lie in other DataStores.
    pub data_store_overrides: Vec<DataStoreOverride>,
    /// The version of Kubernetes.
    pub kubernetes: Kubernetes,
    /// The port and address of the API server.
    pub network_profile: NetworkProfile,
    /// What tenants may not write at present; rewriting rows needs updates.
    pub write_permissions: WritePermissions,
}

/// The servers of a control plane.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct ControlPlane {
    /// Their Deployment.
    pub deployment: Deployment,
}

/// The Deployment of a control plane.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Deployment {
    /// How many pods; 2 if nothing is said, 0 if the control plane sleeps.
    pub replicas: Option<i32>,
    /// The service account of the pods.
    pub service_account_name: Option<String>,
    /// Whether the pods get its token by themselves.
    pub automount_service_account_token: Option<bool>,
    /// Labels and annotations of the pods.
    pub pod_additional_metadata: AdditionalMetadata,
    /// Volumes of the pods.
    pub additional_volumes: Vec<Value>,
    /// Mounts of the servers.
    pub additional_volume_mounts: ApiServerPart<Value>,
    /// Init containers, native sidecars among them.
    pub additional_init_containers: Vec<Value>,
    /// Containers.
    pub additional_containers: Vec<Value>,
    /// Flags of the servers.
    pub extra_args: ApiServerPart<String>,
    /// Probes of the servers.
    pub probes: Option<Value>,
    /// Under which user the pods run.
    pub pod_security_context: Option<Value>,
}

/// What concerns kube-apiserver in an object that has a list for each server.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct ApiServerPart<T> {
    /// That of kube-apiserver.
    #[serde(default = "Vec::new")]
    pub api_server: Vec<T>,
}

impl<T> Default for ApiServerPart<T> {
    fn default() -> Self {
        Self {
            api_server: Vec::new(),
        }
    }
}

/// Labels and annotations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct AdditionalMetadata {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// A resource that lies in another DataStore than the others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct DataStoreOverride {
    /// Which, such as `/events`.
    pub resource: String,
    /// The name of the DataStore.
    pub data_store: String,
}

/// The version of Kubernetes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Kubernetes {
    /// Such as `v1.36.3`.
    pub version: String,
}

/// Where the API server is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct NetworkProfile {
    /// Its port; 6443 if nothing is said.
    pub port: Option<i32>,
}

/// What tenants may not write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct WritePermissions {
    /// New objects.
    pub block_creation: bool,
    /// Changes of objects.
    pub block_update: bool,
    /// Deletions.
    pub block_deletion: bool,
}

/// What a control plane is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct TenantControlPlaneStatus {
    /// The generation that the rest is about; Kamaji says it since 2026.
    pub observed_generation: Option<i64>,
    /// Host and port for its clients.
    pub control_plane_endpoint: Option<String>,
    /// Its Deployment and version.
    pub kubernetes_resources: KubernetesResources,
    /// Where its rows are.
    pub storage: StorageStatus,
    /// Where its kubeconfigs are.
    pub kubeconfig: KubeconfigsStatus,
}

/// The objects that Kamaji made of a control plane.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct KubernetesResources {
    /// The version that runs.
    pub version: VersionStatus,
    /// The Deployment.
    pub deployment: DeploymentStatus,
}

/// The version that runs, and how far it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct VersionStatus {
    /// Such as `v1.36.3`.
    pub version: Option<String>,
    /// Such as `Ready`, `Upgrading`, `Sleeping`; `Unknown` during rollouts, which is no fault.
    pub status: Option<String>,
}

/// The Deployment that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct DeploymentStatus {
    /// Its name.
    pub name: Option<String>,
    /// Its namespace.
    pub namespace: Option<String>,
    /// The label selector of its pods.
    pub selector: Option<String>,
    /// Pods that are not terminating.
    pub replicas: Option<i32>,
    /// Those of the newest template.
    pub updated_replicas: Option<i32>,
    /// Those that are ready.
    pub ready_replicas: Option<i32>,
}

/// Where the rows of a control plane are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct StorageStatus {
    /// Such as `etcd`.
    pub driver: Option<String>,
    /// The DataStore.
    pub data_store_name: Option<String>,
    /// Prefix and user in it.
    pub setup: StorageSetup,
    /// The Secret with the settings.
    pub config: SecretName,
    /// The Secret with the client certificate.
    pub certificate: SecretName,
}

/// Prefix and user of a control plane in its DataStore.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct StorageSetup {
    /// Keys begin with `/<schema>/`.
    pub schema: Option<String>,
    /// The user.
    pub user: Option<String>,
}

/// A Secret in the namespace of the object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct SecretName {
    /// Its name.
    pub secret_name: Option<String>,
}

/// The kubeconfigs of a control plane.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct KubeconfigsStatus {
    /// That of its administrator, with the keys `admin.conf`, `admin.svc`, `super-admin.conf` and `super-admin.svc`.
    pub admin: SecretName,
}

/// The control plane of one tenant in Cluster API: `controlplane.cluster.x-k8s.io/v1alpha2`. Where there is one, it overwrites what is
/// set on its TenantControlPlane.
#[derive(Debug, Clone, Default, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct KamajiControlPlane {
    /// Name, namespace, owners.
    pub metadata: ObjectMeta,
    /// What is wanted.
    #[serde(default)]
    pub spec: KamajiControlPlaneSpec,
}

resource!(
    KamajiControlPlane,
    NamespaceResourceScope,
    "KamajiControlPlane",
    "kamajicontrolplanes",
    "controlplane.cluster.x-k8s.io",
    "v1alpha2"
);

/// What a control plane in Cluster API is to be.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct KamajiControlPlaneSpec {
    /// kube-apiserver.
    pub api_server: KamajiApiServer,
    /// The Deployment.
    pub deployment: KamajiDeployment,
    /// How many pods; 2 if nothing is said.
    pub replicas: Option<i32>,
    /// The version of Kubernetes.
    pub version: String,
    /// The name of the DataStore.
    pub data_store_name: Option<String>,
}

/// kube-apiserver in Cluster API.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct KamajiApiServer {
    /// Its flags.
    pub extra_args: Vec<String>,
    /// Its mounts.
    pub extra_volume_mounts: Vec<Value>,
}

/// The Deployment in Cluster API.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct KamajiDeployment {
    /// The service account of the pods.
    pub service_account_name: Option<String>,
    /// Labels and annotations of the pods.
    pub pod_additional_metadata: AdditionalMetadata,
    /// Init containers, native sidecars among them.
    pub extra_init_containers: Vec<Value>,
    /// Containers.
    pub extra_containers: Vec<Value>,
    /// Volumes of the pods.
    pub extra_volumes: Vec<Value>,
}

/// An etcd that control planes share: `kamaji.clastix.io/v1alpha1`.
#[derive(Debug, Clone, Default, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct DataStore {
    /// Its name.
    pub metadata: ObjectMeta,
    /// Where it is.
    #[serde(default)]
    pub spec: DataStoreSpec,
    /// By whom it is used.
    #[serde(default, deserialize_with = "super::null_is_default")]
    pub status: DataStoreStatus,
}

resource!(
    DataStore,
    ClusterResourceScope,
    "DataStore",
    "datastores",
    "kamaji.clastix.io",
    "v1alpha1"
);

/// Where a DataStore is, and how it is spoken to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct DataStoreSpec {
    /// `etcd`, `MySQL`, `PostgreSQL` or `NATS`; rows can be read of etcd alone.
    pub driver: String,
    /// Hosts with their ports, without a scheme.
    pub endpoints: Vec<String>,
    /// Its certificates.
    pub tls_config: Option<TlsConfig>,
}

/// The certificates of a DataStore.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct TlsConfig {
    /// The authority of its servers.
    pub certificate_authority: KeyPair,
    /// The certificate of a client with all rights.
    pub client_certificate: Option<KeyPair>,
}

/// A certificate with its key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct KeyPair {
    /// The certificate.
    pub certificate: ContentRef,
    /// Its key.
    pub private_key: Option<ContentRef>,
}

/// Where a certificate or key is. One that stands in the object itself is not typed, so that it gets into no log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct ContentRef {
    /// In a Secret.
    pub secret_reference: Option<SecretKeyRef>,
}

/// One value of a Secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct SecretKeyRef {
    /// The Secret.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The key in its data.
    pub key_path: String,
}

/// By whom a DataStore is used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct DataStoreStatus {
    /// Control planes, as `<namespace>/<name>`.
    pub used_by: Vec<String>,
}
