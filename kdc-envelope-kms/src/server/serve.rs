//! Serves one key on its socket, from the first connection to the last.

use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::accept::Acceptor;
use super::bind::BoundSocket;
use super::endpoint::KeyEndpoint;
use super::{MAX_MESSAGE_LEN, ServeError};
use crate::health::Health;
use crate::metrics::KeyMetrics;
use crate::observe::Observed;
use crate::proto::key_management_service_server::KeyManagementServiceServer;
use crate::service::KmsService;

/// Calls that one connection may have open at once; more wait in the client.
const MAX_STREAMS: u32 = 1_024;

/// Calls that a client may have given up before they were looked at. kube-apiserver gives up all its calls in flight when
/// their deadline passes; with h2's default of 20 that would cost it the connection.
const MAX_ABANDONED: usize = 1_024;

/// Accepted connections that may wait for the gRPC server.
const MAX_WAITING: usize = 16;

/// How often the gRPC health service learns the state of the key encryption key.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// How often the cache is told to wipe what is too old.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(10);

/// A key on a socket that was taken, with all that is needed to serve it.
pub(super) struct Serving {
    pub(super) endpoint: KeyEndpoint,
    pub(super) socket: BoundSocket,
    pub(super) service: KmsService,
    pub(super) metrics: KeyMetrics,
    pub(super) health: Health,
}

impl Serving {
    /// Serves until `stop`; then reports not serving, removes the socket, and lets calls in flight end.
    ///
    /// # Errors
    /// [`ServeError::Grpc`] if the gRPC server ends before that.
    pub(super) async fn run(self, stop: CancellationToken) -> Result<(), ServeError> {
        let (reporter, grpc_health) = tonic_health::server::health_reporter();
        report(&reporter, self.health.serving_status()).await;
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        let acceptor = Acceptor::new(
            self.socket,
            self.endpoint.socket.clone(),
            self.metrics.clone(),
            sender,
        );
        let kms = KeyManagementServiceServer::new(self.service)
            .max_decoding_message_size(MAX_MESSAGE_LEN);
        let mut grpc = pin!(
            tonic::transport::Server::builder()
                .max_concurrent_streams(MAX_STREAMS)
                .http2_max_pending_accept_reset_streams(Some(MAX_ABANDONED))
                .add_service(Observed::new(kms, self.metrics))
                .add_service(grpc_health)
                // It ends when the acceptor has closed the channel; connections then end gracefully.
                .serve_with_incoming_shutdown(incoming(receiver), pending())
        );
        let beside = async {
            tokio::join!(
                acceptor.run(stop.clone()),
                keep_reporting(&self.health, &reporter, &stop),
                keep_expiring(&self.endpoint, &stop),
            )
        };
        let ended = tokio::select! {
            ended = &mut grpc => ended,
            _ = beside => grpc.await,
        };
        if stop.is_cancelled() {
            return Ok(());
        }
        Err(ServeError::Grpc(ended.err()))
    }
}

fn incoming(
    receiver: mpsc::Receiver<Result<UnixStream, Infallible>>,
) -> ReceiverStream<Result<UnixStream, Infallible>> {
    ReceiverStream::new(receiver)
}

async fn keep_reporting(health: &Health, reporter: &HealthReporter, stop: &CancellationToken) {
    let mut interval = tokio::time::interval(HEALTH_INTERVAL);
    let reporting = async {
        loop {
            interval.tick().await;
            report(reporter, health.serving_status()).await;
        }
    };
    stop.run_until_cancelled(reporting).await;
    report(reporter, ServingStatus::NotServing).await;
}

async fn keep_expiring(endpoint: &KeyEndpoint, stop: &CancellationToken) {
    let Some(cache) = &endpoint.cache else { return };
    let mut interval = tokio::time::interval(EXPIRE_INTERVAL);
    let expiring = async {
        loop {
            interval.tick().await;
            cache.expire();
        }
    };
    stop.run_until_cancelled(expiring).await;
}

/// For the whole server and for the KMS service.
async fn report(reporter: &HealthReporter, status: ServingStatus) {
    const KMS: &str = <KeyManagementServiceServer<KmsService> as NamedService>::NAME;
    for name in ["", KMS] {
        reporter.set_service_status(name, status).await;
    }
}
