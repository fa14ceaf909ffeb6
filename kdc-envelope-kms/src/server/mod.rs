//! Serves a key encryption key to kube-apiserver on a Unix socket, and to probes over HTTP.
//!
//! [`Server::bind`] takes the addresses, [`BoundServer::run`] serves until it is told to stop and then lets calls
//! in flight end. In between the caller may announce that it listens.

mod accept;
mod address;
mod bind;

use std::convert::Infallible;
use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use kdc_envelope::KeyEncryptionKey;
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

pub use crate::observe::CALL_DEADLINE;
pub use address::{InvalidAddress, MAX_ADDRESS_LEN, SocketAddress};
pub use bind::{BindError, InvalidSocketMode, SocketMode, SocketOptions, check_place};

use crate::health::Health;
use crate::http;
use crate::metrics::Metrics;
use crate::observe::Observed;
use crate::proto::key_management_service_server::KeyManagementServiceServer;
use crate::service::KmsService;
use accept::{Acceptor, allowed_uids};
use bind::BoundSocket;

/// The largest request that is decoded, in bytes; the largest legal one has about 36 KiB, mostly annotations.
pub const MAX_MESSAGE_LEN: usize = 64 * 1_024;

/// How long calls in flight may take to end after a stop; longer than any call lives.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Calls that one connection may have open at once; more wait in the client.
const MAX_STREAMS: u32 = 1_024;

/// Calls that a client may have given up before they were looked at. kube-apiserver gives up all its calls in flight when
/// their deadline passes; with h2's default of 20 that would cost it the connection.
const MAX_ABANDONED: usize = 1_024;

/// How often the gRPC health service learns the state of the key encryption key.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// How long to wait for another plugin that takes a socket in the same folder: [`LOCK_ATTEMPTS`] times this.
const LOCK_PAUSE: Duration = Duration::from_millis(20);
const LOCK_ATTEMPTS: u32 = 50;

/// What is to be served, and where.
#[derive(Debug)]
pub struct Server {
    service: KmsService,
    socket: SocketOptions,
    metrics: Metrics,
    http_address: Option<SocketAddr>,
}

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The socket cannot be had.
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
    /// The gRPC server ended by itself.
    #[error("the gRPC server ended unexpectedly")]
    Grpc(#[source] Option<tonic::transport::Error>),
}

impl Server {
    /// Serves `kek` for `cluster` (see [`KmsService::new`]) on `socket`.
    #[must_use]
    pub fn new(
        kek: Arc<dyn KeyEncryptionKey>,
        cluster: &str,
        socket: SocketOptions,
        metrics: Metrics,
    ) -> Self {
        Self {
            service: KmsService::new(kek, cluster),
            socket,
            metrics,
            http_address: None,
        }
    }

    /// Serves `/livez`, `/readyz` and `/metrics` on `address` too.
    #[must_use]
    pub const fn with_http_address(mut self, address: SocketAddr) -> Self {
        self.http_address = Some(address);
        self
    }

    /// Takes the addresses. From here on clients can connect; their calls wait for [`BoundServer::run`].
    ///
    /// # Errors
    /// [`ServeError`] if an address cannot be had; then nothing is left behind.
    pub async fn bind(mut self) -> Result<BoundServer, ServeError> {
        self.socket.allowed_uids = allowed_uids(&self.socket);
        let http = match self.http_address {
            Some(address) => {
                let listener = TcpListener::bind(address).await;
                Some(listener.map_err(|source| ServeError::Http { address, source })?)
            }
            None => None,
        };
        let socket = bind_when_unlocked(&self.socket).await?;
        Ok(BoundServer {
            server: self,
            socket,
            http,
        })
    }
}

async fn bind_when_unlocked(options: &SocketOptions) -> Result<BoundSocket, BindError> {
    for _ in 0..LOCK_ATTEMPTS {
        match BoundSocket::bind(options) {
            Err(BindError::Locked(_)) => tokio::time::sleep(LOCK_PAUSE).await,
            result => return result,
        }
    }
    BoundSocket::bind(options)
}

/// A server whose addresses are taken.
#[derive(Debug)]
pub struct BoundServer {
    server: Server,
    socket: BoundSocket,
    http: Option<TcpListener>,
}

impl BoundServer {
    /// The HTTP address, with the port that the system chose if 0 was asked for.
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref()?.local_addr().ok()
    }

    /// Serves until `shutdown` is ready; then reports not ready, removes the socket, and lets calls in flight
    /// end, for at most [`DRAIN_LIMIT`].
    ///
    /// # Errors
    /// [`ServeError::Grpc`] if the server ends before `shutdown`.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let Self {
            server,
            socket,
            http,
        } = self;
        let stop_accepting = CancellationToken::new();
        let stop_http = CancellationToken::new();
        let health = Health::new(server.service.clone());
        let (reporter, grpc_health) = tonic_health::server::health_reporter();
        report(&reporter, health.serving_status()).await;
        let watcher = tokio::spawn(report_health(health.clone(), reporter.clone()));
        if let Some(listener) = http {
            let router = http::router(health.clone(), server.metrics.clone());
            let stop = stop_http.clone().cancelled_owned();
            tokio::spawn(async move {
                // Its listener never fails for good.
                let _ = axum::serve(listener, router)
                    .with_graceful_shutdown(stop)
                    .await;
            });
        }
        let (sender, receiver) = mpsc::channel(16);
        let acceptor = Acceptor::new(socket, server.socket, server.metrics.clone(), sender);
        tokio::spawn(acceptor.run(stop_accepting.clone()));
        let kms = KeyManagementServiceServer::new(server.service)
            .max_decoding_message_size(MAX_MESSAGE_LEN);
        let mut grpc = pin!(
            tonic::transport::Server::builder()
                .max_concurrent_streams(MAX_STREAMS)
                .http2_max_pending_accept_reset_streams(Some(MAX_ABANDONED))
                .add_service(Observed::new(kms, server.metrics))
                .add_service(grpc_health)
                // It ends when the acceptor has closed the channel; connections then end gracefully.
                .serve_with_incoming_shutdown(incoming(receiver), pending())
        );
        tokio::select! {
            result = &mut grpc => return Err(ServeError::Grpc(result.err())),
            () = shutdown => {}
        }
        tracing::info!("draining");
        health.drain();
        watcher.abort();
        report(&reporter, ServingStatus::NotServing).await;
        stop_accepting.cancel();
        if tokio::time::timeout(DRAIN_LIMIT, grpc).await.is_err() {
            tracing::warn!(limit = ?DRAIN_LIMIT, "calls or connections still open; stopping anyway");
        }
        stop_http.cancel();
        Ok(())
    }
}

fn incoming(
    receiver: mpsc::Receiver<Result<UnixStream, Infallible>>,
) -> ReceiverStream<Result<UnixStream, Infallible>> {
    ReceiverStream::new(receiver)
}

async fn report_health(health: Health, reporter: HealthReporter) {
    let mut interval = tokio::time::interval(HEALTH_INTERVAL);
    loop {
        interval.tick().await;
        report(&reporter, health.serving_status()).await;
    }
}

/// For the whole server and for the KMS service.
async fn report(reporter: &HealthReporter, status: ServingStatus) {
    const KMS: &str = <KeyManagementServiceServer<KmsService> as NamedService>::NAME;
    for name in ["", KMS] {
        reporter.set_service_status(name, status).await;
    }
}
