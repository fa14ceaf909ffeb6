//! A manager from its start to its end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use kdc_envelope::local::private_process::keep_private;
use kdc_envelope_k8s::cluster::{
    ClusterError, Kubeconfig, KubeconfigSource, Overrides, connect_kubeconfig, ping,
};
use kdc_envelope_k8s::controller::{Elector, Health, Objects, Recorder};
use kdc_envelope_kms::http::{self, Pages};
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::Identity;

use super::ManagerSettings;
use crate::logging;
use crate::notify::{self, notify};
use crate::signals::Signals;

/// Which manager it is.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// Its name: the field manager of what it writes.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What its events say that they come from, such as `k8s.kube-dc.com/k8-manager`.
    pub reporter: &'static str,
    /// What the names of its own metrics begin with, such as `kdc_k8_manager`.
    pub metrics: &'static str,
}

/// What controllers are built of.
#[derive(Debug)]
pub struct Setup {
    /// Calls to the management cluster; writes only while this process leads.
    pub objects: Objects,
    /// Events.
    pub recorder: Recorder,
    /// Metrics.
    pub registry: Registry,
    /// Cancelled when the program is told to stop.
    pub stop: CancellationToken,
    /// The namespaces to watch; `None` for all.
    pub watch_namespaces: Option<Vec<String>>,
}

/// The controllers of a manager.
pub struct Work {
    /// Whether they can do their work.
    pub health: Vec<Health>,
    /// They run until [`Setup::stop`] is cancelled, and somewhat longer.
    pub run: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Work")
    }
}

/// Why a manager ends.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// There is no client for the management cluster, or it refuses.
    #[error("the management cluster cannot be used")]
    Cluster(#[source] ClusterError),
    /// The HTTP address cannot be taken.
    #[error("cannot listen on {address}")]
    Http {
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system refuses what every program needs.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl ManagerError {
    fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { action, source }
    }
}

/// Runs the controllers that `build` makes until a signal stops them.
///
/// # Errors
/// [`ManagerError`]
pub fn run(
    program: &Program,
    settings: &ManagerSettings,
    build: impl FnOnce(&mut Setup) -> Work,
) -> Result<(), ManagerError> {
    let spans = None::<Identity>;
    logging::start(settings.log_format, settings.log_level.clone(), spans);
    if let Err(error) = keep_private() {
        tracing::warn!(%error, "cannot keep the memory of this process from core dumps and other processes");
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ManagerError::system("start the runtime"))?
        .block_on(serve(program, settings, build))
}

async fn serve(
    program: &Program,
    settings: &ManagerSettings,
    build: impl FnOnce(&mut Setup) -> Work,
) -> Result<(), ManagerError> {
    // First, so that a stop is never missed.
    let mut signals = Signals::catch().map_err(ManagerError::system("catch signals"))?;
    let listener = match settings.http_address {
        Some(address) => {
            let listener = TcpListener::bind(address).await;
            Some(listener.map_err(|source| ManagerError::Http { address, source })?)
        }
        None => None,
    };
    let kubeconfig = Kubeconfig {
        source: match &settings.kubeconfig {
            Some(file) => KubeconfigSource::File(file.clone()),
            None => KubeconfigSource::InCluster,
        },
        context: settings.context.clone(),
    };
    let client = connect_kubeconfig(&kubeconfig, Overrides::default()).await;
    let client = client.map_err(ManagerError::Cluster)?;
    if let Err(error) = ping(&client).await {
        // It may come: a manager outlives its API server.
        tracing::warn!("{error}");
    }
    let (elector, leadership) = Elector::new(client.clone(), settings.leader.clone());
    let mut registry = Registry::default();
    registry.sub_registry_with_prefix(program.metrics).register(
        "build",
        "The program that runs",
        Info::new([("version", program.version)]),
    );
    let evicted = Counter::default();
    registry.sub_registry_with_prefix(program.metrics).register(
        "evicted_connections",
        "HTTP connections closed because there were too many",
        evicted.clone(),
    );
    let stop = CancellationToken::new();
    let mut setup = Setup {
        objects: Objects::new(client, program.name).with_leadership(leadership),
        recorder: Recorder::new(program.reporter, &*settings.leader.identity),
        registry,
        stop: stop.clone(),
        watch_namespaces: settings.watch_namespaces.clone(),
    };
    let work = build(&mut setup);
    let pages = ManagerPages {
        health: work.health.into(),
        registry: Arc::new(setup.registry),
        stop: stop.clone(),
    };
    // Serves probes until this function ends, also while runs end.
    let mut serving = JoinSet::new();
    let http = listener
        .as_ref()
        .and_then(|listener| listener.local_addr().ok());
    if let Some(listener) = listener {
        serving.spawn(http::serve(listener, pages, evicted));
    }
    tracing::info!(
        version = program.version,
        identity = %settings.leader.identity,
        http = http.map(tracing::field::display),
        "{} started",
        program.name
    );
    notify(notify::READY);
    let stopping = async {
        let signal = signals.stop().await;
        tracing::info!(signal, "stopping");
        notify(notify::STOPPING);
        stop.cancel();
    };
    let work = elector.run_while(work.run);
    tokio::pin!(work);
    tokio::select! {
        () = &mut work => {
            let source = io::Error::other("a controller ended by itself, a fault of the program; start it again");
            return Err(ManagerError::System { action: "go on", source });
        }
        () = stopping => work.await,
    }
    tracing::info!("stopped");
    Ok(())
}

/// What a manager tells probes and scrapers.
#[derive(Debug, Clone)]
struct ManagerPages {
    health: Arc<[Health]>,
    registry: Arc<Registry>,
    stop: CancellationToken,
}

impl Pages for ManagerPages {
    async fn readiness(&self) -> Result<String, String> {
        if self.stop.is_cancelled() {
            return Err("not ready: shutting down\n".to_owned());
        }
        let missing = self
            .health
            .iter()
            .filter_map(|health| health.readiness().err());
        let missing: String = missing.collect();
        match missing.is_empty() {
            true => Ok("ok\n".to_owned()),
            false => Err(missing),
        }
    }

    fn metrics(&self) -> String {
        let mut out = String::new();
        // A `String` takes every write.
        let _ = text::encode(&mut out, &self.registry);
        out
    }
}
