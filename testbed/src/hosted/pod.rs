//! One pod, as a kubelet runs it: volumes, init containers in their order, native sidecars, containers, and a graceful end.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

use super::container::{Container, Surroundings};
use super::template::{self, items, text};
use super::volumes::Volumes;
use super::{PODS, Shared};
use crate::{Error, pki};

/// What the runner knows of a pod, and tells it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Wish {
    /// Run with these annotations.
    Run(Value),
    /// End.
    End,
}

/// A pod that runs.
pub(super) struct Pod {
    shared: Arc<Shared>,
    object: Value,
    address: Ipv4Addr,
    folder: TempDir,
    volumes: Volumes,
    inits: Vec<Container>,
    containers: Vec<Container>,
    http: reqwest::Client,
    reported: Value,
    synced: Option<(Instant, Value)>,
}

impl Pod {
    pub(super) fn new(shared: Arc<Shared>, object: Value, port: u16) -> Result<Self, Error> {
        let folder = tempfile::tempdir_in(shared.folder.path())
            .map_err(Error::file("create a folder in", shared.folder.path()))?;
        let address = super::addresses::free(port)?;
        let group = object.pointer("/spec/securityContext/fsGroup");
        let group = group.and_then(Value::as_u64);
        let group = group.and_then(|group| u32::try_from(group).ok());
        let http = http_client(SocketAddr::from((address, port)))?;
        let container = |is_init| move |spec| Container::new(spec, is_init);
        Ok(Self {
            volumes: Volumes::new(folder.path().join("volumes"), group),
            inits: items(&object["spec"]["initContainers"])
                .into_iter()
                .map(container(true))
                .collect(),
            containers: items(&object["spec"]["containers"])
                .into_iter()
                .map(container(false))
                .collect(),
            shared,
            object,
            address,
            folder,
            http,
            reported: Value::Null,
            synced: None,
        })
    }

    /// Runs it until it is to end, ends it, and takes its object away.
    pub(super) async fn run(mut self, mut wish: watch::Receiver<Wish>) {
        loop {
            let wished = wish.borrow_and_update().clone();
            match wished {
                Wish::End => break,
                Wish::Run(annotations) => self.step(&annotations).await,
            }
            self.report("Running").await;
            let tick = tokio::time::sleep(self.shared.pace.tick);
            tokio::select! {
                () = tick => {}
                changed = wish.changed() => if changed.is_err() { break },
            }
        }
        self.end().await;
    }

    async fn step(&mut self, annotations: &Value) {
        if !self.sync_volumes(annotations).await {
            return;
        }
        let around = Surroundings {
            pod: &self.object,
            address: self.address,
            folder: self.folder.path(),
            volumes: &self.volumes,
            images: &self.shared.images,
            pace: &self.shared.pace,
            log: Path::new("").to_path_buf(),
            http: &self.http,
        };
        let (namespace, pod) = (
            text(&self.object, "/metadata/namespace"),
            text(&self.object, "/metadata/name"),
        );
        let mut blocked = false;
        for container in &mut self.inits {
            if blocked {
                break;
            }
            let log = self.shared.log_path(namespace, pod, container.name());
            container
                .step(&Surroundings {
                    log,
                    ..around_of(&around)
                })
                .await;
            blocked = !container.lets_others_start();
        }
        if blocked {
            return;
        }
        for container in &mut self.containers {
            let log = self.shared.log_path(namespace, pod, container.name());
            container
                .step(&Surroundings {
                    log,
                    ..around_of(&around)
                })
                .await;
        }
    }

    /// As kubelet, now and then, and at once after a change of the pod itself. Says whether they are there.
    async fn sync_volumes(&mut self, annotations: &Value) -> bool {
        let due = self.synced.as_ref().is_none_or(|(at, before)| {
            before != annotations || at.elapsed() >= self.shared.pace.secrets
        });
        if !due {
            return true;
        }
        match self.volumes.sync(&self.shared.client, &self.object).await {
            Ok(()) => {
                self.synced = Some((Instant::now(), annotations.clone()));
                true
            }
            // What is mounted already stays as it is.
            Err(_) if self.synced.is_some() => true,
            Err(cause) => {
                for container in self.inits.iter_mut().chain(&mut self.containers) {
                    container.hold("ContainerCreating", &cause);
                }
                false
            }
        }
    }

    /// Containers first, then the sidecars in the opposite order of their start. Those that end serve on meanwhile.
    async fn end(mut self) {
        tokio::time::sleep(self.shared.pace.before_end).await;
        let grace = self.object["spec"]["terminationGracePeriodSeconds"].as_u64();
        let grace = Duration::from_secs(grace.unwrap_or(30));
        let start = Instant::now();
        for container in &mut self.containers {
            container.terminate();
        }
        for container in &mut self.containers {
            container.ended(grace.saturating_sub(start.elapsed())).await;
        }
        for container in self.inits.iter_mut().rev() {
            container.terminate();
            container.ended(Duration::from_secs(10)).await;
        }
        let (namespace, name) = (
            text(&self.object, "/metadata/namespace"),
            text(&self.object, "/metadata/name"),
        );
        // An error means that it is gone already, or that the API server is away: the runner sees it again then.
        let _ = self
            .shared
            .client
            .delete_within(PODS, namespace, name, Duration::ZERO)
            .await;
    }

    /// Writes the status, when it has changed.
    async fn report(&mut self, phase: &str) {
        let ready = self.containers.iter().all(Container::is_ready)
            && self.inits.iter().all(Container::is_ready);
        let initialized = self.inits.iter().all(Container::lets_others_start);
        let statuses = |containers: &[Container]| -> Vec<Value> {
            containers.iter().map(Container::status).collect()
        };
        let condition = |kind: &str, holds: bool| json!({"type": kind, "status": if holds { "True" } else { "False" }});
        let status = json!({
            "phase": if initialized { phase } else { "Pending" },
            "podIP": self.address.to_string(),
            "podIPs": [{"ip": self.address.to_string()}],
            "conditions": [
                condition("Initialized", initialized),
                condition("Ready", ready),
                condition("ContainersReady", ready),
                condition("PodScheduled", true),
            ],
            "initContainerStatuses": statuses(&self.inits),
            "containerStatuses": statuses(&self.containers),
        });
        if status == self.reported {
            return;
        }
        let (namespace, name) = (
            text(&self.object, "/metadata/namespace"),
            text(&self.object, "/metadata/name"),
        );
        let patch = json!({"status": status});
        let client = &self.shared.client;
        match client
            .merge_patch(PODS, namespace, name, Some("status"), &patch)
            .await
        {
            Ok(_) => self.reported = status,
            Err(error) => self.shared.note(&format!("status of pod {name}: {error}")),
        }
    }
}

fn around_of<'a>(around: &Surroundings<'a>) -> Surroundings<'a> {
    Surroundings {
        log: around.log.clone(),
        ..*around
    }
}

/// For probes: finds the API server of the pod by a name that is in its certificate.
fn http_client(address: SocketAddr) -> Result<reqwest::Client, Error> {
    let error = |source| Error::Http {
        name: "a pod",
        source,
    };
    let ca = pki::authority()?.ca_pem.as_bytes();
    let ca = reqwest::Certificate::from_pem(ca).map_err(error)?;
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([ca])
        .resolve("kubernetes", address)
        .pool_max_idle_per_host(0)
        .build()
        .map_err(error)
}

/// The port of the API server in a pod.
pub(super) fn port(object: &Value) -> u16 {
    let containers = items(&object["spec"]["containers"]);
    let server = containers
        .iter()
        .find(|container| container["name"] == template::API_SERVER);
    let port = server.and_then(|server| server.pointer("/readinessProbe/httpGet/port"));
    let port = port.and_then(Value::as_u64);
    port.and_then(|port| u16::try_from(port).ok())
        .unwrap_or(6443)
}
