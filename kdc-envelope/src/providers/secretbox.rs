//! The `secretbox` provider: XSalsa20-Poly1305 with a key from the configuration and random nonces.
//!
//! Nonces of 192 bits may be random for any number of values. There is no associated data, so a value that is moved to
//! another etcd key opens there.
//!
//! NaCl's construction: the first 32 bytes of the XSalsa20 keystream are the Poly1305 key, the next ones encrypt, and the
//! tag covers the ciphertext (D. J. Bernstein, "Cryptography in NaCl", 2009).

use core::fmt;

use ctutils::CtEq;
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit;
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use zeroize::Zeroizing;

use super::{InvalidKey, KeyName, OpenError, SealError};
use crate::random;
use crate::{Key256, SecretBytes};

/// What the provider's values begin with, before the name of the key.
pub const PREFIX: &[u8] = b"k8s:enc:secretbox:v1:";

const NONCE_LEN: usize = 24;
const TAG_LEN: usize = 16;

/// The fewest bytes that a body can have: those of an empty plaintext.
pub(super) const MIN_BODY_LEN: usize = NONCE_LEN + TAG_LEN;

/// A named key of the provider.
pub struct Key {
    name: KeyName,
    key: Key256,
}

impl Key {
    /// Takes over a key.
    ///
    /// # Errors
    /// [`InvalidKey::SecretboxLength`] unless it has 32 bytes.
    pub fn new(name: KeyName, key: &SecretBytes) -> Result<Self, InvalidKey> {
        let key = Key256::from_slice(key.expose())
            .ok_or_else(|| InvalidKey::SecretboxLength(key.expose().len()))?;
        Ok(Self { name, key })
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
        let nonce: [u8; NONCE_LEN] = random::array()?;
        let mut value = self.name.begin(PREFIX, MIN_BODY_LEN + plaintext.len());
        value.extend_from_slice(&nonce);
        let tag_start = value.len();
        value.resize(tag_start + TAG_LEN, 0);
        value.extend_from_slice(plaintext);
        let (_, body) = value.split_at_mut(tag_start);
        let (tag, message) = body.split_at_mut(TAG_LEN);
        let (authenticator, mut stream) = start(&self.key, &nonce);
        stream
            .try_apply_keystream(message)
            .map_err(|_| SealError::TooLong)?;
        tag.copy_from_slice(&authenticator.compute_unpadded(message));
        Ok(value)
    }

    /// Decrypts a value.
    ///
    /// # Errors
    /// [`OpenError::ForeignPrefix`], [`OpenError::Truncated`] or [`OpenError::Authentication`].
    pub fn open(&self, value: &[u8]) -> Result<SecretBytes, OpenError> {
        let body = self.name.body(PREFIX, value)?;
        let truncated = OpenError::Truncated(body.len());
        let (nonce, sealed) = body.split_first_chunk().ok_or(truncated)?;
        let (tag, ciphertext) = sealed.split_first_chunk::<TAG_LEN>().ok_or(truncated)?;
        let (authenticator, mut stream) = start(&self.key, nonce);
        let expected: [u8; TAG_LEN] = authenticator.compute_unpadded(ciphertext).into();
        if !expected.ct_eq(tag).to_bool() {
            return Err(OpenError::Authentication);
        }
        let mut message = Zeroizing::new(ciphertext.to_vec());
        stream
            .try_apply_keystream(&mut message)
            .map_err(|_| OpenError::Authentication)?;
        Ok(SecretBytes::new(core::mem::take(&mut *message)))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "secretbox::Key({:?})", self.name.as_str())
    }
}

/// The authenticator of one message, and its keystream after the 32 bytes that key the authenticator.
fn start(key: &Key256, nonce: &[u8; NONCE_LEN]) -> (Poly1305, XSalsa20) {
    let mut stream = XSalsa20::new(key.expose().into(), nonce.into());
    let mut authenticator_key = Zeroizing::new([0; 32]);
    stream.apply_keystream(authenticator_key.as_mut());
    (Poly1305::new((&*authenticator_key).into()), stream)
}
