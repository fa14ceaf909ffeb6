//! Serves until told to stop.

use kdc_envelope::KeyEncryptionKey as _;
use kdc_envelope_kms::metrics::Metrics;
use kdc_envelope_kms::server::{ONLY_KEY, Server};
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;
use crate::key::KeyFile;
use crate::logging;
use crate::notify::{self, notify};
use crate::settings::Settings;

/// One thread: a call costs microseconds, and a second thread would cost memory and hand-over time.
pub(crate) fn run(settings: Settings) -> Result<(), Failure> {
    logging::start(settings.log_format, settings.log_level.clone());
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
    let key = KeyFile::open(settings.key)?;
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    let socket = settings.socket.address.clone();
    let mut server = Server::of_one_key(
        key.kek(),
        &settings.cluster,
        settings.socket,
        metrics.clone(),
    );
    if let Some(address) = settings.http_address {
        server = server.with_http_address(address);
    }
    let server = server.bind().await?;
    if let Ok(status) = key.kek().status() {
        tracing::info!(
            %socket,
            key_id = %status.key_id,
            key_version = status.version,
            http = server.http_address().map(tracing::field::display),
            "kms-plugin listening"
        );
    }
    notify(notify::READY);
    let follower = tokio::spawn(key.follow(metrics.key(ONLY_KEY).keyring_reloads()));
    let stopped = async {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping");
        notify(notify::STOPPING);
    };
    server.run(stopped).await?;
    follower.abort();
    tracing::info!("stopped");
    Ok(())
}
