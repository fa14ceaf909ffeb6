//! The message inside a row and the rules it obeys.

use super::InvalidObject;
use crate::kek::{
    Annotations, InvalidKeyId, KeyId, MAX_WRAPPED_LEN, WrappedKey, check_annotations,
};

/// How the key of a row comes from the unwrapped bytes (`EncryptedDEKSourceType` in upstream's `api.proto`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DekSourceType {
    /// `AES_GCM_KEY` = 0: they are the AES key.
    AesGcmKey,
    /// `HKDF_SHA256_XNONCE_AES_GCM_SEED` = 1: they are the seed of a derivation.
    HkdfSha256XnonceAesGcmSeed,
}

impl DekSourceType {
    /// The name in upstream's `api.proto`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AesGcmKey => "AES_GCM_KEY",
            Self::HkdfSha256XnonceAesGcmSeed => "HKDF_SHA256_XNONCE_AES_GCM_SEED",
        }
    }

    pub(super) const fn number(self) -> u8 {
        match self {
            Self::AesGcmKey => 0,
            Self::HkdfSha256XnonceAesGcmSeed => 1,
        }
    }

    pub(super) const fn from_number(number: i32) -> Result<Self, InvalidObject> {
        match number {
            0 => Ok(Self::AesGcmKey),
            1 => Ok(Self::HkdfSha256XnonceAesGcmSeed),
            other => Err(InvalidObject::DekSourceType(other)),
        }
    }
}

/// A borrowed view of the `EncryptedObject` in a row, already validated.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncryptedObject<'a> {
    /// Field 1: nonces, ciphertext and tag, laid out by [`DekSourceType`].
    pub encrypted_data: &'a [u8],
    /// Field 2: the key id that the plugin answered with.
    pub key_id: &'a str,
    /// Field 3: the seed or key as the plugin wrapped it.
    pub encrypted_dek_source: &'a [u8],
    /// Field 4: the plugin's annotations, ordered by key.
    pub annotations: Vec<(&'a str, &'a [u8])>,
    /// Field 5.
    pub dek_source_type: DekSourceType,
}

impl EncryptedObject<'_> {
    /// The wrapped seed with all that the plugin wants back to unwrap it.
    ///
    /// # Errors
    /// Never for a parsed object: its fields obey the same limits.
    pub fn wrapped_key(&self) -> Result<WrappedKey, InvalidObject> {
        let key_id = KeyId::new(self.key_id)
            .map_err(|InvalidKeyId { len }| InvalidObject::KeyIdLength(len))?;
        let annotations = Annotations::try_from_iter(self.annotations.iter().copied())?;
        Ok(WrappedKey::new(key_id, self.encrypted_dek_source.to_vec())
            .with_annotations(annotations))
    }
}

/// The checks of `ValidateEncryptedObject`, in its order.
pub(super) fn validate(object: &EncryptedObject<'_>) -> Result<(), InvalidObject> {
    if object.encrypted_data.is_empty() {
        return Err(InvalidObject::EmptyData);
    }
    validate_wrapped(
        object.encrypted_dek_source,
        object.key_id,
        object.annotations.iter().copied(),
    )
}

/// The checks on what the plugin answered, before there is any data.
pub(super) fn validate_wrapped<'a>(
    encrypted_dek_source: &[u8],
    key_id: &str,
    annotations: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> Result<(), InvalidObject> {
    if !(1..=MAX_WRAPPED_LEN).contains(&encrypted_dek_source.len()) {
        return Err(InvalidObject::DekSourceLength(encrypted_dek_source.len()));
    }
    if !(1..=KeyId::MAX_LEN).contains(&key_id.len()) {
        return Err(InvalidObject::KeyIdLength(key_id.len()));
    }
    Ok(check_annotations(annotations)?)
}
