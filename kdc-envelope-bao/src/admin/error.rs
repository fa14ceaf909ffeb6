//! What can go wrong while OpenBao is set up, beyond what can go wrong with any call.

use std::sync::Arc;

use kdc_envelope::ErrorChain;

use crate::error::{BaoError, BaoErrorClass};

/// Something is not as it was asked to be.
///
/// The message is whole: where a `cause` is known it ends in it, so that it is not given by `source` once more.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The call itself failed.
    #[error(transparent)]
    Bao(#[from] BaoError),
    /// Another engine or auth method is mounted there.
    #[error("`{path}` is a mount of type `{found}`, not `{wanted}`; choose another path")]
    MountMismatch {
        /// Where.
        path: Arc<str>,
        /// Type of what is there.
        found: String,
        /// Type of what should be there.
        wanted: String,
    },
    /// OpenBao would take this, and store something else or nothing of use. Nothing was sent.
    #[error("{what} `{name}` is not written: {reason}")]
    StoredOtherwise {
        /// What it is, such as `policy`.
        what: &'static str,
        /// Whose it is.
        name: Arc<str>,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A key is there that has properties which no write changes.
    #[error(
        "Transit key `{key}` exists, but not with the {fields} that it must have, which cannot be changed; choose another name"
    )]
    KeyMismatch {
        /// Mount and name.
        key: Arc<str>,
        /// What differs, such as `type, exportable`.
        fields: String,
    },
    /// OpenBao rotates the key by itself. Two that rotate one key can lose a version.
    #[error(
        "Transit key `{key}` is rotated by OpenBao every {period} s; set its auto_rotate_period to 0 first"
    )]
    RotatesItself {
        /// Mount and name.
        key: Arc<str>,
        /// In seconds.
        period: u64,
    },
    /// The rotation failed, and the key is as it was. Trying later is safe.
    #[error("Transit key `{key}` was not rotated and stays at version {version}: {}", ErrorChain::new(.cause))]
    NotRotated {
        /// Mount and name.
        key: Arc<str>,
        /// The newest version.
        version: u32,
        /// Why.
        cause: BaoError,
    },
    /// The rotation failed, and OpenBao may use a version that it did not store: it is gone after a restart, and with it all that was
    /// wrapped with it. Another rotation stores that version too.
    #[error(
        "the rotation of Transit key `{key}` failed, and versions above {before} may not be stored; rotate it once more, with no other \
         change beside it, then rewrap what those versions wrapped: {}",
        ErrorChain::new(.cause)
    )]
    PhantomSuspected {
        /// Mount and name.
        key: Arc<str>,
        /// The newest version before.
        before: u32,
        /// The newest version that OpenBao showed afterwards; `None` if it could not be read.
        seen: Option<u32>,
        /// How the rotation failed.
        cause: BaoError,
    },
    /// A version was made, and another process made others at the same time. If its rotations failed, its versions may not be stored.
    #[error(
        "Transit key `{key}` went from version {before} to {latest}, of which only {made} was made here; let one process alone rotate it, \
         and rewrap what the others wrapped if their rotation failed"
    )]
    ConcurrentRotation {
        /// Mount and name.
        key: Arc<str>,
        /// The newest version before.
        before: u32,
        /// The version that was made here.
        made: u32,
        /// The newest version afterwards.
        latest: u32,
    },
    /// A version was made, and it could not be proven. The next rotation by the same [`Admin`](super::Admin) proves it before it makes another.
    #[error(
        "version {version} of Transit key `{key}` was made, but could not be proven: {}",
        ErrorChain::new(.cause)
    )]
    Unproven {
        /// Mount and name.
        key: Arc<str>,
        /// The new version.
        version: u32,
        /// Why.
        cause: BaoError,
    },
    /// A change of a key failed, and OpenBao may show it without having stored it.
    #[error(
        "`{operation}` of Transit key `{key}` failed and may not be stored though it shows; reload the mount before anything else changes \
         the key, and look again: {}",
        ErrorChain::new(.cause)
    )]
    Unstored {
        /// Mount and name.
        key: Arc<str>,
        /// What was tried.
        operation: &'static str,
        /// How it failed.
        cause: BaoError,
    },
}

impl AdminError {
    /// What to do about it.
    #[must_use]
    pub const fn class(&self) -> BaoErrorClass {
        match self {
            Self::Bao(error) => error.class(),
            Self::NotRotated { cause, .. } | Self::Unproven { cause, .. } => cause.class(),
            Self::MountMismatch { .. }
            | Self::StoredOtherwise { .. }
            | Self::KeyMismatch { .. }
            | Self::RotatesItself { .. }
            | Self::PhantomSuspected { .. }
            | Self::ConcurrentRotation { .. }
            | Self::Unstored { .. } => BaoErrorClass::Rejected,
        }
    }
}

/// Whether a request that failed like this may have been carried out all the same, wholly or in part.
pub(super) const fn may_have_happened(error: &BaoError) -> bool {
    matches!(
        error,
        BaoError::Unreachable { .. }
            | BaoError::Timeout { .. }
            | BaoError::Unready { .. }
            | BaoError::Unintelligible { .. }
    )
}
