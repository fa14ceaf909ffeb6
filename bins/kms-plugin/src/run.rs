//! Serves until told to stop.

use kdc_envelope_kms::metrics::Metrics;
use kdc_envelope_kms::server::{BoundServer, KeyEndpoint, Server};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
#[cfg(not(feature = "otel"))]
use tracing_subscriber::layer::Identity;

use crate::bao_metrics::BaoMetrics;
use crate::failure::Failure;
use crate::key::Key;
use crate::logging;
use crate::notify::{self, notify};
use crate::settings::Settings;
#[cfg(feature = "otel")]
use crate::telemetry::Exporter;

/// One thread: a call costs microseconds, and a second thread would cost memory and hand-over time.
pub(crate) fn run(settings: Settings) -> Result<(), Failure> {
    // Outlives the runtime, and sends what is left when that has ended.
    #[cfg(feature = "otel")]
    let exporter = settings
        .otel_endpoint
        .as_ref()
        .map(Exporter::new)
        .transpose()?;
    #[cfg(feature = "otel")]
    let spans = exporter.as_ref().map(Exporter::layer);
    #[cfg(not(feature = "otel"))]
    let spans = None::<Identity>;
    logging::start(settings.log_format, settings.log_level.clone(), spans);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::system("start the runtime"))?
        .block_on(serve(settings))
}

async fn serve(settings: Settings) -> Result<(), Failure> {
    // Before anybody learns that we listen, so that a stop is never missed.
    let mut terminate =
        signal(SignalKind::terminate()).map_err(Failure::system("catch SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::system("catch SIGINT"))?;
    let mut keys = Vec::with_capacity(settings.keys.len());
    for key in settings.keys {
        keys.push(Key::open(key)?);
    }
    let metrics = metrics_of(&keys);
    let mut server = Server::new(metrics.clone());
    if let Some(address) = settings.http_address {
        server = server.with_http_address(address);
    }
    let mut keepers = JoinSet::new();
    let mut endpoints = Vec::with_capacity(keys.len());
    for key in keys {
        let (endpoint, keeping) = key.into_parts(&metrics);
        endpoints.push(endpoint.clone());
        server = server.with_key(endpoint);
        keepers.spawn(keeping);
    }
    let server = server.bind().await?;
    for endpoint in &endpoints {
        announce(endpoint, &server);
    }
    notify(notify::READY);
    let stopped = async {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping");
        notify(notify::STOPPING);
    };
    // Until the last call was answered, its key must stay usable.
    server.run(stopped).await?;
    keepers.shutdown().await;
    tracing::info!("stopped");
    Ok(())
}

fn metrics_of(keys: &[Key]) -> Metrics {
    let in_bao: Vec<_> = keys
        .iter()
        .filter_map(|key| Some((key.endpoint.name.clone(), key.transit()?.clone())))
        .collect();
    Metrics::builder(env!("CARGO_PKG_VERSION"))
        .collector(Box::new(BaoMetrics(in_bao)))
        .build()
}

/// What operators look for. The id of a key in OpenBao is not known yet; it is logged as soon as it is.
fn announce(endpoint: &KeyEndpoint, server: &BoundServer) {
    let status = endpoint.kek.status().ok();
    tracing::info!(
        socket = %endpoint.socket.address,
        key = endpoint.name,
        key_id = status.as_ref().map(|status| tracing::field::display(&status.key_id)),
        key_version = status.as_ref().map(|status| status.version),
        http = server.http_address().map(tracing::field::display),
        "kms-plugin listening"
    );
}
