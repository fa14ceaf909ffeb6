//! From a kubeconfig to a client.

use core::time::Duration;

use http::Uri;
use kube::Client;
use kube::client::ClientBuilder;

use super::kubeconfig::{KubeconfigFault, Target};
use super::server_name::{NameLayer, ServerName};
use super::{ClusterError, Kubeconfig, KubeconfigError, KubeconfigSource, cause};

/// How long an API server may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long it may take to answer; its own limit for a request is one minute.
const ANSWER_LIMIT: Duration = Duration::from_secs(75);

/// A client for the cluster, or with `server` for one API server of it, with the same credentials.
///
/// It repeats nothing by itself, and errors of requests name the server. The proxy is that of the kubeconfig, else that of
/// `HTTPS_PROXY` and `NO_PROXY`, as with kubectl. A credential plugin that the kubeconfig names is run.
///
/// # Errors
/// [`ClusterError`]; nothing is sent yet.
pub async fn connect(
    kubeconfig: &Kubeconfig,
    server: Option<&str>,
) -> Result<Client, ClusterError> {
    let server = server.map(address).transpose()?;
    let kubeconfig = kubeconfig.clone();
    // Plugins and files may take their time.
    let made = tokio::task::spawn_blocking(move || client(&kubeconfig, server.as_ref())).await;
    made.unwrap_or_else(|_| {
        let error = KubeconfigError {
            file: "given".into(),
            fault: KubeconfigFault::Wrong,
            what: "no client can be made of it".into(),
        };
        Err(error)
    })
    .map_err(ClusterError::from)
}

fn address(url: &str) -> Result<Uri, ClusterError> {
    let wrong = || ClusterError::Address { url: url.into() };
    let uri = super::kubeconfig::address(url).map_err(|_| wrong())?;
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        _ => Err(wrong()),
    }
}

fn client(kubeconfig: &Kubeconfig, server: Option<&Uri>) -> Result<Client, KubeconfigError> {
    let Target { mut config, proxy } = kubeconfig.target(server)?;
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_LIMIT);
    config.read_timeout = Some(ANSWER_LIMIT);
    config.reset_reader_on_write = true;
    let name = ServerName::new(&config.cluster_url, proxy.as_deref());
    let builder = ClientBuilder::try_from(config).map_err(|error| KubeconfigError {
        file: kubeconfig.source.file(),
        fault: KubeconfigFault::Wrong,
        what: cause(&error).into(),
    })?;
    Ok(builder.with_layer(&NameLayer(name)).build())
}

impl KubeconfigSource {
    /// One file, for messages about the whole.
    fn file(&self) -> std::path::PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Files(paths) => paths.first().cloned().unwrap_or_default(),
            Self::InCluster => "service account of the Pod".into(),
        }
    }
}
