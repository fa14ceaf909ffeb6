//! Serves one key on its socket, from the first connection to the last.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::MAX_MESSAGE_LEN;
use super::accept::{Acceptor, Service};
use super::bind::BoundSocket;
use super::endpoint::KeyEndpoint;
use super::grpc::Peer;
use crate::connections::Connections;
use crate::health::Health;
use crate::metrics::KeyMetrics;
use crate::observe::Observed;
use crate::proto::key_management_service_server::KeyManagementServiceServer;
use crate::service::KmsService;

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
    pub(super) async fn run(self, connections: Connections<Peer>, stop: CancellationToken) {
        let (reporter, grpc_health) = tonic_health::server::health_reporter();
        report(&reporter, self.health.serving_status()).await;
        let kms = KeyManagementServiceServer::new(self.service)
            .max_decoding_message_size(MAX_MESSAGE_LEN);
        let routes = Routes::new(Observed::new(kms, self.metrics.clone()));
        let service = Service {
            routes: routes.add_service(grpc_health).prepare(),
            connections,
            stop: stop.clone(),
        };
        let options = self.endpoint.socket.clone();
        let acceptor = Acceptor::new(self.socket, options, self.metrics, service);
        tokio::join!(
            acceptor.run(),
            keep_reporting(&self.health, &reporter, &stop),
            keep_expiring(&self.endpoint, &stop),
        );
    }
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
