//! Where OpenBao is and how it is reached, checked before anything is sent.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;
use std::path::PathBuf;
use std::sync::Arc;

use reqwest::Url;

use crate::transit::{MAX_PATH_LEN, is_segment, shortened};

/// How to reach OpenBao. The fields have sensible defaults but for the addresses.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClientConfig {
    /// Where it answers; the first that works is kept. Never empty.
    pub addresses: Vec<BaoAddress>,
    /// Sent with every request.
    pub namespace: Option<Namespace>,
    /// Certificates.
    pub tls: TlsConfig,
    /// Further `host:port` to which one redirect may lead; the addresses are always allowed.
    pub redirect_hosts: Vec<String>,
    /// For one try at one address, from connecting to the last byte. Default 1 s.
    pub attempt_timeout: Duration,
    /// For all tries of one call together, or until the [deadline](kdc_envelope::deadline) of the caller if that is earlier. Default 2.2 s.
    pub call_timeout: Duration,
}

/// Files for TLS; each is read again when it changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsConfig {
    /// PEM certificates of the authorities to trust, instead of those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM certificate (chain) and private key to present.
    pub client: Option<ClientCertificateFiles>,
    /// The name that the server's certificate must have, if it is not the host of the address.
    pub server_name: Option<String>,
}

/// A client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientCertificateFiles {
    /// PEM certificate, with those between it and the authority.
    pub certificate: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
}

impl ClientCertificateFiles {
    /// A certificate and its key.
    #[must_use]
    pub const fn new(certificate: PathBuf, key: PathBuf) -> Self {
        Self { certificate, key }
    }
}

impl ClientConfig {
    /// The defaults, for these addresses.
    ///
    /// # Errors
    /// [`InvalidAddress::None`] without an address.
    pub fn new(addresses: Vec<BaoAddress>) -> Result<Self, InvalidAddress> {
        if addresses.is_empty() {
            return Err(InvalidAddress::None);
        }
        Ok(Self {
            addresses,
            namespace: None,
            tls: TlsConfig::default(),
            redirect_hosts: Vec::new(),
            attempt_timeout: Duration::from_secs(1),
            call_timeout: Duration::from_millis(2_200),
        })
    }
}

/// Scheme, host, port and perhaps a path in front of `/v1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaoAddress {
    url: Url,
}

/// An address that is not one of OpenBao.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAddress {
    /// None is given.
    #[error("no address of OpenBao is given")]
    None,
    /// It does not parse.
    #[error("`{0}` is not a URL such as https://openbao.example.com:8200")]
    Url(String),
    /// It is neither http nor https.
    #[error("`{0}` begins neither with https:// nor with http://")]
    Scheme(String),
    /// It has a user name or password, which it must not.
    #[error(
        "the address of OpenBao holds a user name or a password; credentials belong into files"
    )]
    UserInfo,
    /// It has a query or a fragment.
    #[error("`{0}` ends in a query or a fragment")]
    Query(String),
}

impl FromStr for BaoAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let mut url = Url::parse(text).map_err(|_| {
            // What does not parse may hold a password all the same.
            let shown = text.rsplit('@').next().unwrap_or_default();
            InvalidAddress::Url(shown.escape_debug().to_string())
        })?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidAddress::UserInfo);
        }
        if !matches!(url.scheme(), "http" | "https") {
            return Err(InvalidAddress::Scheme(text.escape_debug().to_string()));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidAddress::Query(text.escape_debug().to_string()));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self { url })
    }
}

impl BaoAddress {
    /// Whether what is sent there is readable on the way.
    #[must_use]
    pub fn is_plaintext(&self) -> bool {
        self.url.scheme() == "http"
    }

    /// The name or number of the host.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// The port, given or that of the scheme.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or_default()
    }

    /// The URL of `path`, which has neither `/v1/` nor a slash in front. `host` takes the place of the own one.
    pub(crate) fn join(&self, path: &str, host: Option<&str>) -> Option<Url> {
        let mut url = self.url.clone();
        if let Some(host) = host {
            url.set_host(Some(host)).ok()?;
        }
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let whole = format!("{}/v1/{path}", url.path().trim_end_matches('/'));
        url.set_path(&whole);
        url.set_query((!query.is_empty()).then_some(query));
        Some(url)
    }

    /// Whether `url` leads to the same server.
    pub(crate) fn is_origin_of(&self, url: &Url) -> bool {
        self.url.origin() == url.origin()
    }
}

impl fmt::Display for BaoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str().trim_end_matches('/'))
    }
}

/// The path of a namespace, such as `org` or `org/project`, without slashes around it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Namespace(Arc<str>);

/// The text is not the path of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidNamespace {
    /// It has other characters, or too many.
    #[error(
        "`{0}` is not the path of a namespace: names of letters, digits, `-`, `_` and `.`, with `/` between them, at most 512"
    )]
    Form(String),
    /// It begins with `root`, by which OpenBao understands no namespace at all.
    #[error(
        "`{0}` begins with `root`, which is no namespace but the place outside of all; leave `root` away"
    )]
    Root(String),
    /// A name in it is one that OpenBao gives to no namespace.
    #[error("`{name}` in `{path}` is reserved, so that no namespace has that name; choose another")]
    Reserved {
        /// The whole.
        path: String,
        /// The name.
        name: String,
    },
}

/// What OpenBao names no namespace, at any depth. Its comparison minds the case.
const RESERVED: [&str; 6] = [ROOT, "sys", "audit", "auth", "cubbyhole", "identity"];
const ROOT: &str = "root";

impl FromStr for Namespace {
    type Err = InvalidNamespace;

    fn from_str(text: &str) -> Result<Self, InvalidNamespace> {
        let path = text.strip_suffix('/').unwrap_or(text);
        if path.len() > MAX_PATH_LEN || !path.split('/').all(is_segment) {
            return Err(InvalidNamespace::Form(shortened(text)));
        }
        if path.split('/').next() == Some(ROOT) {
            return Err(InvalidNamespace::Root(shortened(path)));
        }
        match path.split('/').find(|name| RESERVED.contains(name)) {
            None => Ok(Self(path.into())),
            Some(name) => Err(InvalidNamespace::Reserved {
                path: shortened(path),
                name: name.to_owned(),
            }),
        }
    }
}

impl Namespace {
    /// What the root namespace is called in the identities of keys. No request can ask for it by this name.
    pub(crate) fn named_root() -> Self {
        Self(ROOT.into())
    }

    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(address: &str, path: &str, host: Option<&str>) -> String {
        let address: BaoAddress = address.parse().unwrap();
        address.join(path, host).unwrap().to_string()
    }

    #[test]
    fn paths_go_under_v1_and_behind_the_prefix_of_a_proxy() {
        assert_eq!(
            joined("https://bao:8200", "transit/keys/k", None),
            "https://bao:8200/v1/transit/keys/k"
        );
        assert_eq!(
            joined("https://proxy/bao/", "sys/health?standbyok=true", None),
            "https://proxy/bao/v1/sys/health?standbyok=true"
        );
        assert_eq!(
            joined("https://10.0.0.1:8200", "x", Some("bao.example.com")),
            "https://bao.example.com:8200/v1/x"
        );
    }

    #[test]
    fn bad_addresses_are_told_apart_and_passwords_not_repeated() {
        for (text, message) in [
            (
                "",
                "`` is not a URL such as https://openbao.example.com:8200",
            ),
            (
                "bao:8200",
                "`bao:8200` begins neither with https:// nor with http://",
            ),
            (
                "ftp://bao",
                "`ftp://bao` begins neither with https:// nor with http://",
            ),
            (
                "https://bao?x=1",
                "`https://bao?x=1` ends in a query or a fragment",
            ),
            (
                "https://bao#x",
                "`https://bao#x` ends in a query or a fragment",
            ),
            (
                "https://user:hunter2@bao",
                "the address of OpenBao holds a user name or a password; credentials belong into files",
            ),
            (
                "https://user:hunter2@:x",
                "`:x` is not a URL such as https://openbao.example.com:8200",
            ),
        ] {
            let error = text.parse::<BaoAddress>().unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        assert_eq!(
            ClientConfig::new(Vec::new()).unwrap_err(),
            InvalidAddress::None
        );
    }

    #[test]
    fn namespaces_are_paths_of_names() {
        for good in [
            "a",
            "org/project",
            "a.b/c-d_e",
            "org/",
            "Root",
            "roots",
            "system",
        ] {
            assert!(good.parse::<Namespace>().is_ok(), "{good}");
        }
        let long = "a".repeat(256);
        for bad in [
            "", "/", "/a", "a//b", "..", "a/../b", "a b", "a\nb", "ä", &long,
        ] {
            let refused = bad.parse::<Namespace>();
            assert!(matches!(refused, Err(InvalidNamespace::Form(_))), "{bad}");
        }
    }

    #[test]
    fn no_namespace_has_the_name_of_the_root_or_of_something_of_openbao() {
        for bad in ["root", "root/", "root/org"] {
            let refused = bad.parse::<Namespace>();
            assert!(matches!(refused, Err(InvalidNamespace::Root(_))), "{bad}");
        }
        for bad in [
            "org/root",
            "sys",
            "audit",
            "auth/x",
            "org/cubbyhole",
            "identity",
        ] {
            let refused = bad.parse::<Namespace>();
            let is_told = matches!(refused, Err(InvalidNamespace::Reserved { .. }));
            assert!(is_told, "{bad}");
        }
    }
}
