//! `/livez`, `/readyz` and `/metrics` over plain HTTP, for probes and scrapers. Nothing here is secret.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::health::Health;
use crate::metrics::Metrics;

/// The three endpoints.
pub(crate) fn router(health: Health, metrics: Metrics) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .with_state((health, metrics))
}

async fn readyz(State((health, _)): State<(Health, Metrics)>) -> impl IntoResponse {
    match health.ready().await {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {reason}\n"),
        ),
    }
}

async fn render(State((health, metrics)): State<(Health, Metrics)>) -> impl IntoResponse {
    let text = metrics.render(health.kek_status().as_ref());
    ([(header::CONTENT_TYPE, OPEN_METRICS)], text)
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
