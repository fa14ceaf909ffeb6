//! The `aesgcm` provider: AES-GCM with a key from the configuration and random nonces.
//!
//! The complete etcd key is the associated data, so a value that is moved does not open. One key should seal no more than
//! 2^32 values (NIST SP 800-38D §8.3), which kube-apiserver does not count.

use core::fmt;

use zeroize::Zeroizing;

use super::{InvalidKey, KeyName, OpenError, SealError};
use crate::SecretBytes;
use crate::aead::{AesGcm, NONCE_LEN, Nonce, TAG_LEN};
use crate::random;

/// What the provider's values begin with, before the name of the key.
pub const PREFIX: &[u8] = b"k8s:enc:aesgcm:v1:";

/// The fewest bytes that a body can have: those of an empty plaintext.
pub(super) const MIN_BODY_LEN: usize = NONCE_LEN + TAG_LEN;

/// A named key of the provider, ready for use.
pub struct Key {
    name: KeyName,
    cipher: AesGcm,
}

impl Key {
    /// Prepares a key.
    ///
    /// # Errors
    /// [`InvalidKey::AesLength`] unless it has 16, 24 or 32 bytes.
    pub fn new(name: KeyName, key: &SecretBytes) -> Result<Self, InvalidKey> {
        let cipher =
            AesGcm::new(key.expose()).map_err(|_| InvalidKey::AesLength(key.expose().len()))?;
        Ok(Self { name, cipher })
    }

    /// The name that its values carry.
    #[must_use]
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// Encrypts what is stored at `etcd_key`.
    ///
    /// # Errors
    /// [`SealError::Random`], or [`SealError::TooLong`] for plaintexts beyond 64 GiB.
    pub fn seal(&self, plaintext: &[u8], etcd_key: &[u8]) -> Result<Vec<u8>, SealError> {
        let nonce: Nonce = random::array()?;
        let mut value = self.name.begin(PREFIX, MIN_BODY_LEN + plaintext.len());
        value.extend_from_slice(&nonce);
        let start = value.len();
        value.extend_from_slice(plaintext);
        let (_, message) = value.split_at_mut(start);
        let tag = self
            .cipher
            .seal_in_place(&nonce, etcd_key, message)
            .map_err(|_| SealError::TooLong)?;
        value.extend_from_slice(&tag);
        Ok(value)
    }

    /// Decrypts the value at `etcd_key`.
    ///
    /// # Errors
    /// [`OpenError::ForeignPrefix`], [`OpenError::Truncated`] or [`OpenError::Authentication`].
    pub fn open(&self, value: &[u8], etcd_key: &[u8]) -> Result<SecretBytes, OpenError> {
        open_body(&self.cipher, self.name.body(PREFIX, value)?, etcd_key)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "aesgcm::Key({:?})", self.name.as_str())
    }
}

/// Opens nonce ‖ ciphertext ‖ tag.
pub(super) fn open_body(
    cipher: &AesGcm,
    body: &[u8],
    etcd_key: &[u8],
) -> Result<SecretBytes, OpenError> {
    let truncated = OpenError::Truncated(body.len());
    let (nonce, sealed) = body.split_first_chunk::<NONCE_LEN>().ok_or(truncated)?;
    let (ciphertext, tag) = sealed.split_last_chunk::<TAG_LEN>().ok_or(truncated)?;
    let mut message = Zeroizing::new(ciphertext.to_vec());
    cipher
        .open_in_place(nonce, etcd_key, &mut message, tag)
        .map_err(|_| OpenError::Authentication)?;
    Ok(SecretBytes::new(core::mem::take(&mut *message)))
}
