//! What can go wrong between us and OpenBao, sorted by what to do about it.
//!
//! The server says much with few status codes: the two kinds of 403, a 400 that passes by itself on a standby, a 429
//! without words. [`BaoError`] holds what was meant, read from real answers of OpenBao 2.6 and 2.7.

use core::error::Error;
use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use kdc_envelope::KekError;

use crate::client::Namespace;

/// A call to OpenBao that did not do what was asked.
///
/// The words of the server are kept, without control characters and at most 300 of them; tokens and bodies never are.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BaoError {
    /// No connection, or it broke.
    #[error("cannot reach OpenBao at {address}")]
    Unreachable {
        /// Scheme, host and port.
        address: Arc<str>,
        /// What the transport said.
        source: Arc<dyn Error + Send + Sync>,
    },
    /// No answer in time.
    #[error("OpenBao at {address} did not answer within {limit:?}")]
    Timeout {
        /// Scheme, host and port of the last one asked.
        address: Arc<str>,
        /// How long was waited.
        limit: Duration,
    },
    /// The caller gave up first, before anything was known to be wrong with OpenBao.
    #[error("OpenBao did not answer before the deadline of the call")]
    DeadlineExceeded,
    /// It failed several times in a row and is left alone for a moment.
    #[error("OpenBao failed repeatedly and is not asked again for {retry_in:?}")]
    CircuitOpen {
        /// When the next call goes through.
        retry_in: Duration,
        /// How it failed last.
        #[source]
        cause: Option<Arc<Self>>,
    },
    /// It is sealed, or was never initialised.
    #[error("OpenBao at {address} is sealed; unseal it")]
    Sealed {
        /// Scheme, host and port.
        address: Arc<str>,
    },
    /// It answers, but cannot serve now.
    #[error("OpenBao at {address} is not ready: status {status}: {message}")]
    Unready {
        /// Scheme, host and port.
        address: Arc<str>,
        /// HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// A rate limit.
    #[error("OpenBao at {address} limits the rate of requests: {message}; raise its quota")]
    Throttled {
        /// Scheme, host and port.
        address: Arc<str>,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
        /// Its words.
        message: String,
    },
    /// A standby that does not know yet what the active node knows.
    #[error("OpenBao does not know it yet: {message}")]
    Lagging {
        /// Its words.
        message: String,
    },
    /// The token is unknown, expired or revoked.
    #[error("OpenBao at {address} does not accept the token: {message}")]
    Unauthenticated {
        /// Scheme, host and port.
        address: Arc<str>,
        /// Its words.
        message: String,
    },
    /// The token is good, and its policies do not allow this.
    #[error(
        "the policies of the token do not allow `{operation}` on {place}; grant `{}`",
        capability(operation, &place.path)
    )]
    Forbidden {
        /// HTTP method.
        operation: &'static str,
        /// What was asked for.
        place: Place,
    },
    /// Nothing is there.
    #[error("{place} does not exist in OpenBao{message}")]
    NotFound {
        /// What was asked for.
        place: Place,
        /// `: ` and its words, or nothing.
        message: String,
    },
    /// It understood and refuses.
    #[error("OpenBao refuses {place}: {message}")]
    Rejected {
        /// HTTP status.
        status: u16,
        /// What was asked for.
        place: Place,
        /// Its words.
        message: String,
    },
    /// A check-and-set write met another version than it expected.
    #[error(
        "{place} was changed by another client in the meantime; look at it, and write it again"
    )]
    Conflict {
        /// What was to be written.
        place: Place,
    },
    /// It sends us elsewhere, where we do not go.
    #[error(
        "OpenBao redirects to `{host}`, which is none of the configured addresses; add it if it is right"
    )]
    Redirected {
        /// Scheme, host and port.
        host: String,
    },
    /// The answer is not what OpenBao gives.
    #[error("{what} from {address} is not an answer of OpenBao; is a proxy in between?")]
    Unintelligible {
        /// Which part.
        what: &'static str,
        /// Scheme, host and port.
        address: Arc<str>,
    },
    /// It answers, but something else than it was asked for.
    #[error("OpenBao gave a wrong answer: {message}; is a proxy in between?")]
    WrongAnswer {
        /// What is wrong.
        message: String,
    },
    /// It did what was asked for other keys of a request, and for this one not.
    #[error("OpenBao failed on one key of a request: {message}")]
    KeyFailed {
        /// Its words.
        message: String,
    },
    /// The credential for the login cannot be had.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The login was answered with a refusal.
    #[error("OpenBao login (mount={mount} role={role}): {status}: {message}")]
    LoginRefused {
        /// Mount of the auth method.
        mount: Arc<str>,
        /// Role, or `-`.
        role: Arc<str>,
        /// HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// Logins succeed, and OpenBao refuses their tokens at once.
    #[error(
        "OpenBao login (mount={mount} role={role}): it gives a token that is refused at once; see token_bound_cidrs and token_num_uses of the \
         role, whether its entity is disabled, and whether all addresses are one OpenBao"
    )]
    TokenRefused {
        /// Mount of the auth method.
        mount: Arc<str>,
        /// Role, or `-`.
        role: Arc<str>,
    },
    /// The key is of a kind that does not fit.
    #[error("Transit key `{key}` cannot be used: {reason}")]
    Profile {
        /// Mount and name.
        key: Arc<str>,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The newest version of the key is older than one that was in use.
    #[error(
        "Transit key `{key}` went back from version {from} to {to}; was OpenBao restored from a backup? Rotate the key past {from}"
    )]
    WentBack {
        /// Mount and name.
        key: Arc<str>,
        /// The version in use.
        from: u32,
        /// The newest that OpenBao shows.
        to: u32,
    },
    /// What was just encrypted does not decrypt.
    #[error(
        "version {version} of Transit key `{key}` does not decrypt what it encrypted; rotate the key"
    )]
    Canary {
        /// Mount and name of the key.
        key: Arc<str>,
        /// The version that was tried.
        version: u32,
    },
    /// OpenBao was not asked yet.
    #[error("OpenBao was not asked yet")]
    NotAskedYet,
    /// OpenBao was not asked for so long that what is known counts no more.
    #[error("OpenBao was last asked about Transit key `{key}` {} s ago, which is too long", ago.as_secs())]
    Stale {
        /// Mount and name.
        key: Arc<str>,
        /// How long ago.
        ago: Duration,
    },
    /// No random bytes could be had.
    #[error(transparent)]
    Random(#[from] kdc_envelope::random::RandomError),
}

/// What a call was for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// The path, without `/v1/` in front.
    pub path: Arc<str>,
    /// The namespace of the path; `None` outside of all.
    pub namespace: Option<Namespace>,
    /// Scheme, host and port.
    pub address: Arc<str>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.path)?;
        if let Some(namespace) = &self.namespace {
            write!(f, " in namespace `{namespace}`")?;
        }
        write!(f, " at {}", self.address)
    }
}

/// What policies call the right to do this.
fn capability(operation: &str, path: &str) -> &'static str {
    match operation {
        "GET" if path.ends_with("?list=true") => "list",
        "GET" => "read",
        "DELETE" => "delete",
        "PATCH" => "patch",
        _ => "update",
    }
}

/// A file with a credential that cannot be used. Names the file, never its content.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The system refused.
    #[error("cannot read {what} file `{path}`")]
    Read {
        /// Which credential.
        what: &'static str,
        /// Which file.
        path: Arc<str>,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// Nothing is in it.
    #[error("{what} file `{path}` is empty")]
    Empty {
        /// Which credential.
        what: &'static str,
        /// Which file.
        path: Arc<str>,
    },
    /// Others could have read it.
    #[error(
        "{what} file `{path}` has mode {mode:04o}, open to others; run `chmod 600` on it and replace the credential"
    )]
    TooOpen {
        /// Which credential.
        what: &'static str,
        /// Which file.
        path: Arc<str>,
        /// Its permission bits.
        mode: u32,
    },
    /// It holds something else.
    #[error("{what} file `{path}` does not hold {expected}")]
    Content {
        /// Which credential.
        what: &'static str,
        /// Which file.
        path: Arc<str>,
        /// What it should hold.
        expected: &'static str,
    },
    /// It holds more than a word, or other characters than a credential has.
    #[error(
        "{what} file `{path}` does not hold one word of printable ASCII characters: line {line}, character {column} is {found}"
    )]
    NotOneWord {
        /// Which credential.
        what: &'static str,
        /// Which file.
        path: Arc<str>,
        /// Where, counted from 1.
        line: usize,
        /// Where in the line, in characters from 1.
        column: usize,
        /// What is there: the name or the number of a character that is no part of a credential.
        found: String,
    },
    /// Certificates and keys do not make a TLS configuration.
    #[error("TLS cannot be set up; name the authority of OpenBao's certificate with a CA file")]
    Tls {
        /// What the TLS library said.
        source: Arc<dyn Error + Send + Sync>,
    },
    /// The one-time token in the file gave its secret away before.
    #[error(
        "the wrapping token in `{path}` was used before or has expired; if not by this program, revoke the secret id and wrap a new one"
    )]
    WrappingTokenUsed {
        /// Which file.
        path: Arc<str>,
    },
}

/// What to do about an error; the label of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BaoErrorClass {
    /// It may pass by itself: ask again, elsewhere or later.
    Transient,
    /// Log in again.
    Unauthenticated,
    /// The operator must change a policy, role or credential.
    Denied,
    /// The operator must create or restore something.
    Missing,
    /// The same request will always be refused.
    Rejected,
}

impl BaoErrorClass {
    /// A short stable word for labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Unauthenticated => "unauthenticated",
            Self::Denied => "denied",
            Self::Missing => "missing",
            Self::Rejected => "rejected",
        }
    }
}

impl BaoError {
    /// What to do about it.
    #[must_use]
    pub const fn class(&self) -> BaoErrorClass {
        match self {
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::DeadlineExceeded
            | Self::CircuitOpen { .. }
            | Self::Sealed { .. }
            | Self::Unready { .. }
            | Self::Throttled { .. }
            | Self::Lagging { .. }
            | Self::Redirected { .. }
            | Self::Unintelligible { .. }
            | Self::WrongAnswer { .. }
            | Self::KeyFailed { .. }
            | Self::NotAskedYet
            | Self::Stale { .. }
            | Self::Random(_) => BaoErrorClass::Transient,
            Self::Unauthenticated { .. } => BaoErrorClass::Unauthenticated,
            Self::Forbidden { .. }
            | Self::Credential(_)
            | Self::LoginRefused { .. }
            | Self::TokenRefused { .. } => BaoErrorClass::Denied,
            Self::NotFound { .. } | Self::WentBack { .. } | Self::Canary { .. } => {
                BaoErrorClass::Missing
            }
            Self::Rejected { .. } | Self::Conflict { .. } | Self::Profile { .. } => {
                BaoErrorClass::Rejected
            }
        }
    }

    /// Whether it says that OpenBao itself, or the way to it, is not well; counted by the circuit breaker.
    #[must_use]
    pub(crate) const fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Timeout { .. }
                | Self::Sealed { .. }
                | Self::Unready { .. }
                | Self::Unintelligible { .. }
        )
    }
}

impl From<BaoError> for KekError {
    fn from(error: BaoError) -> Self {
        match error.class() {
            BaoErrorClass::Denied | BaoErrorClass::Unauthenticated => Self::Denied {
                source: Box::new(error),
            },
            BaoErrorClass::Transient if matches!(error, BaoError::DeadlineExceeded) => {
                Self::DeadlineExceeded {
                    source: Box::new(error),
                }
            }
            // A missing key may be restored, and a refused request be allowed by a change on the server.
            BaoErrorClass::Transient | BaoErrorClass::Missing | BaoErrorClass::Rejected => {
                Self::Unavailable {
                    source: Box::new(error),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str, namespace: Option<&str>) -> Place {
        Place {
            path: path.into(),
            namespace: namespace.map(|text| text.parse().unwrap()),
            address: "https://bao:8200".into(),
        }
    }

    #[test]
    fn a_refusal_names_right_path_namespace_and_server() {
        for (operation, path, namespace, message) in [
            (
                "GET",
                "transit/keys/k",
                None,
                "the policies of the token do not allow `GET` on `transit/keys/k` at https://bao:8200; grant `read`",
            ),
            (
                "GET",
                "transit/keys?list=true",
                Some("org"),
                "the policies of the token do not allow `GET` on `transit/keys?list=true` in namespace `org` at https://bao:8200; grant `list`",
            ),
            (
                "POST",
                "transit/encrypt/k",
                Some("org/team"),
                "the policies of the token do not allow `POST` on `transit/encrypt/k` in namespace `org/team` at https://bao:8200; grant `update`",
            ),
        ] {
            let place = place(path, namespace);
            let error = BaoError::Forbidden { operation, place };
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn an_open_breaker_says_what_opened_it() {
        let sealed = BaoError::Sealed {
            address: "https://bao:8200".into(),
        };
        let open = BaoError::CircuitOpen {
            retry_in: Duration::from_millis(250),
            cause: Some(Arc::new(sealed)),
        };
        assert_eq!(
            kdc_envelope::ErrorChain::new(&open).to_string(),
            "OpenBao failed repeatedly and is not asked again for 250ms: OpenBao at https://bao:8200 is sealed; unseal it"
        );
    }
}
