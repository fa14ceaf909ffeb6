//! The `aescbc` provider: AES-CBC with a key from the configuration and random IVs. **Unauthenticated.**
//!
//! Nothing protects these values against change: who can write to etcd can alter the plaintext in known ways, move a value
//! to another etcd key, and learn plaintext from a reader that tells padding errors from others. A wrong key goes
//! unnoticed about once in 256 times. That an opened value looks right proves nothing; move such data to another provider.
//!
//! Padding is taken off as upstream does it: the last byte `n` must be 1 to the length of the data, also more than a block,
//! and the last `n` bytes must all be `n`.

use core::fmt;

use aes::{Aes128, Aes192, Aes256};
use cbc::cipher::array::Array;
use cbc::cipher::consts::U16;
use cbc::cipher::{
    BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, BlockSizeUser,
    InnerIvInit, KeyInit,
};
use zeroize::Zeroizing;

use super::{InvalidKey, KeyName, OpenError, SealError};
use crate::SecretBytes;
use crate::random;

/// What the provider's values begin with, before the name of the key.
pub const PREFIX: &[u8] = b"k8s:enc:aescbc:v1:";

const BLOCK_LEN: usize = 16;

/// The fewest bytes that a body can have: those of an empty plaintext, which is padded to one block.
pub(super) const MIN_BODY_LEN: usize = 2 * BLOCK_LEN;

/// A named key of the provider, ready for use.
pub struct Key {
    name: KeyName,
    cipher: Cipher,
}

impl Key {
    /// Prepares a key.
    ///
    /// # Errors
    /// [`InvalidKey::AesLength`] unless it has 16, 24 or 32 bytes.
    pub fn new(name: KeyName, key: &SecretBytes) -> Result<Self, InvalidKey> {
        let cipher = Cipher::new(key).ok_or_else(|| InvalidKey::AesLength(key.expose().len()))?;
        Ok(Self { name, cipher })
    }

    /// The name that its values carry.
    #[must_use]
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// Encrypts `plaintext`, wherever it is to be stored.
    ///
    /// # Errors
    /// [`SealError::Random`].
    pub fn seal(&self, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        let iv: [u8; BLOCK_LEN] = random::array()?;
        let pad = BLOCK_LEN - plaintext.len() % BLOCK_LEN;
        let mut value = self.name.begin(PREFIX, BLOCK_LEN + plaintext.len() + pad);
        value.extend_from_slice(&iv);
        let start = value.len();
        value.extend_from_slice(plaintext);
        #[expect(clippy::cast_possible_truncation, reason = "at most 16")]
        value.resize(value.len() + pad, pad as u8);
        let (_, message) = value.split_at_mut(start);
        self.cipher.encrypt(&iv, message);
        Ok(value)
    }

    /// Decrypts a value. Success does not mean that the value is genuine: see the module.
    ///
    /// # Errors
    /// [`OpenError::ForeignPrefix`], [`OpenError::Truncated`], [`OpenError::PartialBlock`] or [`OpenError::Padding`].
    pub fn open(&self, value: &[u8]) -> Result<SecretBytes, OpenError> {
        open_body(&self.cipher, self.name.body(PREFIX, value)?)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "aescbc::Key({:?})", self.name.as_str())
    }
}

/// AES by key length; the key schedules are wiped on drop.
pub(super) enum Cipher {
    Aes128(Box<Aes128>),
    Aes192(Box<Aes192>),
    Aes256(Box<Aes256>),
}

impl Cipher {
    pub(super) fn new(key: &SecretBytes) -> Option<Self> {
        let key = key.expose();
        match key.len() {
            16 => Aes128::new_from_slice(key).map(|aes| Self::Aes128(Box::new(aes))),
            24 => Aes192::new_from_slice(key).map(|aes| Self::Aes192(Box::new(aes))),
            _ => Aes256::new_from_slice(key).map(|aes| Self::Aes256(Box::new(aes))),
        }
        .ok()
    }

    fn encrypt(&self, iv: &[u8; BLOCK_LEN], message: &mut [u8]) {
        match self {
            Self::Aes128(aes) => encrypt(&**aes, iv, message),
            Self::Aes192(aes) => encrypt(&**aes, iv, message),
            Self::Aes256(aes) => encrypt(&**aes, iv, message),
        }
    }

    fn decrypt(&self, iv: &[u8; BLOCK_LEN], message: &mut [u8]) {
        match self {
            Self::Aes128(aes) => decrypt(&**aes, iv, message),
            Self::Aes192(aes) => decrypt(&**aes, iv, message),
            Self::Aes256(aes) => decrypt(&**aes, iv, message),
        }
    }
}

fn encrypt<C>(aes: &C, iv: &[u8; BLOCK_LEN], message: &mut [u8])
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    let (blocks, _) = Array::slice_as_chunks_mut(message);
    cbc::Encryptor::inner_iv_init(aes, iv.into()).encrypt_blocks(blocks);
}

fn decrypt<C>(aes: &C, iv: &[u8; BLOCK_LEN], message: &mut [u8])
where
    C: BlockCipherDecrypt + BlockSizeUser<BlockSize = U16>,
{
    let (blocks, _) = Array::slice_as_chunks_mut(message);
    cbc::Decryptor::inner_iv_init(aes, iv.into()).decrypt_blocks(blocks);
}

/// Opens IV ‖ ciphertext.
pub(super) fn open_body(cipher: &Cipher, body: &[u8]) -> Result<SecretBytes, OpenError> {
    let (iv, ciphertext) = body
        .split_first_chunk()
        .filter(|(_, ciphertext)| !ciphertext.is_empty())
        .ok_or(OpenError::Truncated(body.len()))?;
    if !ciphertext.len().is_multiple_of(BLOCK_LEN) {
        return Err(OpenError::PartialBlock(ciphertext.len()));
    }
    let mut message = Zeroizing::new(ciphertext.to_vec());
    cipher.decrypt(iv, &mut message);
    let len = unpadded_len(&message).ok_or(OpenError::Padding)?;
    message.truncate(len);
    Ok(SecretBytes::new(core::mem::take(&mut *message)))
}

fn unpadded_len(message: &[u8]) -> Option<usize> {
    let pad = *message.last()?;
    let len = message.len().checked_sub(usize::from(pad))?;
    let (_, padding) = message.split_at_checked(len)?;
    (pad > 0 && padding.iter().all(|byte| *byte == pad)).then_some(len)
}
