//! Connections: TLS from files that may change, and one pool for each way to verify a server.

use core::time::Duration;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Identity};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::config::{BaoAddress, ClientConfig};
use crate::credential::{self, Privacy};
use crate::error::CredentialError;

/// Idle connections that are kept; no more calls than this are in flight for long.
const MAX_IDLE: usize = 4;
/// Shorter than what load balancers in between usually allow.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// One address and the pool that reaches it.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) address: BaoAddress,
    pub(super) shown: Arc<str>,
    pub(super) http: reqwest::Client,
}

/// All addresses, under one state of the certificate files.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) endpoints: Vec<Endpoint>,
    fingerprint: [u8; 32],
}

/// What the files hold.
struct Files {
    authorities: Option<Zeroizing<Vec<u8>>>,
    identity: Option<Zeroizing<Vec<u8>>>,
}

impl Transport {
    pub(super) fn open(config: &ClientConfig) -> Result<Self, CredentialError> {
        let files = Files::read(config)?;
        let shared = match config.tls.server_name {
            None => Some(build(config, &files, None)?),
            Some(_) => None,
        };
        let endpoint = |address: &BaoAddress| {
            let http = match &shared {
                Some(http) => http.clone(),
                None => build(config, &files, Some(address))?,
            };
            Ok(Endpoint {
                address: address.clone(),
                shown: address.to_string().into(),
                http,
            })
        };
        let endpoints: Result<_, CredentialError> = config.addresses.iter().map(endpoint).collect();
        Ok(Self {
            endpoints: endpoints?,
            fingerprint: files.fingerprint(),
        })
    }

    /// A transport with what the files hold now, if that is something else.
    pub(super) fn reopened(&self, config: &ClientConfig) -> Result<Option<Self>, CredentialError> {
        if Files::read(config)?.fingerprint() == self.fingerprint {
            return Ok(None);
        }
        Self::open(config).map(Some)
    }
}

impl Files {
    fn read(config: &ClientConfig) -> Result<Self, CredentialError> {
        let authorities = config
            .tls
            .ca_file
            .as_deref()
            .map(|path| credential::read(CA, path, Privacy::Any))
            .transpose()?;
        let identity = match &config.tls.client {
            None => None,
            Some(files) => {
                let mut both = credential::read(CERTIFICATE, &files.certificate, Privacy::Any)?;
                let key = credential::read(KEY, &files.key, Privacy::Private)?;
                let mut pem = Zeroizing::new(Vec::with_capacity(both.len() + key.len() + 1));
                pem.append(&mut both);
                pem.push(b'\n');
                pem.extend_from_slice(&key);
                Some(pem)
            }
        };
        Ok(Self {
            authorities,
            identity,
        })
    }

    fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in [&self.authorities, &self.identity] {
            let part = part.as_deref().map_or(&[][..], |part| part);
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

/// `only` names the one address that is reached under another server name.
fn build(
    config: &ClientConfig,
    files: &Files,
    only: Option<&BaoAddress>,
) -> Result<reqwest::Client, CredentialError> {
    let mut builder = reqwest::Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .http1_only()
        .pool_max_idle_per_host(MAX_IDLE)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .tcp_nodelay(true)
        .connect_timeout(config.attempt_timeout)
        .user_agent(concat!("kdc-envelope/", env!("CARGO_PKG_VERSION")));
    if let (Some(pem), Some(path)) = (&files.authorities, &config.tls.ca_file) {
        let authorities = Certificate::from_pem_bundle(pem)
            .ok()
            .filter(|all| !all.is_empty())
            .ok_or_else(|| not_pem(CA, path, "PEM certificates"))?;
        builder = builder.tls_certs_only(authorities);
    } else if config.addresses.iter().all(BaoAddress::is_plaintext) {
        // No server is verified, not even after a redirect; so an image without certificates of authorities must do.
        builder = builder.tls_certs_only([]);
    }
    if let (Some(pem), Some(client)) = (&files.identity, &config.tls.client) {
        let identity = Identity::from_pem(pem).map_err(|_| {
            not_pem(
                CERTIFICATE,
                &client.certificate,
                "a PEM certificate whose PEM key is in the key file",
            )
        })?;
        builder = builder.identity(identity);
    }
    if let Some(address) = only {
        builder = builder.dns_resolver(Arc::new(Elsewhere(address.clone())));
    }
    builder.build().map_err(|error| CredentialError::Tls {
        source: Arc::new(error.without_url()),
    })
}

fn not_pem(what: &'static str, path: &Path, expected: &'static str) -> CredentialError {
    CredentialError::Content {
        what,
        path: path.display().to_string().escape_debug().to_string().into(),
        expected,
    }
}

/// Resolves whatever name a certificate must have to the address that was configured.
struct Elsewhere(BaoAddress);

impl Resolve for Elsewhere {
    fn resolve(&self, _: Name) -> Resolving {
        let (host, port) = (self.0.host().to_owned(), self.0.port());
        Box::pin(async move {
            // IPv6 addresses stand in brackets in a URL.
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

const CA: &str = "CA certificate";
const CERTIFICATE: &str = "client certificate";
const KEY: &str = "client key";
