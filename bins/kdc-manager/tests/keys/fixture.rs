//! An API server, an OpenBao, and a project in both.

use std::fs;
use std::future::Future;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kdc_envelope_bao::settings::ConnectionArgs;
use kdc_envelope_k8s::cluster::{Kubeconfig, KubeconfigSource, Overrides, connect_kubeconfig};
use kdc_envelope_k8s::controller::{Objects, Recorder};
use kdc_envelope_k8s::crd::{Definition, KDC_CLUSTERS, KMS_KEYS};
use kdc_envelope_k8s::keys::{KeyService, KeysControllers, KeysSettings};
use kdc_manager::openbao::OpenBao;
use kdc_testbed::bao::{Caller, Grant};
use kdc_testbed::{ApiServer, Bao, Etcd, Resource};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const CLAIM: &str = "security.kube-dc.com/rotation-claim";
const POLICY: &str = include_str!("../../../../deploy/openbao/manager-policy.hcl");
const KMS_KEY: Resource = Resource::new("security.kube-dc.com/v1alpha1", "kmskeys");
const CLUSTER: Resource = Resource::new("k8s.kube-dc.com/v1alpha1", "kdcclusters");
const EVENTS: Resource = Resource::new("events.k8s.io/v1", "events");
/// How long a state is waited for, on a machine that compiles beside.
const LIMIT: Duration = Duration::from_secs(90);
const INTERVAL: Duration = Duration::from_secs(1);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
});

pub(crate) fn run(test: impl Future<Output = ()>) {
    RUNTIME.block_on(test);
}

static CLOCK: AtomicI64 = AtomicI64::new(0);

/// Stops the clock of late managers at this second.
pub(crate) fn set_clock(seconds: i64) {
    CLOCK.store(seconds, Ordering::SeqCst);
}

fn late_clock() -> Timestamp {
    Timestamp::from_second(CLOCK.load(Ordering::SeqCst)).unwrap()
}

struct Plane {
    server: ApiServer,
    _etcd: Etcd,
    client: kube::Client,
}

impl Plane {
    async fn shared() -> &'static Self {
        static SHARED: OnceCell<Plane> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    async fn start() -> Self {
        let etcd = Etcd::start().await.unwrap();
        let server = ApiServer::options().start(&etcd).await.unwrap();
        for definition in [KMS_KEYS, KDC_CLUSTERS] {
            install(&server, definition).await;
        }
        let kubeconfig = Kubeconfig {
            source: KubeconfigSource::File(server.kubeconfig().to_owned()),
            context: None,
        };
        let client = connect_kubeconfig(&kubeconfig, Overrides::default())
            .await
            .unwrap();
        Self {
            server,
            _etcd: etcd,
            client,
        }
    }
}

async fn install(server: &ApiServer, definition: Definition) {
    let object: Value = serde_saphyr::from_str(definition.yaml).unwrap();
    server.client().apply(&object).await.unwrap();
    let resource = if definition == KMS_KEYS {
        KMS_KEY
    } else {
        CLUSTER
    };
    wait(definition.name, || async {
        server.client().list(resource, "").await.ok()
    })
    .await;
}

async fn wait<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < LIMIT, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The status of a condition.
pub(crate) fn condition(object: &Value, kind: &str) -> String {
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions
        .into_iter()
        .flatten()
        .find(|found| found["type"] == kind);
    found
        .and_then(|found| found["status"].as_str())
        .unwrap_or_default()
        .to_owned()
}

/// Controllers that run until dropped.
pub(crate) struct Manager(JoinHandle<()>);

impl Drop for Manager {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(crate) struct World {
    plane: &'static Plane,
    bao: BaoOf,
    organization: String,
    namespace: String,
    folder: TempDir,
    token: String,
}

enum BaoOf {
    All(&'static Bao),
    One(Box<Bao>),
}

impl BaoOf {
    fn get(&self) -> &Bao {
        match self {
            Self::All(bao) => bao,
            Self::One(bao) => bao,
        }
    }
}

impl World {
    pub(crate) async fn new(organization: &str, project: &str) -> Self {
        static SHARED: OnceCell<Bao> = OnceCell::const_new();
        let bao = SHARED
            .get_or_init(|| async { Bao::start().await.unwrap() })
            .await;
        Self::make(BaoOf::All(bao), organization, project).await
    }

    pub(crate) async fn on(bao: Bao, organization: &str, project: &str) -> Self {
        Self::make(BaoOf::One(Box::new(bao)), organization, project).await
    }

    /// With the Kubernetes auth method, which the platform brings.
    pub(crate) async fn with_auth(organization: &str, project: &str) -> Self {
        let world = Self::new(organization, project).await;
        let inside = world.root().create_namespace(organization).await.unwrap();
        inside.enable_auth("kubernetes", "k8s-host").await.unwrap();
        world
    }

    async fn make(bao: BaoOf, organization: &str, project: &str) -> Self {
        let root = bao.get().root();
        root.write_policy("kdc-manager", POLICY).await.unwrap();
        let grant = Grant::of(["kdc-manager"]).without_default_policy();
        let token = root.create_token(&grant).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        fs::write(&file, &token).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let world = Self {
            plane: Plane::shared().await,
            bao,
            organization: organization.to_owned(),
            namespace: format!("{organization}-{project}"),
            folder,
            token,
        };
        world.namespace(&world.namespace).await;
        world
    }

    pub(crate) fn root(&self) -> &Caller {
        self.bao.get().root()
    }

    pub(crate) async fn manager_token(&self) -> String {
        self.token.clone()
    }

    pub(crate) async fn seal(&self) {
        self.bao.get().seal().await.unwrap();
    }

    pub(crate) async fn unseal(&mut self) {
        match &mut self.bao {
            BaoOf::One(bao) => bao.unseal().await.unwrap(),
            BaoOf::All(_) => panic!("this OpenBao is that of all tests"),
        }
    }

    pub(crate) async fn capabilities(&self, token: &str, path: &str) -> Vec<String> {
        let body = json!({"token": token, "paths": [path]});
        let answer = self
            .root()
            .call("POST", "sys/capabilities", Some(body))
            .await
            .unwrap();
        serde_json::from_value(answer["data"][path].clone()).unwrap()
    }

    pub(crate) async fn service(&self) -> OpenBao {
        self.openbao()
    }

    fn openbao(&self) -> OpenBao {
        let mut given = ConnectionArgs::default();
        given.bao_address = Some(vec![self.bao.get().address().parse().unwrap()]);
        given.bao_insecure_http = Some(true);
        given.bao_auth = Some(kdc_envelope_bao::settings::AuthMethod::Token);
        given.bao_token_file = Some(self.folder.path().join("token"));
        OpenBao::connect(&given.resolve().unwrap()).unwrap()
    }

    pub(crate) fn manager(&self) -> Manager {
        self.manager_over(&[&self.namespace])
    }

    pub(crate) fn manager_over(&self, namespaces: &[&str]) -> Manager {
        self.start(Arc::new(self.openbao()), namespaces, Timestamp::now)
    }

    pub(crate) fn manager_with(&self, service: impl KeyService + 'static) -> Manager {
        self.start(Arc::new(service), &[&self.namespace], Timestamp::now)
    }

    pub(crate) fn late_manager(&self) -> Manager {
        self.start(Arc::new(self.openbao()), &[&self.namespace], late_clock)
    }

    fn start(
        &self,
        service: Arc<dyn KeyService>,
        namespaces: &[&str],
        clock: fn() -> Timestamp,
    ) -> Manager {
        let settings = KeysSettings {
            interval: INTERVAL,
            namespaces: Some(namespaces.iter().map(|&name| name.to_owned()).collect()),
            ..KeysSettings::default()
        };
        let objects = Objects::new(self.plane.client.clone(), "kdc-manager")
            .with_deadline(Duration::from_secs(60));
        let recorder = Recorder::new("security.kube-dc.com/kdc-manager", "test");
        let controllers = KeysControllers::new(&objects, service, recorder, settings, clock);
        Manager(tokio::spawn(controllers.run(CancellationToken::new())))
    }

    pub(crate) async fn namespace(&self, name: &str) {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let client = self.plane.server.client();
        client
            .ensure(Resource::NAMESPACES, "", &namespace)
            .await
            .unwrap();
    }

    pub(crate) async fn kms_key(&self, name: &str, spec: Value) {
        self.kms_key_in(&self.namespace, name, spec).await;
    }

    pub(crate) async fn kms_key_in(&self, namespace: &str, name: &str, spec: Value) {
        let key = json!({"apiVersion": "security.kube-dc.com/v1alpha1", "kind": "KMSKey",
            "metadata": {"name": name, "namespace": namespace}, "spec": spec});
        self.plane.server.client().apply(&key).await.unwrap();
    }

    pub(crate) async fn cluster(&self, namespace: &str, name: &str) {
        let cluster = json!({"apiVersion": "k8s.kube-dc.com/v1alpha1", "kind": "KdcCluster",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"version": "v1.35.0", "encryption": {"etcd": {"enabled": true}}}});
        self.plane.server.client().apply(&cluster).await.unwrap();
    }

    /// The KMSKey, once it is as it should be.
    pub(crate) async fn until(&self, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let client = self.plane.server.client();
        let mut last = Value::Null;
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            last = client.read(KMS_KEY, &self.namespace, name).await.unwrap();
            if is_so(&last) {
                return last;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("KMSKey {name} stays at {last:#}");
    }

    pub(crate) async fn until_access(&self, namespace: &str, name: &str, status: &str) {
        let client = self.plane.server.client();
        let is_so = || async {
            let cluster = client.read(CLUSTER, namespace, name).await.unwrap();
            (condition(&cluster, "OpenBaoAccess") == status).then_some(())
        };
        wait(&format!("OpenBaoAccess={status}"), is_so).await;
    }

    pub(crate) async fn until_event(&self, reason: &str, text: &str) {
        let client = self.plane.server.client();
        let is_there = || async {
            let events = client.list(EVENTS, &self.namespace).await.unwrap();
            let events = events["items"].as_array().cloned().unwrap_or_default();
            let is_it = |event: &Value| {
                event["reason"] == reason
                    && event["note"].as_str().unwrap_or_default().contains(text)
            };
            events.iter().any(is_it).then_some(())
        };
        wait(&format!("event {reason} with `{text}`"), is_there).await;
    }

    /// A call in the namespace of the organization, with all rights.
    pub(crate) async fn bao(&self, method: &str, path: &str, body: Value) -> Value {
        let body = (!body.is_null()).then_some(body);
        let inside = self.root().in_namespace(&self.organization);
        inside.call(method, path, body).await.unwrap()
    }

    /// The key in OpenBao.
    pub(crate) async fn stored(&self, name: &str) -> Value {
        let path = format!("transit/keys/{}-{name}", self.namespace);
        self.bao("GET", &path, Value::Null).await["data"].clone()
    }
}
