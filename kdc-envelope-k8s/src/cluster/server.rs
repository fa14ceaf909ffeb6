//! What one API server says of itself.

use kube::Client;
use serde::Deserialize;

use super::ask::{Response, get};
use super::{ClusterError, ServerName};
use crate::rotation::metrics::ServerMetrics;

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
pub async fn ping(client: &Client) -> Result<(), ClusterError> {
    version(client).await.map(drop)
}

/// Asks the API server behind `client`, which must be one process and no load balancer.
///
/// # Errors
/// [`ClusterError`].
pub async fn probe(client: &Client) -> Result<ServerState, ClusterError> {
    let (server, version) = version(client).await?;
    // Some distributions write `34+`.
    let digits = version
        .minor
        .trim_end_matches(|c: char| !c.is_ascii_digit());
    let is_one = &*version.major == "1";
    let minor = digits.parse().ok().filter(|_| is_one);
    let minor = minor.ok_or_else(|| ClusterError::Version {
        server,
        version: version.git_version.clone(),
    })?;
    let Response { server, body } = get(client, "get", "/metrics", "/metrics").await?;
    let metrics = ServerMetrics::parse(&String::from_utf8_lossy(&body));
    Ok(ServerState {
        minor,
        version: version.git_version,
        metrics: metrics.map_err(|source| ClusterError::Metrics { server, source })?,
    })
}

/// What `/version` answers, as far as it matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    major: Box<str>,
    minor: Box<str>,
    git_version: Box<str>,
}

async fn version(client: &Client) -> Result<(ServerName, Version), ClusterError> {
    let Response { server, body } = get(client, "get", "/version", "/version").await?;
    match serde_json::from_slice(&body) {
        Ok(version) => Ok((server, version)),
        Err(_) => Err(ClusterError::Refused {
            server,
            verb: "get",
            resource: "/version",
            message: "something that is no version; is it an API server?".into(),
        }),
    }
}
