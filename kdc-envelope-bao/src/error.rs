//! What can go wrong between us and OpenBao, sorted by what to do about it.
//!
//! The server says much with few status codes: the two kinds of 403, a 400 that passes by itself on a standby, a 429
//! without words. [`BaoError`] holds what was meant, read from real answers of OpenBao 2.6 and 2.7.

use core::error::Error;
use core::time::Duration;
use std::sync::Arc;

use kdc_envelope::KekError;

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
    /// It failed several times in a row and is left alone for a moment.
    #[error("OpenBao failed repeatedly and is not asked again for {retry_in:?}")]
    CircuitOpen {
        /// When the next call goes through.
        retry_in: Duration,
    },
    /// It is sealed, or was never initialised.
    #[error("OpenBao is sealed; unseal it")]
    Sealed,
    /// It answers, but cannot serve now.
    #[error("OpenBao is not ready: status {status}: {message}")]
    Unready {
        /// HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// A rate limit.
    #[error("OpenBao limits the rate of requests: {message}")]
    Throttled {
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
    #[error("OpenBao does not accept the token: {message}")]
    Unauthenticated {
        /// Its words.
        message: String,
    },
    /// The token is good, and its policies do not allow this.
    #[error("the policies of the token do not allow `{operation}` on `{path}`; grant it")]
    Forbidden {
        /// HTTP method.
        operation: &'static str,
        /// What was asked for.
        path: Arc<str>,
    },
    /// Nothing is there.
    #[error("`{path}` does not exist in OpenBao{message}")]
    NotFound {
        /// What was asked for.
        path: Arc<str>,
        /// `: ` and its words, or nothing.
        message: String,
    },
    /// It understood and refuses.
    #[error("OpenBao refuses `{path}`: {message}")]
    Rejected {
        /// HTTP status.
        status: u16,
        /// What was asked for.
        path: Arc<str>,
        /// Its words.
        message: String,
    },
    /// A check-and-set write met another version than it expected.
    #[error("`{path}` was changed by somebody else in the meantime")]
    Conflict {
        /// What was to be written.
        path: Arc<str>,
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
        /// Its name.
        key: Arc<str>,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The newest version of the key is older than one that was in use.
    #[error(
        "Transit key `{key}` went back from version {from} to {to}; was OpenBao restored from a backup? Rotate the key past {from}"
    )]
    WentBack {
        /// Its name.
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
        /// Name of the key.
        key: Arc<str>,
        /// The version that was tried.
        version: u32,
    },
    /// Nobody asked OpenBao yet, or not for too long.
    #[error("OpenBao was not asked yet")]
    NotAskedYet,
    /// No random bytes could be had.
    #[error(transparent)]
    Random(#[from] kdc_envelope::random::RandomError),
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
    /// Certificates and keys do not make a TLS configuration.
    #[error("TLS cannot be set up; name the authority of OpenBao's certificate with a CA file")]
    Tls {
        /// What the TLS library said.
        source: Arc<dyn Error + Send + Sync>,
    },
    /// The one-time token in the file gave its secret to somebody before.
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
    /// Somebody must change a policy, role or credential.
    Denied,
    /// Somebody must create or restore something.
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
            | Self::CircuitOpen { .. }
            | Self::Sealed
            | Self::Unready { .. }
            | Self::Throttled { .. }
            | Self::Lagging { .. }
            | Self::Redirected { .. }
            | Self::Unintelligible { .. }
            | Self::NotAskedYet
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
                | Self::Sealed
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
            // A missing key may be restored, and a refused request be allowed by a change on the server.
            BaoErrorClass::Transient | BaoErrorClass::Missing | BaoErrorClass::Rejected => {
                Self::Unavailable {
                    source: Box::new(error),
                }
            }
        }
    }
}
