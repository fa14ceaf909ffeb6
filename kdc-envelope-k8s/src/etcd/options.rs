//! Where etcd is, and how it is reached.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use zeroize::Zeroizing;

use super::call::Login;
use super::{EndpointError, EtcdError, endpoint};

/// Bytes that etcd may send before it must hear from us; the 64 KiB of HTTP/2 would make it wait at every step.
const WINDOW: u32 = 4 << 20;

/// Where etcd is, and what it wants to see. Proxies are not used.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct EtcdOptions {
    /// Addresses of the members of one cluster, tried in order: `https://HOST:2379`, or `HOST:2379` as etcdctl takes it.
    pub endpoints: Vec<String>,
    /// Certificates; without them the connection is http.
    pub tls: Option<EtcdTls>,
    /// The user to log in as; without one, the name in the client's certificate counts.
    pub user: Option<EtcdUser>,
    /// How long etcd may take to accept a connection, and for each response.
    pub timeout: Duration,
}

/// The files of kube-apiserver's `--etcd-cafile`, `--etcd-certfile` and `--etcd-keyfile`, in PEM.
#[derive(Clone, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct EtcdTls {
    /// Certificates of the authorities that etcd's certificate comes from. An https address needs them.
    pub authorities: Option<Vec<u8>>,
    /// The client's certificate and its private key.
    pub identity: Option<(Vec<u8>, Zeroizing<Vec<u8>>)>,
    /// The name that etcd's certificate must have, if it is not the one in the address.
    pub server_name: Option<String>,
}

/// A user of etcd.
#[derive(Clone)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct EtcdUser {
    /// Not empty, and without a colon.
    pub name: String,
    /// Sent to etcd once per token.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for EtcdTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdTls")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for EtcdUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdUser")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl EtcdOptions {
    /// All addresses, each with its URL.
    pub(super) fn addresses(&self) -> Result<Vec<(Endpoint, String)>, EtcdError> {
        let wants_tls = self
            .tls
            .as_ref()
            .is_some_and(|tls| tls.authorities.is_some() || tls.identity.is_some());
        let mut addresses = Vec::new();
        for text in &self.endpoints {
            let url = endpoint::url_of(text, wants_tls)?;
            addresses.push((self.address(&url)?, url));
        }
        Ok(addresses)
    }

    fn address(&self, url: &str) -> Result<Endpoint, EtcdError> {
        let endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(|_| EndpointError::Form {
                address: url.into(),
                fault: "is no address; write https://HOST:2379",
            })?
            .connect_timeout(self.timeout)
            .timeout(self.timeout)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        let url = || url.into();
        let is_http = endpoint.uri().scheme_str() == Some("http");
        match (&self.tls, is_http) {
            (Some(tls), true) if tls.is_given() => {
                Err(EndpointError::PlainText { url: url() }.into())
            }
            (_, true) => Ok(endpoint),
            (Some(tls), false) if tls.authorities.is_some() => endpoint
                .tls_config(tls.config())
                .map_err(|error| EtcdError::Tls(error.into())),
            (_, false) => Err(EndpointError::NoAuthority { url: url() }.into()),
        }
    }

    pub(super) fn login(&self) -> Result<Option<Arc<Login>>, EtcdError> {
        let Some(EtcdUser { name, password }) = &self.user else {
            return Ok(None);
        };
        match name.is_empty() || name.contains(':') {
            // What follows the colon is the password for etcdctl.
            true => Err(EtcdError::UserName),
            false => Ok(Some(Arc::new(Login::new(name.clone(), password.clone())))),
        }
    }
}

impl EtcdTls {
    const fn is_given(&self) -> bool {
        self.authorities.is_some() || self.identity.is_some() || self.server_name.is_some()
    }

    fn config(&self) -> ClientTlsConfig {
        let mut config = ClientTlsConfig::new();
        if let Some(authorities) = &self.authorities {
            config = config.ca_certificate(Certificate::from_pem(authorities));
        }
        if let Some((certificate, key)) = &self.identity {
            config = config.identity(Identity::from_pem(certificate, key.as_slice()));
        }
        if let Some(name) = &self.server_name {
            config = config.domain_name(name);
        }
        config
    }
}
