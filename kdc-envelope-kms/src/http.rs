//! `/livez`, `/readyz` and `/metrics` over plain HTTP, for probes and scrapers. Nothing here is secret.
//!
//! A [`Server`](crate::server::Server) serves its own; [`serve`] is for programs that are no plugin.
//!
//! Every client that reaches the address may connect, so none gets much: few connections, little time for the head of a request, little
//! memory for it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::counter::Counter;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::connections::{Bounds, Connections, Seat, Served};
use crate::throttle::Throttle;

/// Probes and scrapers are few, and have one connection each. A call takes place on each at most, and messages have no use.
const BOUNDS: Bounds = Bounds {
    connections: 32,
    calls: 32,
    bytes: 1 << 20,
};

/// One of so many file descriptors at most may be a connection here.
const SHARE_OF_DESCRIPTORS: u64 = 8;

/// For the head of a request, from the first to the last byte, and for the pause before the next one.
const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// Of the head of a request and of an answer that the client has not read, in bytes.
const BUFFER_LEN: usize = 16 * 1_024;

/// Rest after a failed accept, which is out of file descriptors or memory: both need time, not haste.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the pages of a program say.
pub trait Pages: Clone + Send + Sync + 'static {
    /// Whether the program can do its work: `/readyz` shows the text, and has status 200 or 503.
    fn readiness(&self) -> impl Future<Output = Result<String, String>> + Send;

    /// Everything that is counted, in the OpenMetrics text format.
    fn metrics(&self) -> String;
}

/// Serves for ever. Dropped, it ends at once, and so do its connections. `evicted` counts connections that had to make room for others.
pub async fn serve(listener: TcpListener, pages: impl Pages, evicted: Counter) {
    let bounds = BOUNDS.within_descriptors(SHARE_OF_DESCRIPTORS);
    let connections = Connections::new(bounds, evicted);
    let router = router(pages);
    let warnings = Throttle::default();
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Of no interest; but what has ended must not pile up.
            Some(_) = tasks.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                let seat = Arc::new(connections.admit(peer.ip()));
                tasks.spawn(serve_one(stream, seat, router.clone()));
                // A client that had to make room does so now, before the next one comes.
                tokio::task::yield_now().await;
            }
            Err(error) => {
                if let Some(more_before) = warnings.pass() {
                    tracing::warn!(%error, more_before, "cannot accept an HTTP connection");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_one(stream: TcpStream, seat: Arc<Seat<IpAddr>>, router: Router) {
    let service = Served::new(router, Arc::clone(&seat));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(BUFFER_LEN)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            tracing::debug!(%error, "HTTP connection ended");
        },
        () = seat.evicted() => {}
    }
}

/// The three endpoints.
fn router<P: Pages>(pages: P) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz::<P>))
        .route("/metrics", get(render::<P>))
        .with_state(pages)
}

async fn readyz<P: Pages>(State(pages): State<P>) -> impl IntoResponse {
    match pages.readiness().await {
        Ok(text) => (StatusCode::OK, text),
        Err(reasons) => (StatusCode::SERVICE_UNAVAILABLE, reasons),
    }
}

async fn render<P: Pages>(State(pages): State<P>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], pages.metrics())
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
