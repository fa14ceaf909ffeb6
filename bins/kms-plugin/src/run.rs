//! Serves until told to stop.

use kdc_envelope::local::private_process::keep_private;
use kdc_envelope_bao::metrics::BaoMetrics;
use kdc_envelope_kms::metrics::Metrics;
use kdc_envelope_kms::server::{BoundServer, KeyEndpoint, Server, use_all_descriptors};
use kdc_shared::logging;
use kdc_shared::notify::{self, notify};
use kdc_shared::plugin::Settings;
use kdc_shared::signals::Signals;
#[cfg(feature = "otel")]
use kdc_shared::telemetry::{Exporter, Service};
use tokio::task::JoinSet;
#[cfg(not(feature = "otel"))]
use tracing_subscriber::layer::Identity;

use crate::failure::Failure;
use crate::key::Key;

/// Whose spans are exported.
#[cfg(feature = "otel")]
const SERVICE: Service = Service {
    name: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    crates: &[
        "kms_plugin",
        "kdc_envelope",
        "kdc_envelope_bao",
        "kdc_envelope_kms",
    ],
};

/// One thread: a call costs microseconds, and a second thread would cost memory and hand-over time.
pub(crate) fn run(settings: Settings) -> Result<(), Failure> {
    // Outlives the runtime, and sends what is left when that has ended.
    #[cfg(feature = "otel")]
    let exporter = settings
        .otel_endpoint
        .as_ref()
        .map(|endpoint| Exporter::new(endpoint, SERVICE))
        .transpose()?;
    #[cfg(feature = "otel")]
    let spans = exporter.as_ref().map(Exporter::layer);
    #[cfg(not(feature = "otel"))]
    let spans = None::<Identity>;
    logging::start(settings.log_format, settings.log_level.clone(), spans);
    if let Err(error) = keep_private() {
        tracing::warn!(%error, "cannot keep the memory of this process from core dumps and other processes");
    }
    if let Err(error) = use_all_descriptors() {
        tracing::warn!(%error, "cannot raise the number of files that may be open");
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::system("start the runtime"))?
        .block_on(serve(settings))
}

async fn serve(settings: Settings) -> Result<(), Failure> {
    // Before the socket is there, so that a stop is never missed.
    let mut signals = Signals::catch().map_err(Failure::system("catch signals"))?;
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
    let mut outcome = Ok(());
    let stopped = async {
        outcome = stop(&mut signals, &mut keepers).await;
        notify(notify::STOPPING);
    };
    // Until the last call was answered, its key must stay usable.
    server.run(stopped).await?;
    keepers.shutdown().await;
    tracing::info!("stopped");
    outcome
}

/// Waits for a reason to stop. What keeps a key usable never ends by itself: without it the program would serve a key that it no
/// longer follows, so it ends for its supervisor to start it again.
async fn stop(signals: &mut Signals, keepers: &mut JoinSet<()>) -> Result<(), Failure> {
    tokio::select! {
        signal = signals.stop() => {
            tracing::info!(signal, "stopping");
            Ok(())
        }
        Some(ended) = keepers.join_next() => Err(Failure::Keeper(ended.err())),
    }
}

fn metrics_of(keys: &[Key]) -> Metrics {
    let in_bao: Vec<_> = keys
        .iter()
        .filter_map(|key| Some((key.endpoint.name.clone(), key.transit()?.clone())))
        .collect();
    Metrics::builder(env!("CARGO_PKG_VERSION"))
        .collector(Box::new(BaoMetrics::new(in_bao)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_no_longer_followed_ends_the_program() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut signals = Signals::catch().unwrap();
            let mut keepers = JoinSet::new();
            keepers.spawn(std::future::pending());
            keepers.spawn(async { panic!("attempt to multiply with overflow") });
            let failure = stop(&mut signals, &mut keepers).await.unwrap_err();
            assert_eq!(failure.exit().code(), 70);
            let line = kdc_shared::console::line(&failure);
            assert!(line.contains("ended unexpectedly"), "{line}");
            assert!(line.contains("overflow"), "{line}");
        });
    }
}
