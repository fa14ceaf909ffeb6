//! From a row to its plaintext.

use core::fmt;

use hkdf::Hkdf;
use sha2::Sha256;

use super::{DekSourceType, EncryptedObject, OpenError, SEED_LEN, SealError};
use crate::aead::{AesGcm, NONCE_LEN, TAG_LEN};
use crate::random;
use crate::{Key256, SecretBytes};

/// Length of the random `info` before the nonce of a type 1 row (`infoSizeExtendedNonceGCM` upstream).
pub(super) const INFO_LEN: usize = 32;

/// The secret of one kube-apiserver process under one key id, from which the key of every row is derived.
///
/// Derivation: HKDF-Expand with HMAC-SHA-256 (RFC 5869 §2.3), the seed as PRK, 32 random bytes as `info`. The
/// HMAC state is kept, so a row costs two compressions.
pub struct Seed {
    prk: Hkdf<Sha256>,
    secret: SecretBytes,
}

impl Seed {
    /// A fresh seed of [`SEED_LEN`] bytes.
    ///
    /// # Errors
    /// [`SealError::Random`] if no random bytes can be had.
    pub fn random() -> Result<Self, SealError> {
        let bytes: [u8; SEED_LEN] = random::array()?;
        Self::from_secret(SecretBytes::new(bytes.to_vec()))
            .map_err(|_| SealError::Random(random::RandomError))
    }

    /// The seed that a plugin unwrapped; at least [`SEED_LEN`] bytes, as upstream reads it.
    ///
    /// # Errors
    /// [`OpenError::DekSourceLength`] if it is shorter.
    pub fn from_secret(secret: SecretBytes) -> Result<Self, OpenError> {
        let wrong_length = OpenError::DekSourceLength(secret.expose().len());
        if secret.expose().len() < SEED_LEN {
            return Err(wrong_length);
        }
        let prk = Hkdf::from_prk(secret.expose()).map_err(|_| wrong_length)?;
        Ok(Self { prk, secret })
    }

    /// The bytes to have wrapped.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.secret.expose()
    }

    /// The key of the row with this `info`.
    pub(super) fn row_key(&self, info: &[u8; INFO_LEN]) -> AesGcm {
        let mut key = zeroize::Zeroizing::new([0; Key256::LEN]);
        // Expand refuses only more than 255 blocks; this is one.
        let expanded = self.prk.expand(info, key.as_mut());
        debug_assert!(expanded.is_ok(), "one block is within RFC 5869's limit");
        AesGcm::new_256(&key)
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// What opens rows of one wrapped key: the unwrapped bytes, ready for use. Keep it for all rows that share them.
#[derive(Debug)]
pub struct DekSource(Source);

#[derive(Debug)]
enum Source {
    Key(AesGcm),
    Seed(Seed),
}

impl DekSource {
    /// Prepares what a plugin unwrapped.
    ///
    /// # Errors
    /// [`OpenError::DekSourceLength`] unless the secret has 16, 24 or 32 bytes (type 0), or at least 32 (type 1).
    pub fn new(dek_source_type: DekSourceType, secret: SecretBytes) -> Result<Self, OpenError> {
        match dek_source_type {
            DekSourceType::AesGcmKey => AesGcm::new(secret.expose())
                .map(|key| Self(Source::Key(key)))
                .map_err(|_| OpenError::DekSourceLength(secret.expose().len())),
            DekSourceType::HkdfSha256XnonceAesGcmSeed => {
                Seed::from_secret(secret).map(|seed| Self(Source::Seed(seed)))
            }
        }
    }

    /// Decrypts the row at `etcd_key`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        &self,
        object: &EncryptedObject<'_>,
        etcd_key: &[u8],
    ) -> Result<SecretBytes, OpenError> {
        let mut plaintext = Vec::new();
        self.open_into(object, etcd_key, &mut plaintext)?;
        Ok(SecretBytes::new(plaintext))
    }

    /// As [`open`](Self::open), into a buffer that the caller keeps for the next row, and wipes in the end.
    ///
    /// # Errors
    /// [`OpenError`]; the buffer is then empty.
    pub fn open_into(
        &self,
        object: &EncryptedObject<'_>,
        etcd_key: &[u8],
        plaintext: &mut Vec<u8>,
    ) -> Result<(), OpenError> {
        let truncated = OpenError::Truncated(object.encrypted_data.len());
        let row_key;
        let (key, sealed) = match &self.0 {
            Source::Key(key) => (key, object.encrypted_data),
            Source::Seed(seed) => {
                let (info, sealed) = object.encrypted_data.split_first_chunk().ok_or(truncated)?;
                row_key = seed.row_key(info);
                (&row_key, sealed)
            }
        };
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(truncated)?;
        let (ciphertext, tag) = sealed.split_last_chunk::<TAG_LEN>().ok_or(truncated)?;
        plaintext.clear();
        plaintext.extend_from_slice(ciphertext);
        key.open_in_place(nonce, etcd_key, plaintext, tag)
            .map_err(|_| {
                plaintext.clear();
                OpenError::Authentication
            })
    }
}
