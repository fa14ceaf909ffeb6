//! What Kamaji does for each TenantControlPlane: its Secrets, its place in the DataStore, its Deployment and pods, its status.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::datastore::Administrator;
use super::pod::{self, Pod, Wish};
use super::service::Service;
use super::template::{items, text};
use super::tenant::Tenant;
use super::{Images, ManagementCluster, PODS, Pace, TENANT_CONTROL_PLANES, rollout};
use crate::client::{ApiError, Client};
use crate::{Error, programs};

/// What all tasks of a runner share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) pace: Pace,
    pub(super) images: Images,
    pub(super) folder: TempDir,
    pub(super) administrator: Administrator,
    pub(super) etcd_endpoint: String,
    trouble: Mutex<Option<String>>,
    tenants: Mutex<HashMap<String, Arc<Tenant>>>,
}

impl Shared {
    pub(super) fn log_path(&self, namespace: &str, pod: &str, container: &str) -> PathBuf {
        let name = format!("{namespace}_{pod}_{container}.log");
        self.folder.path().join(name)
    }

    pub(super) fn note(&self, trouble: &str) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble.to_owned());
    }

    fn tenant(&self, key: &str) -> Option<Arc<Tenant>> {
        let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.get(key).cloned()
    }
}

/// Runs the control planes of a management cluster. They end when it is dropped; their rows and objects stay.
#[derive(Debug)]
pub struct TenantRunner {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl TenantRunner {
    /// Starts it at this pace. `kms-plugin` is built first, if need be.
    ///
    /// # Errors
    /// [`Error::Root`] for a user that may not mount, and when a program cannot be built.
    pub async fn start(cluster: &ManagementCluster, pace: Pace) -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::Root);
        }
        let folder = tempfile::tempdir()
            .map_err(Error::file("create a folder in", &std::env::temp_dir()))?;
        let shared = Arc::new(Shared {
            client: cluster.client().clone(),
            pace,
            images: Images::prepare().await?,
            folder,
            administrator: cluster.data_store().administrator().clone(),
            etcd_endpoint: cluster.data_store().etcd().endpoint().to_owned(),
            trouble: Mutex::default(),
            tenants: Mutex::default(),
        });
        Ok(Self {
            task: tokio::spawn(run(Arc::clone(&shared))),
            shared,
        })
    }

    /// What a container has printed, also after its pod has gone; empty before it was started.
    #[must_use]
    pub fn log(&self, namespace: &str, pod: &str, container: &str) -> String {
        let bytes = std::fs::read(self.shared.log_path(namespace, pod, container));
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    }

    /// Where the Service of a control plane listens: new connections go to its ready pods in turn. `None` until it is set up.
    #[must_use]
    pub fn service(&self, namespace: &str, name: &str) -> Option<SocketAddr> {
        let tenant = self.shared.tenant(&format!("{namespace}/{name}"))?;
        Some(tenant.service.address())
    }

    /// A client of a control plane as `system:masters`, with a new connection for each call: through the Service, or with `pod`
    /// to one of its pods, by the address in its status.
    ///
    /// # Errors
    /// [`Error::Unexpected`] until it is set up.
    pub fn tenant_client(
        &self,
        namespace: &str,
        name: &str,
        pod: Option<Ipv4Addr>,
    ) -> Result<Client, Error> {
        let tenant = self.shared.tenant(&format!("{namespace}/{name}"));
        let tenant = tenant.ok_or_else(|| Error::Unexpected {
            name: "the runner of tenants",
            detail: format!("{namespace}/{name} is not set up; {:?}", self.trouble()),
        })?;
        tenant.client(pod)
    }

    /// The last fault of the runner itself, for messages of tests.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.shared.trouble.lock();
        trouble.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for TenantRunner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A pod that has a task, by its UID.
type Tasks = HashMap<String, watch::Sender<Wish>>;

async fn run(shared: Arc<Shared>) {
    let mut pods = JoinSet::new();
    let mut tasks = Tasks::new();
    loop {
        if let Err(error) = pass(&shared, &mut pods, &mut tasks).await {
            shared.note(&format!("{error:?}"));
        }
        while pods.try_join_next().is_some() {}
        tokio::time::sleep(shared.pace.tick).await;
    }
}

/// Looks at all objects once, and does what they want.
async fn pass(
    shared: &Arc<Shared>,
    pods: &mut JoinSet<()>,
    tasks: &mut Tasks,
) -> Result<(), Error> {
    let failed = |error: ApiError| super::unexpected(&error);
    let planes = shared.client.list(TENANT_CONTROL_PLANES, "").await;
    let planes = items(&planes.map_err(failed)?["items"]);
    let all = shared.client.list(PODS, "").await;
    let all: Vec<Value> = items(&all.map_err(failed)?["items"])
        .into_iter()
        .filter(|pod| pod["metadata"]["labels"]["kamaji.clastix.io/name"].is_string())
        .collect();
    follow_pods(shared, &all, pods, tasks);
    for plane in &planes {
        let name = text(plane, "/metadata/name");
        if let Err(error) = serve(shared, plane, &all).await {
            shared.note(&format!("{name}: {error:?}"));
        }
    }
    for pod in &all {
        let owned = planes.iter().any(|plane| owns(plane, pod));
        if !owned && pod["metadata"]["deletionTimestamp"].is_null() {
            rollout::end(&shared.client, pod).await.map_err(failed)?;
        }
    }
    Ok(())
}

fn owns(plane: &Value, pod: &Value) -> bool {
    plane["metadata"]["namespace"] == pod["metadata"]["namespace"]
        && plane["metadata"]["name"] == pod["metadata"]["labels"]["kamaji.clastix.io/name"]
}

/// Gives each pod a task, and each task the latest wish.
fn follow_pods(shared: &Arc<Shared>, all: &[Value], pods: &mut JoinSet<()>, tasks: &mut Tasks) {
    tasks.retain(|uid, wish| {
        let there = all.iter().any(|pod| text(pod, "/metadata/uid") == uid);
        if !there {
            // Taken away by force, or ended.
            let _ = wish.send(Wish::End);
        }
        there && !wish.is_closed()
    });
    for object in all {
        let uid = text(object, "/metadata/uid");
        let wish = if object["metadata"]["deletionTimestamp"].is_null() {
            Wish::Run(object["metadata"]["annotations"].clone())
        } else {
            Wish::End
        };
        if let Some(task) = tasks.get(uid) {
            task.send_if_modified(|before| {
                let changed = *before != wish;
                *before = wish;
                changed
            });
            continue;
        }
        match Pod::new(Arc::clone(shared), object.clone(), pod::port(object)) {
            Ok(pod) => {
                let (sender, receiver) = watch::channel(wish);
                pods.spawn(pod.run(receiver));
                tasks.insert(uid.to_owned(), sender);
            }
            Err(error) => shared.note(&format!("pod: {error:?}")),
        }
    }
}

/// One control plane.
async fn serve(shared: &Arc<Shared>, plane: &Value, all: &[Value]) -> Result<(), Error> {
    let key = format!(
        "{}/{}",
        text(plane, "/metadata/namespace"),
        text(plane, "/metadata/name")
    );
    let tenant = match shared.tenant(&key) {
        Some(tenant) if tenant.uid == text(plane, "/metadata/uid") => tenant,
        _ => {
            let tenant = Arc::new(Tenant::set_up(shared, plane).await?);
            let mut tenants = shared
                .tenants
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            tenants.insert(key, Arc::clone(&tenant));
            tenant
        }
    };
    let pods: Vec<&Value> = all.iter().filter(|pod| owns(plane, pod)).collect();
    send_to_ready(&tenant.service, &pods);
    if plane["metadata"]["annotations"]["kamaji.clastix.io/paused"].is_null() {
        rollout::step(&shared.client, plane, &tenant, &pods).await?;
    }
    if pods.iter().any(|pod| rollout::is_ready(pod)) {
        tenant.bind_administrators().await?;
    }
    Ok(())
}

fn send_to_ready(service: &Service, pods: &[&Value]) {
    let ready = pods
        .iter()
        .filter(|pod| rollout::is_ready(pod) && pod["metadata"]["deletionTimestamp"].is_null())
        .filter_map(|pod| text(pod, "/status/podIP").parse().ok());
    service.set(ready.collect());
}

impl Images {
    /// Those of the products, and a shell for images of tools.
    async fn prepare() -> Result<Self, Error> {
        use crate::servers::{KubeMinor, Server, prepare_in_background};
        let server = prepare_in_background(Server::KubeApiserver(KubeMinor::usual()?)).await?;
        let built = tokio::task::spawn_blocking(programs::build).await;
        let built = built.map_err(|error| Error::Build {
            what: "kms-plugin".to_owned(),
            tail: error.to_string(),
        })?;
        let built = built.map_err(|error| Error::Build {
            what: "kms-plugin".to_owned(),
            tail: format!("{error:?}"),
        })?;
        Ok(Self::new(server, built.kms_plugin.clone()))
    }
}

impl Pace {
    /// For tests: probes twice a second, a Secret after 2 s at most (at once after a pod was annotated), an ending pod that is left
    /// alone for a second. Start-up probes have four times their time, as the machine may be busy.
    #[must_use]
    pub const fn fast() -> Self {
        Self {
            tick: Duration::from_millis(250),
            probe_period: Some(Duration::from_millis(500)),
            secrets: Duration::from_secs(2),
            before_end: Duration::from_secs(1),
            back_off: Duration::from_secs(1),
            startup_factor: 4,
        }
    }

    /// Probes as they say, Secrets after 75 s, a back-off of 10 s, as with Kamaji and a kubelet of default settings.
    #[must_use]
    pub const fn upstream() -> Self {
        Self {
            tick: Duration::from_millis(500),
            probe_period: None,
            secrets: Duration::from_secs(75),
            before_end: Duration::from_secs(1),
            back_off: Duration::from_secs(10),
            startup_factor: 1,
        }
    }

    /// With another delay of Secrets and ConfigMaps.
    #[must_use]
    pub const fn secrets_after(mut self, delay: Duration) -> Self {
        self.secrets = delay;
        self
    }

    /// With another time between the deletion of a pod and the signal to its containers.
    #[must_use]
    pub const fn end_after(mut self, delay: Duration) -> Self {
        self.before_end = delay;
        self
    }
}
