//! AES-GCM by `aws-lc-rs`.

use aws_lc_rs::aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, UnboundKey};
use core::fmt;

use super::{InvalidKeyLength, MessageTooLong, Nonce, Tag, Unauthentic, check_len};

/// AES-GCM with a 128, 192 or 256-bit key; the key schedule is wiped on drop.
pub(crate) struct AesGcm(LessSafeKey);

impl AesGcm {
    pub(crate) fn new(key: &[u8]) -> Result<Self, InvalidKeyLength> {
        let algorithm = match key.len() {
            16 => &AES_128_GCM,
            24 => &AES_192_GCM,
            _ => &AES_256_GCM,
        };
        UnboundKey::new(algorithm, key)
            .map(|key| Self(LessSafeKey::new(key)))
            .map_err(|_| InvalidKeyLength)
    }

    /// AES-256-GCM, which cannot have a wrong key length.
    pub(crate) fn new_256(key: &[u8; 32]) -> Self {
        Self::new(key).expect("32 bytes are a key of AES-256")
    }

    pub(crate) fn seal_in_place(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        message: &mut [u8],
    ) -> Result<Tag, MessageTooLong> {
        check_len(message)?;
        let nonce = aws_lc_rs::aead::Nonce::assume_unique_for_key(*nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(aad), message)
            .map_err(|_| MessageTooLong)?;
        Tag::try_from(tag.as_ref()).map_err(|_| MessageTooLong)
    }

    /// Decrypts `message` in place; after an error its content is unspecified and must not be used.
    pub(crate) fn open_in_place(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        message: &mut [u8],
        tag: &Tag,
    ) -> Result<(), Unauthentic> {
        let nonce = aws_lc_rs::aead::Nonce::assume_unique_for_key(*nonce);
        self.0
            .open_in_place_separate_tag(nonce, Aad::from(aad), tag, message)
            .map(|_| ())
            .map_err(|_| Unauthentic)
    }
}

impl fmt::Debug for AesGcm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AesGcm(..)")
    }
}
