//! What can go wrong with a key encryption key.

use std::sync::Arc;

use super::KeyId;
use crate::random::RandomError;

type BoxError = Box<dyn core::error::Error + Send + Sync>;

/// Why a key could not be wrapped or unwrapped.
///
/// The message never contains key bytes, plaintext, or the words of `source`; print the chain to get those.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KekError {
    /// The backend cannot be reached or is not ready. Trying again may help.
    #[error("the key encryption key is unavailable")]
    Unavailable {
        /// What the backend or the transport said.
        source: BoxError,
    },
    /// The [deadline](crate::deadline) of the caller passed before the backend answered. Of the kind
    /// [`Unavailable`](KekErrorKind::Unavailable), but it says nothing about the backend: a caller with more time may be answered.
    #[error("the key encryption key is unavailable")]
    DeadlineExceeded {
        /// What the backend was waited for.
        source: BoxError,
    },
    /// The backend answered and refuses: credentials or policy.
    #[error("the backend denies the use of the key encryption key")]
    Denied {
        /// What the backend said.
        source: BoxError,
    },
    /// No version has this key id.
    #[error("unknown key id `{0}`")]
    UnknownKey(KeyId),
    /// The version with this key id was retired: its key is gone.
    #[error("key id `{0}` was retired; bring its version back from a copy of the keyring")]
    RetiredKey(KeyId),
    /// The wrapped key is not of this backend's format.
    #[error("malformed wrapped key: {field} at byte {offset}")]
    Malformed {
        /// The part of the format that did not fit.
        field: &'static str,
        /// Its place in the wrapped key, in bytes from the start.
        offset: usize,
    },
    /// The wrapped key was changed, or belongs to another context. Deliberately says no more.
    #[error("the wrapped key does not authenticate")]
    Authentication,
    /// A limit of use is reached.
    #[error("limit reached: {0}")]
    Exhausted(&'static str),
    /// The caller asked for something that no backend does.
    #[error("wrong use: {0}")]
    Misuse(&'static str),
    /// No random bytes could be had.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// Another caller's failed call, which several callers waited for.
    #[error(transparent)]
    Shared(Arc<Self>),
}

/// The part of an error that decides what happens next: gRPC code, metric label, condition reason, retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(
    clippy::exhaustive_enums,
    reason = "code that maps kinds to codes or labels must map a new one, too"
)]
pub enum KekErrorKind {
    /// Not reachable or not ready; retry.
    Unavailable,
    /// Refused by the backend.
    Denied,
    /// The key id names no living version.
    UnknownKey,
    /// Not of this backend's format.
    Malformed,
    /// Changed, or of another context.
    Authentication,
    /// A limit is reached.
    Exhausted,
    /// The call itself was wrong.
    Misuse,
    /// The machine failed us.
    Internal,
}

impl KekErrorKind {
    /// All kinds, for metric labels that must exist from the start.
    pub const ALL: [Self; 8] = [
        Self::Unavailable,
        Self::Denied,
        Self::UnknownKey,
        Self::Malformed,
        Self::Authentication,
        Self::Exhausted,
        Self::Misuse,
        Self::Internal,
    ];

    /// A short stable word for labels and reasons.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Denied => "denied",
            Self::UnknownKey => "unknown_key",
            Self::Malformed => "malformed",
            Self::Authentication => "authentication",
            Self::Exhausted => "exhausted",
            Self::Misuse => "misuse",
            Self::Internal => "internal",
        }
    }
}

impl KekError {
    /// The kind that decides what happens next.
    #[must_use]
    pub fn kind(&self) -> KekErrorKind {
        match self {
            Self::Unavailable { .. } | Self::DeadlineExceeded { .. } => KekErrorKind::Unavailable,
            Self::Denied { .. } => KekErrorKind::Denied,
            Self::UnknownKey(_) | Self::RetiredKey(_) => KekErrorKind::UnknownKey,
            Self::Malformed { .. } => KekErrorKind::Malformed,
            Self::Authentication => KekErrorKind::Authentication,
            Self::Exhausted(_) => KekErrorKind::Exhausted,
            Self::Misuse(_) => KekErrorKind::Misuse,
            Self::Random(_) => KekErrorKind::Internal,
            Self::Shared(error) => error.kind(),
        }
    }

    /// Whether it is [`Self::DeadlineExceeded`], also of another caller's call.
    pub(crate) fn is_deadline(&self) -> bool {
        match self {
            Self::DeadlineExceeded { .. } => true,
            Self::Shared(error) => error.is_deadline(),
            _ => false,
        }
    }
}
