//! From the settings of a client, or a kubeconfig, to a client.

use core::time::Duration;

use http::Uri;
use kube::client::ClientBuilder;
use kube::{Client, Config};
use rustls::pki_types::ServerName as TlsName;

use super::kubeconfig::{KubeconfigFault, Target, shown_proxy};
use super::server_name::{NameLayer, ServerName};
use super::{ClusterError, Kubeconfig, KubeconfigError, KubeconfigSource, cause};

/// How long an API server may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long it may take to answer; its own limit for a request is one minute.
const ANSWER_LIMIT: Duration = Duration::from_secs(75);

/// One API server instead of the address of the whole cluster, with the same credentials.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Overrides<'o> {
    /// The address of one API server, such as `https://10.0.0.1:6443` of its pod.
    pub server: Option<&'o str>,
    /// The name that its certificate must have, if the address is not in it. It is sent in the TLS handshake as well.
    pub tls_server_name: Option<&'o str>,
}

impl<'o> Overrides<'o> {
    /// The API server at this address, or that of the settings.
    #[must_use]
    pub const fn server(server: Option<&'o str>) -> Self {
        Self {
            server,
            tls_server_name: None,
        }
    }
}

/// A client with these settings, as the library needs it: it repeats nothing by itself, requests end in time, and errors of
/// requests name the server. Its proxy is that of the settings.
///
/// # Errors
/// [`ClusterError::Address`], [`ClusterError::TlsServerName`], and [`ClusterError::Settings`] if no client can be made of
/// the settings. Nothing is sent yet.
pub fn connect(mut config: Config, overrides: Overrides<'_>) -> Result<Client, ClusterError> {
    if let Some(url) = overrides.server {
        config.cluster_url = address(url)?;
    }
    set_tls_server_name(&mut config, overrides.tls_server_name)?;
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_LIMIT);
    config.read_timeout = Some(ANSWER_LIMIT);
    config.reset_reader_on_write = true;
    let proxy = config.proxy_url.as_ref().map(shown_proxy);
    let name = ServerName::new(&config.cluster_url, proxy.as_deref());
    let builder = ClientBuilder::try_from(config).map_err(|error| ClusterError::Settings {
        server: name.clone(),
        message: cause(&error).into(),
    })?;
    Ok(builder.with_layer(&NameLayer(name)).build())
}

/// As [`connect`], with the settings of a kubeconfig.
///
/// The proxy is that of the kubeconfig, else that of `HTTPS_PROXY` and `NO_PROXY`, as with kubectl. A credential plugin
/// that a kubeconfig file names is run; one in memory may name none.
///
/// # Errors
/// [`ClusterError`]; nothing is sent yet.
pub async fn connect_kubeconfig(
    kubeconfig: &Kubeconfig,
    overrides: Overrides<'_>,
) -> Result<Client, ClusterError> {
    let server = overrides.server.map(address).transpose()?;
    let file = kubeconfig.source.file();
    let kubeconfig = kubeconfig.clone();
    // Plugins and files may take their time.
    let target = tokio::task::spawn_blocking(move || kubeconfig.target(server.as_ref())).await;
    let wrong = |what: &str| KubeconfigError {
        file: file.clone(),
        fault: KubeconfigFault::Wrong,
        what: what.into(),
    };
    let target = target.unwrap_or_else(|_| Err(wrong("no client can be made of it")));
    let Target { config } = target?;
    let made = connect(
        config,
        Overrides {
            server: None,
            ..overrides
        },
    );
    made.map_err(|error| match error {
        ClusterError::Settings { message, .. } => wrong(&message).into(),
        error => error,
    })
}

fn address(url: &str) -> Result<Uri, ClusterError> {
    let wrong = || ClusterError::Address { url: url.into() };
    let uri = super::kubeconfig::address(url).map_err(|_| wrong())?;
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        _ => Err(wrong()),
    }
}

fn set_tls_server_name(config: &mut Config, name: Option<&str>) -> Result<(), ClusterError> {
    let Some(name) = name else {
        return Ok(());
    };
    let wrong = || ClusterError::TlsServerName { name: name.into() };
    TlsName::try_from(name).map_err(|_| wrong())?;
    config.tls_server_name = Some(name.to_owned());
    Ok(())
}

impl KubeconfigSource {
    /// One file, for messages about the whole.
    fn file(&self) -> std::path::PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Files(paths) => paths.first().cloned().unwrap_or_default(),
            Self::Memory(memory) => memory.name.as_str().into(),
            Self::InCluster => "service account of the Pod".into(),
        }
    }
}
