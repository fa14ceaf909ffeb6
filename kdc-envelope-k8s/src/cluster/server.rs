//! What one API server says of itself.

use core::time::Duration;

use http::Request;
use kube::Client;

use super::ClusterError;
use crate::rotation::metrics::ServerMetrics;

/// How long it may take; its metrics are some hundred KiB.
const LIMIT: Duration = Duration::from_secs(15);

/// One API server at one moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerState {
    /// The number after `1.` in its version.
    pub minor: u32,
    /// Its version as it gives it.
    pub version: Box<str>,
    /// Its metrics.
    pub metrics: ServerMetrics,
}

/// Sees whether the API server behind `client` answers and accepts the credentials, so that a mistake in a kubeconfig shows
/// at once.
///
/// # Errors
/// [`ClusterError`].
pub async fn greet(client: &Client) -> Result<(), ClusterError> {
    within_limit(async {
        let version = client.apiserver_version().await;
        version
            .map(drop)
            .map_err(ClusterError::of("get", "/version"))
    })
    .await
}

/// Asks the API server behind `client`, which must be one process and no load balancer.
///
/// # Errors
/// [`ClusterError`].
pub async fn look_at(client: &Client) -> Result<ServerState, ClusterError> {
    within_limit(async {
        let version = client.apiserver_version().await;
        let version = version.map_err(ClusterError::of("get", "/version"))?;
        // Some distributions write `34+`.
        let digits = version
            .minor
            .trim_end_matches(|c: char| !c.is_ascii_digit());
        let is_one = version.major == "1";
        let minor = digits.parse().ok().filter(|_| is_one);
        let minor = minor.ok_or_else(|| ClusterError::Version {
            version: version.git_version.as_str().into(),
        })?;
        let request = Request::get("/metrics").body(Vec::new());
        let request = request.map_err(|error| ClusterError::Unreachable {
            message: error.to_string().into(),
        })?;
        let text = client.request_text(request).await;
        let text = text.map_err(ClusterError::of("get", "/metrics"))?;
        Ok(ServerState {
            minor,
            version: version.git_version.into(),
            metrics: ServerMetrics::parse(&text)?,
        })
    })
    .await
}

async fn within_limit<T>(
    asking: impl Future<Output = Result<T, ClusterError>>,
) -> Result<T, ClusterError> {
    match tokio::time::timeout(LIMIT, asking).await {
        Ok(answer) => answer,
        Err(_) => Err(ClusterError::Unreachable {
            message: format!("nothing within {} s", LIMIT.as_secs()).into(),
        }),
    }
}
