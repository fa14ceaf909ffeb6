//! One API server with the custom resources, for all tests.

use std::future::Future;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use kdc_envelope_k8s::cluster::{Kubeconfig, KubeconfigSource, Overrides, connect_kubeconfig};
use kdc_envelope_k8s::controller::{ObjectKey, Objects};
use kdc_envelope_k8s::crd::{Definition, KDC_CLUSTERS, KMS_KEYS, KdcCluster, KmsKey};
use kdc_testbed::{ApiServer, Etcd, Resource};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::OnceCell;

/// One runtime for all tests: connections of a shared client must outlive the test that opened them.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
});

/// Runs a test on the runtime that all tests share.
pub(crate) fn run(test: impl Future<Output = ()>) {
    RUNTIME.block_on(test);
}

/// An API server and its etcd.
pub(crate) struct Plane {
    pub(crate) server: ApiServer,
    pub(crate) etcd: Etcd,
}

impl Plane {
    /// That of all tests that do it no harm.
    pub(crate) async fn shared() -> &'static Self {
        static SHARED: OnceCell<Plane> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// One of its own.
    pub(crate) async fn start() -> Self {
        let etcd = Etcd::start().await.unwrap();
        let server = ApiServer::options().start(&etcd).await.unwrap();
        for definition in [KMS_KEYS, KDC_CLUSTERS] {
            install(&server, definition).await;
        }
        Self { server, etcd }
    }

    /// A client with all rights.
    pub(crate) async fn client(&self) -> kube::Client {
        client(self.server.kubeconfig()).await
    }

    /// Calls that need no Lease.
    pub(crate) async fn objects(&self) -> Objects {
        Objects::new(self.client().await, "test").with_deadline(Duration::from_secs(60))
    }

    /// Makes a namespace.
    pub(crate) async fn namespace(&self, name: &str) {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let made = self
            .server
            .client()
            .ensure(Resource::NAMESPACES, "", &namespace);
        made.await.unwrap();
    }
}

/// A client as programs have it.
pub(crate) async fn client(kubeconfig: &Path) -> kube::Client {
    let kubeconfig = Kubeconfig {
        source: KubeconfigSource::File(kubeconfig.to_owned()),
        context: None,
    };
    connect_kubeconfig(&kubeconfig, Overrides::default())
        .await
        .unwrap()
}

/// A definition as JSON.
pub(crate) fn json_of(definition: Definition) -> Value {
    serde_saphyr::from_str(definition.yaml).unwrap()
}

async fn install(server: &ApiServer, definition: Definition) {
    let client = server.client();
    client.apply(&json_of(definition)).await.unwrap();
    eventually("the kind is served", async || {
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let path = format!("{definitions}/{}", definition.name);
        let crd = client.raw(&path);
        let crd: Value = serde_json::from_str(&crd.await.unwrap().body).unwrap();
        let mut conditions = crd["status"]["conditions"].as_array().into_iter().flatten();
        conditions.any(|one| one["type"] == "Established" && one["status"] == "True")
    })
    .await;
}

/// Waits until `holds`, for a minute and a half at most.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..1_800 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {what}");
}

/// Makes a KMSKey of this spec.
pub(crate) async fn make_key(
    objects: &Objects,
    namespace: &str,
    name: &str,
    spec: Value,
) -> KmsKey {
    let fields = json!({"spec": spec});
    let key = ObjectKey::new(namespace, name);
    objects.apply(&key, &fields, true).await.unwrap()
}

/// Makes a KdcCluster of this spec.
pub(crate) async fn make_cluster(
    objects: &Objects,
    namespace: &str,
    name: &str,
    spec: Value,
) -> KdcCluster {
    let fields = json!({"spec": spec});
    let key = ObjectKey::new(namespace, name);
    objects.apply(&key, &fields, true).await.unwrap()
}

/// The object as the API server has it, with every field.
pub(crate) async fn raw(plane: &Plane, path: &str) -> Value {
    let answer = plane.server.client().raw(path).await.unwrap();
    serde_json::from_str(&answer.body).unwrap()
}
