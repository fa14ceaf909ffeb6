//! Rows of KMS v1 plugins, for reading only: the API is off by default since Kubernetes 1.29.
//!
//! ```text
//! k8s:enc:kms:v1:<provider>: ‖ length(2, big endian) ‖ wrapped DEK ‖ body
//! ```
//!
//! Every row has a DEK of its own. The body is that of [`aesgcm`] under the DEK, or in rows of kube-apiserver 1.24 and
//! older that of [`aescbc`]. Nothing in the row says which, so upstream tries the first and then the second.

use super::name::strip;
use super::{OpenError, aescbc, aesgcm};
use crate::SecretBytes;
use crate::aead::AesGcm;
use crate::reader::Reader;

/// What the rows begin with, before the name of the provider.
pub const PREFIX: &[u8] = b"k8s:enc:kms:v1:";

/// A borrowed view of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Value<'a> {
    /// The name of the provider in the EncryptionConfiguration. It may contain `:`.
    pub provider: &'a str,
    /// The DEK as the plugin wrapped it; upstream sets no limits but the 65,535 bytes of the format.
    pub wrapped_dek: &'a [u8],
    /// Nonce, ciphertext and tag, or IV and ciphertext.
    pub body: &'a [u8],
}

/// The cipher of a row's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BodyCipher {
    /// AES-GCM, written since 1.25.
    AesGcm,
    /// AES-CBC, written until 1.24. **Unauthenticated**; kube-apiserver takes such a row for stale.
    AesCbc,
}

/// An opened row.
#[derive(Debug)]
#[non_exhaustive]
pub struct Opened {
    /// The object.
    pub plaintext: SecretBytes,
    /// What it was encrypted with. Under [`BodyCipher::AesCbc`] success does not mean that the row is genuine: a changed
    /// AES-GCM row, tried as AES-CBC, passes for one about once in 256 times, here as in kube-apiserver.
    pub cipher: BodyCipher,
}

impl<'a> Value<'a> {
    /// Parses a row of the provider with this name.
    ///
    /// # Errors
    /// [`OpenError::ForeignPrefix`], or [`OpenError::Truncated`] if the wrapped DEK does not fit.
    pub fn parse(provider: &'a str, value: &'a [u8]) -> Result<Self, OpenError> {
        let rest = strip(PREFIX, provider, value).ok_or(OpenError::ForeignPrefix)?;
        Self::parse_rest(provider, rest).ok_or(OpenError::Truncated(rest.len()))
    }

    /// Parses what follows the provider's name.
    pub(super) fn parse_rest(provider: &'a str, rest: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(rest);
        let len = reader.u16().ok()?;
        let wrapped_dek = reader.take(usize::from(len)).ok()?;
        Some(Self {
            provider,
            wrapped_dek,
            body: reader.remaining(),
        })
    }

    /// Decrypts the row at `etcd_key` with the DEK that the plugin unwrapped.
    ///
    /// # Errors
    /// [`OpenError::DekLength`] for a DEK that is no AES key, [`OpenError::Truncated`], or [`OpenError::Authentication`] if the
    /// body opens neither way.
    pub fn open(&self, dek: &SecretBytes, etcd_key: &[u8]) -> Result<Opened, OpenError> {
        let wrong_length = OpenError::DekLength(dek.expose().len());
        let gcm = AesGcm::new(dek.expose()).map_err(|_| wrong_length)?;
        let refused = match aesgcm::open_body(&gcm, self.body, etcd_key) {
            Ok(plaintext) => {
                return Ok(Opened {
                    plaintext,
                    cipher: BodyCipher::AesGcm,
                });
            }
            Err(error) => error,
        };
        let cbc = aescbc::Cipher::new(dek).ok_or(wrong_length)?;
        aescbc::open_body(&cbc, self.body)
            .map(|plaintext| Opened {
                plaintext,
                cipher: BodyCipher::AesCbc,
            })
            .map_err(|_| refused)
    }
}
