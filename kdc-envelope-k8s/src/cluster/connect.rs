//! From a kubeconfig to a client.

use core::time::Duration;
use std::path::PathBuf;

use http::Uri;
use kube::config::{KubeConfigOptions, Kubeconfig as File};
use kube::{Client, Config};

use super::ClusterError;

/// How long an API server may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long it may take to answer; its own limit for a request is one minute.
const ANSWER_LIMIT: Duration = Duration::from_secs(75);

/// Which kubeconfig to use, and which of its contexts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Kubeconfig {
    /// The file; without one, what `KUBECONFIG` names, `~/.kube/config`, or the service account of a Pod.
    pub path: Option<PathBuf>,
    /// The context; without one, the current one.
    pub context: Option<String>,
}

/// A client for the cluster, or with `server` for one API server of it, with the same credentials.
///
/// It repeats nothing by itself.
///
/// # Errors
/// [`ClusterError`]; nothing is sent yet.
pub async fn connect(
    kubeconfig: &Kubeconfig,
    server: Option<&str>,
) -> Result<Client, ClusterError> {
    let mut config = load(kubeconfig).await?;
    if let Some(url) = server {
        let address = || ClusterError::Address { url: url.into() };
        let uri: Uri = url.parse().map_err(|_| address())?;
        if uri.scheme_str() != Some("https") || uri.host().is_none() {
            return Err(address());
        }
        config.cluster_url = uri;
    }
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_LIMIT);
    config.read_timeout = Some(ANSWER_LIMIT);
    config.reset_reader_on_write = true;
    Client::try_from(config).map_err(|error| ClusterError::Client(Box::new(error)))
}

async fn load(kubeconfig: &Kubeconfig) -> Result<Config, ClusterError> {
    let options = KubeConfigOptions {
        context: kubeconfig.context.clone(),
        ..KubeConfigOptions::default()
    };
    let Some(path) = &kubeconfig.path else {
        if options.context.is_none() {
            let inferred = Config::infer().await;
            return inferred.map_err(|error| ClusterError::NoKubeconfig(Box::new(error)));
        }
        let config = Config::from_kubeconfig(&options).await;
        return config.map_err(|source| ClusterError::Kubeconfig {
            path: "~/.kube/config".into(),
            source: Box::new(source),
        });
    };
    let unusable = |source| ClusterError::Kubeconfig {
        path: path.clone(),
        source: Box::new(source),
    };
    let file = File::read_from(path).map_err(unusable)?;
    let config = Config::from_custom_kubeconfig(file, &options).await;
    config.map_err(unusable)
}
