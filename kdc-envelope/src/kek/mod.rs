//! The joint of the project: [`KeyEncryptionKey`].
//!
//! Whatever can hold a key encryption key implements this trait (a keyring file, OpenBao Transit), and
//! whatever needs one takes `Arc<dyn KeyEncryptionKey>`. Nothing else connects the two sides.

mod annotations;
mod error;
mod names;
mod transit_ciphertext;

#[cfg(feature = "testing")]
pub mod conformance;

pub(crate) use annotations::check_all as check_annotations;
pub use annotations::{Annotations, InvalidAnnotation, MAX_ANNOTATIONS_LEN, check_domain};
pub use error::{KekError, KekErrorKind};
pub(crate) use names::version_in_key_id;
pub use names::{Aad, InvalidKeyId, KeyId};
pub use transit_ciphertext::{InvalidCiphertext, TransitCiphertext};

use core::fmt;
use std::sync::Arc;

use crate::SecretBytes;

/// The longest secret, in bytes, that every backend wraps.
///
/// DEKs and KMS v2 seeds have 32 bytes; the rest is room for keys of other kinds. Data belongs into an
/// [envelope](crate::envelope), not here.
pub const MAX_PLAINTEXT_LEN: usize = 256;

/// The longest wrapped key, in bytes, that may be stored beside data: the limit of KMS v2.
///
/// Source: `validateEncryptedDEKSource` in `k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2`.
pub const MAX_WRAPPED_LEN: usize = 1024;

/// A wrapped key with all that is needed to unwrap it: the whole is stored, and the whole is given back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WrappedKey {
    /// Names the KEK version which made `ciphertext`; from the same backend answer.
    pub key_id: KeyId,
    /// What the backend made of the plaintext; opaque to all others. At most [`MAX_WRAPPED_LEN`] bytes.
    pub ciphertext: Vec<u8>,
    /// Public attributes that the backend wants back when it unwraps. Mostly empty.
    pub annotations: Annotations,
}

impl WrappedKey {
    /// A wrapped key without annotations.
    #[must_use]
    pub const fn new(key_id: KeyId, ciphertext: Vec<u8>) -> Self {
        Self {
            key_id,
            ciphertext,
            annotations: Annotations::new(),
        }
    }

    /// Adds `annotations`.
    #[must_use]
    pub fn with_annotations(mut self, annotations: Annotations) -> Self {
        self.annotations = annotations;
        self
    }
}

/// What a backend knows about itself without a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KekStatus {
    /// The key id under which [`KeyEncryptionKey::wrap`] works now.
    pub key_id: KeyId,
    /// The version behind `key_id`, counted from 1.
    pub version: u32,
    /// Why `wrap` and `unwrap` cannot work at this moment, in one line, if the status counts as good all the same: a remote backend that
    /// was well shortly before cannot be reached. `None` for a backend that is well. Not secret.
    pub degraded: Option<Arc<str>>,
}

impl KekStatus {
    /// The status of a healthy backend.
    #[must_use]
    pub const fn new(key_id: KeyId, version: u32) -> Self {
        Self {
            key_id,
            version,
            degraded: None,
        }
    }

    /// The same of a backend that is degraded, and why.
    #[must_use]
    pub fn degraded_by(mut self, reason: impl Into<Arc<str>>) -> Self {
        self.degraded = Some(reason.into());
        self
    }
}

/// A key encryption key with versions, one of which is current.
///
/// # Contract
/// * Every method may be called concurrently, and any future may be dropped at any point: no call leaves
///   a trace that a later call could stumble over.
/// * `wrap` is not idempotent (each call gives another ciphertext), but harmless to repeat.
/// * `unwrap` finds its key by the key id alone. It never tries keys in turn, and never falls back.
/// * A key id is stable, public, equal on all replicas, at most [`KeyId::MAX_OWN_LEN`] bytes, and never used
///   for another key. Versions only go forward.
///
/// The suite in `conformance` (feature `testing`) checks this for any implementation.
#[async_trait::async_trait]
pub trait KeyEncryptionKey: fmt::Debug + Send + Sync {
    /// Encrypts a short secret under the current version and binds it to `aad`.
    ///
    /// Ciphertext and key id come from the same backend answer, so they cannot disagree.
    ///
    /// # Errors
    /// [`KekErrorKind::Misuse`] if `plaintext` is empty or longer than [`MAX_PLAINTEXT_LEN`], otherwise what the backend reports.
    async fn wrap(&self, plaintext: &[u8], aad: Aad<'_>) -> Result<WrappedKey, KekError>;

    /// Decrypts what `wrap` made under any version that is still alive.
    ///
    /// # Errors
    /// [`KekErrorKind::UnknownKey`] for a key id that is not ours or was retired, [`KekErrorKind::Malformed`] for bytes that no
    /// version of this backend wrote, [`KekErrorKind::Authentication`] if they were changed or `aad` is another.
    async fn unwrap(&self, wrapped: &WrappedKey, aad: Aad<'_>) -> Result<SecretBytes, KekError>;

    /// Moves a wrapped key to the current version; `None` if it is there already.
    ///
    /// A backend that can do this without revealing the secret overrides the default.
    ///
    /// # Errors
    /// As [`unwrap`](Self::unwrap) and [`wrap`](Self::wrap).
    async fn rewrap(
        &self,
        wrapped: &WrappedKey,
        aad: Aad<'_>,
    ) -> Result<Option<WrappedKey>, KekError> {
        let secret = self.unwrap(wrapped, aad).await?;
        if self.status()?.key_id == wrapped.key_id {
            return Ok(None);
        }
        self.wrap(secret.expose(), aad).await.map(Some)
    }

    /// The current key id, from cached knowledge: costs no backend call and never blocks.
    ///
    /// A backend that cannot be reached may go on to give the status it had, for a bounded time and marked as
    /// [degraded](KekStatus::degraded), so that callers who need no `wrap` and have what they unwrapped go on too.
    ///
    /// # Errors
    /// The reason why `wrap` or `unwrap` could not work now.
    fn status(&self) -> Result<KekStatus, KekError>;
}

/// Refuses what no backend wraps, with the words that all backends share.
///
/// # Errors
/// [`KekError::Misuse`] if `plaintext` is empty or longer than [`MAX_PLAINTEXT_LEN`].
pub const fn check_plaintext(plaintext: &[u8]) -> Result<(), KekError> {
    match plaintext.len() {
        0 => Err(KekError::Misuse("the secret to wrap is empty")),
        1..=MAX_PLAINTEXT_LEN => Ok(()),
        _ => Err(KekError::Misuse(
            "the secret to wrap is longer than 256 bytes",
        )),
    }
}
