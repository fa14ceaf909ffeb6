//! AES-GCM by the `aes-gcm` crate.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::aes::Aes192;
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm as Gcm};
use core::fmt;

use super::{InvalidKeyLength, MessageTooLong, Nonce, Tag, Unauthentic, check_len};

/// AES-GCM with a 128, 192 or 256-bit key; the key schedule is wiped on drop.
pub(crate) enum AesGcm {
    Aes128(Box<Aes128Gcm>),
    Aes192(Box<Gcm<Aes192, aes_gcm::aead::consts::U12>>),
    Aes256(Box<Aes256Gcm>),
}

impl AesGcm {
    pub(crate) fn new(key: &[u8]) -> Result<Self, InvalidKeyLength> {
        match key.len() {
            16 => Aes128Gcm::new_from_slice(key).map(|gcm| Self::Aes128(Box::new(gcm))),
            24 => Gcm::new_from_slice(key).map(|gcm| Self::Aes192(Box::new(gcm))),
            _ => Aes256Gcm::new_from_slice(key).map(|gcm| Self::Aes256(Box::new(gcm))),
        }
        .map_err(|_| InvalidKeyLength)
    }

    /// AES-256-GCM, which cannot have a wrong key length.
    pub(crate) fn new_256(key: &[u8; 32]) -> Self {
        Self::Aes256(Box::new(Aes256Gcm::new(key.into())))
    }

    pub(crate) fn seal_in_place(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        message: &mut [u8],
    ) -> Result<Tag, MessageTooLong> {
        check_len(message)?;
        let nonce = nonce.into();
        match self {
            Self::Aes128(gcm) => gcm.encrypt_inout_detached(nonce, aad, message.into()),
            Self::Aes192(gcm) => gcm.encrypt_inout_detached(nonce, aad, message.into()),
            Self::Aes256(gcm) => gcm.encrypt_inout_detached(nonce, aad, message.into()),
        }
        .map(Into::into)
        .map_err(|_| MessageTooLong)
    }

    /// Decrypts `message` in place once the tag is found right; otherwise leaves it encrypted.
    pub(crate) fn open_in_place(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        message: &mut [u8],
        tag: &Tag,
    ) -> Result<(), Unauthentic> {
        let (nonce, tag) = (nonce.into(), tag.into());
        match self {
            Self::Aes128(gcm) => gcm.decrypt_inout_detached(nonce, aad, message.into(), tag),
            Self::Aes192(gcm) => gcm.decrypt_inout_detached(nonce, aad, message.into(), tag),
            Self::Aes256(gcm) => gcm.decrypt_inout_detached(nonce, aad, message.into(), tag),
        }
        .map_err(|_| Unauthentic)
    }
}

impl fmt::Debug for AesGcm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AesGcm(..)")
    }
}
