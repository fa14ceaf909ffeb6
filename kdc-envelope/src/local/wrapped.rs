//! A key wrapped by a local KEK, format 1.
//!
//! ```text
//! 0x01 ‖ length of key id (1) ‖ key id ‖ salt (16) ‖ nonce (12) ‖ ciphertext ‖ tag (16)
//! ```
//!
//! AES-256-GCM under `HKDF-Expand(version, "…wrap v1" ‖ salt)`. Its associated data is everything before the salt followed by
//! the caller's AAD; the first part tells its own length, so the two cannot run into each other. How the nonce is made is in
//! [`nonce`](super::nonce).

use super::nonce::Nonces;
use super::schedule::{self, SALT_LEN};
use crate::aead::{AesGcm, NONCE_LEN, Nonce, TAG_LEN};
use crate::kek::MAX_PLAINTEXT_LEN;
use crate::reader::{ReadError, Reader};
use crate::{Aad, KekError, Key256, KeyId, SecretBytes};

const FORMAT: u8 = 1;

/// What wraps under one version and one salt.
#[derive(Debug)]
pub(super) struct Writer {
    /// What every wrapped key begins with.
    header: Vec<u8>,
    salt: [u8; SALT_LEN],
    key: AesGcm,
    nonces: Nonces,
}

impl Writer {
    /// Under the key of the version with this id. The salt is random, and no other writer has it.
    pub(super) fn new(key_id: &KeyId, version: &Key256, salt: [u8; SALT_LEN]) -> Self {
        Self {
            header: header(key_id),
            key: schedule::wrapping_key(version, &salt),
            nonces: Nonces::new(&schedule::nonce_key(version, &salt)),
            salt,
        }
    }

    /// The key that opens what has this salt, if that is the writer's own.
    pub(super) fn key_for(&self, salt: &[u8; SALT_LEN]) -> Option<&AesGcm> {
        (*salt == self.salt).then_some(&self.key)
    }

    /// Encrypts `plaintext` as the message with the number `count`, which no other message of this writer has.
    pub(super) fn seal(
        &self,
        count: u64,
        plaintext: &[u8],
        aad: Aad<'_>,
    ) -> Result<Vec<u8>, KekError> {
        let nonce = self.nonces.nonce(count, aad, plaintext);
        let len = self.header.len() + SALT_LEN + NONCE_LEN + plaintext.len() + TAG_LEN;
        let mut wrapped = Vec::with_capacity(len);
        wrapped.extend_from_slice(&self.header);
        wrapped.extend_from_slice(&self.salt);
        wrapped.extend_from_slice(&nonce);
        let start = wrapped.len();
        wrapped.extend_from_slice(plaintext);
        let (_, message) = wrapped.split_at_mut(start);
        let tag = self
            .key
            .seal_in_place(&nonce, &associated(&self.header, aad), message)
            .map_err(|_| KekError::Misuse("the secret to wrap is too long"))?;
        wrapped.extend_from_slice(&tag);
        Ok(wrapped)
    }
}

/// A parsed wrapped key; borrows all of it.
#[derive(Debug)]
pub(super) struct Wrapped<'a> {
    key_id: &'a [u8],
    salt: &'a [u8; SALT_LEN],
    nonce: &'a Nonce,
    ciphertext: &'a [u8],
    tag: &'a [u8; TAG_LEN],
}

impl<'a> Wrapped<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, KekError> {
        let malformed = |field| move |ReadError { offset }| KekError::Malformed { field, offset };
        let mut reader = Reader::new(bytes);
        if reader.u8().map_err(malformed("format"))? != FORMAT {
            return Err(malformed("format")(ReadError { offset: 0 }));
        }
        let len = reader.u8().map_err(malformed("length of key id"))?;
        let key_id = reader.take(len.into()).map_err(malformed("key id"))?;
        let salt = reader.array().map_err(malformed("salt"))?;
        let nonce = reader.array().map_err(malformed("nonce"))?;
        let offset = reader.offset();
        let (ciphertext, tag) = reader
            .remaining()
            .split_last_chunk()
            .filter(|(ciphertext, _)| (1..=MAX_PLAINTEXT_LEN).contains(&ciphertext.len()))
            .ok_or(KekError::Malformed {
                field: "ciphertext and tag",
                offset,
            })?;
        Ok(Self {
            key_id,
            salt,
            nonce,
            ciphertext,
            tag,
        })
    }

    /// What the key was derived for, beside the version.
    pub(super) const fn salt(&self) -> &'a [u8; SALT_LEN] {
        self.salt
    }

    /// Decrypts with the key of the version that `key_id` names, derived for [`salt`](Self::salt).
    pub(super) fn open(
        &self,
        key_id: &KeyId,
        key: &AesGcm,
        aad: Aad<'_>,
    ) -> Result<SecretBytes, KekError> {
        if self.key_id != key_id.as_str().as_bytes() {
            return Err(KekError::Malformed {
                field: "key id, which is not the one given beside it",
                offset: 2,
            });
        }
        let mut plaintext = self.ciphertext.to_vec();
        key.open_in_place(
            self.nonce,
            &associated(&header(key_id), aad),
            &mut plaintext,
            self.tag,
        )
        .map_err(|_| KekError::Authentication)?;
        Ok(SecretBytes::new(plaintext))
    }
}

fn header(key_id: &KeyId) -> Vec<u8> {
    let id = key_id.as_str().as_bytes();
    // Own key ids have at most 64 bytes.
    let len = u8::try_from(id.len()).unwrap_or(u8::MAX);
    [&[FORMAT, len], id].concat()
}

fn associated(header: &[u8], aad: Aad<'_>) -> Vec<u8> {
    [header, aad.as_bytes()].concat()
}
