//! Serves key encryption keys to kube-apiserver, each on a Unix socket of its own, and to probes over HTTP.
//!
//! [`Server::bind`] takes the addresses, all or none; [`BoundServer::run`] serves until it is told to stop and then lets
//! calls in flight end. In between the caller may announce that it listens.

mod accept;
mod address;
mod bind;
mod endpoint;
mod folder;
mod grpc;
mod serve;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kdc_envelope::KeyEncryptionKey;
use rustix::process::{Resource, Rlimit};
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

pub use crate::observe::CALL_DEADLINE;
pub use address::{InvalidAddress, MAX_ADDRESS_LEN, SocketAddress};
pub use bind::{BindError, InvalidSocketMode, SocketMode, SocketOptions, check_place};
pub use endpoint::{KeyEndpoint, Notice, check_distinct};

use crate::health::{Health, Readiness};
use crate::http;
use crate::metrics::Metrics;
use crate::service::KmsService;
use accept::allowed_uids;
use bind::{BoundSocket, bind_when_unlocked};
use serve::Serving;

/// The largest request that is decoded, in bytes; the largest legal one has about 36 KiB, mostly annotations.
pub const MAX_MESSAGE_LEN: usize = 64 * 1_024;

/// How long calls in flight may take to end after a stop; longer than any call lives.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// The name of a key that needs none because it is the only one.
pub const ONLY_KEY: &str = "default";

/// Lets the program open as many files as the system allows it, which is often far more than it does at first. Connections are
/// bounded by it.
///
/// # Errors
/// The system refused.
pub fn use_all_descriptors() -> io::Result<()> {
    let Rlimit { maximum, .. } = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    Ok(rustix::process::setrlimit(Resource::Nofile, raised)?)
}

/// What is to be served, and where.
#[derive(Debug)]
pub struct Server {
    endpoints: Vec<KeyEndpoint>,
    metrics: Metrics,
    http_address: Option<SocketAddr>,
}

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// There is nothing to serve.
    #[error("no key to serve; add at least one")]
    NoKeys,
    /// Two endpoints have this name.
    #[error("two keys are called `{0}`; give each a name of its own")]
    NameTwice(String),
    /// Two endpoints have one socket.
    #[error(
        "keys `{}` and `{}` are both to be served on socket `{address}`; give each a socket of its own",
        .keys[0], .keys[1]
    )]
    SocketTwice {
        /// The socket, as the second of them gives it.
        address: SocketAddress,
        /// The names of the two.
        keys: [String; 2],
    },
    /// A socket cannot be had.
    #[error(transparent)]
    Socket(#[from] BindError),
    /// The HTTP address cannot be had.
    #[error("cannot listen on HTTP address {address}")]
    Http {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A task that serves ended by itself, by a panic; the log has the place.
    #[error("a part of the server ended unexpectedly")]
    Ended(#[source] Option<JoinError>),
}

impl Server {
    /// Serves no key yet, and counts in `metrics`.
    #[must_use]
    pub const fn new(metrics: Metrics) -> Self {
        Self {
            endpoints: Vec::new(),
            metrics,
            http_address: None,
        }
    }

    /// Serves one [local](KeyEndpoint::local) key under the name [`ONLY_KEY`].
    #[must_use]
    pub fn of_one_key(
        kek: Arc<dyn KeyEncryptionKey>,
        cluster: &str,
        socket: SocketOptions,
        metrics: Metrics,
    ) -> Self {
        Self::new(metrics).with_key(KeyEndpoint::local(ONLY_KEY, kek, cluster, socket))
    }

    /// Serves this key too.
    #[must_use]
    pub fn with_key(mut self, endpoint: KeyEndpoint) -> Self {
        self.endpoints.push(endpoint);
        self
    }

    /// Serves `/livez`, `/readyz` and `/metrics` on `address` too, for all keys.
    #[must_use]
    pub const fn with_http_address(mut self, address: SocketAddr) -> Self {
        self.http_address = Some(address);
        self
    }

    /// Takes the addresses. From here on clients can connect; their calls wait for [`BoundServer::run`].
    ///
    /// # Errors
    /// [`ServeError`] if two keys get into each other's way, or an address cannot be had; then nothing is left behind.
    pub async fn bind(self) -> Result<BoundServer, ServeError> {
        let addresses = self.endpoints.iter();
        check_distinct(addresses.map(|key| (key.name.as_str(), &key.socket.address)))?;
        let http = match self.http_address {
            Some(address) => {
                let listener = TcpListener::bind(address).await;
                Some(listener.map_err(|source| ServeError::Http { address, source })?)
            }
            None => None,
        };
        let mut bound = Vec::with_capacity(self.endpoints.len());
        for mut endpoint in self.endpoints {
            endpoint.socket.allowed_uids = allowed_uids(&endpoint.socket);
            // If it fails, those that were bound before remove their files when they are dropped.
            let socket = bind_when_unlocked(&endpoint.socket).await?;
            bound.push((endpoint, socket));
        }
        Ok(BoundServer {
            bound,
            metrics: self.metrics,
            http,
        })
    }
}

/// A server whose addresses are taken. Dropped, it gives them back.
#[derive(Debug)]
pub struct BoundServer {
    bound: Vec<(KeyEndpoint, BoundSocket)>,
    metrics: Metrics,
    http: Option<TcpListener>,
}

impl BoundServer {
    /// The HTTP address, with the port that the system chose if 0 was asked for.
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref()?.local_addr().ok()
    }

    /// Serves until `shutdown` is ready; then reports not ready, removes the sockets, and lets calls in flight
    /// end, for at most [`DRAIN_LIMIT`]. If it is dropped before that, the sockets are removed and no more calls accepted.
    ///
    /// # Errors
    /// [`ServeError::Ended`] if the server of a key, or that of probes, ends before `shutdown`; the others are stopped as above.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let stop = CancellationToken::new();
        let mut serving = JoinSet::new();
        let mut healths = Vec::with_capacity(self.bound.len());
        let connections = grpc::connections(self.bound.len(), &self.metrics);
        for (endpoint, socket) in self.bound {
            let key = prepare(endpoint, socket, &self.metrics);
            healths.push(key.health.clone());
            serving.spawn(key.run(connections.clone(), stop.clone()));
        }
        let readiness = Readiness::new(healths, stop.clone());
        // Serves probes until this function ends, also while calls in flight do.
        let mut http = JoinSet::new();
        if let Some(listener) = self.http {
            let evicted = self.metrics.evicted_connections("http");
            let pages = KeyPages {
                readiness,
                metrics: self.metrics,
            };
            http.spawn(http::serve(listener, pages, evicted));
        }
        let outcome = tokio::select! {
            ended = serving.join_next() => Err(unexpected(ended)),
            Some(ended) = http.join_next() => Err(unexpected(Some(ended))),
            () = shutdown => Ok(()),
        };
        tracing::info!("draining");
        stop.cancel();
        let drained = async { while serving.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_LIMIT, drained).await.is_err() {
            tracing::warn!(limit = ?DRAIN_LIMIT, "calls or connections still open; stopping anyway");
        }
        outcome
    }
}

/// What a plugin tells probes and scrapers.
#[derive(Debug, Clone)]
struct KeyPages {
    readiness: Readiness,
    metrics: Metrics,
}

impl http::Pages for KeyPages {
    async fn readiness(&self) -> Result<String, String> {
        self.readiness.check().await
    }

    fn metrics(&self) -> String {
        self.metrics.render()
    }
}

/// Makes a key visible in the metrics, and ready to be served.
fn prepare(endpoint: KeyEndpoint, socket: BoundSocket, metrics: &Metrics) -> Serving {
    let (kek, cache) = (Arc::clone(&endpoint.kek), endpoint.cache.clone());
    metrics.watch(&endpoint.name, Arc::clone(&kek), cache);
    let metrics = metrics.key(&endpoint.name);
    let service = KmsService::new(kek, &endpoint.cluster).with_metrics(metrics.clone());
    let health = Health::new(&endpoint, service.clone());
    Serving {
        endpoint,
        socket,
        service,
        metrics,
        health,
    }
}

fn unexpected(ended: Option<Result<(), JoinError>>) -> ServeError {
    ServeError::Ended(ended.and_then(Result::err))
}
