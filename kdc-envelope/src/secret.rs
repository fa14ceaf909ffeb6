//! Byte strings that must not leak.
//!
//! Every secret of the project is one of these types: wiped when dropped, without `Clone`,
//! and with a `Debug` that prints lengths only.

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::random;

/// A secret of any length, such as an unwrapped KMS v2 seed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes ownership of `bytes`; they are wiped when the value is dropped.
    #[must_use]
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The secret itself. Copies made from it are the caller's to wipe.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.0.len())
    }
}

/// A 256-bit symmetric key: a data encryption key, a KEK version, a root secret.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Key256([u8; Self::LEN]);

impl Key256 {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// A fresh key from the kernel's random number generator.
    ///
    /// # Errors
    /// [`random::RandomError`] if the kernel cannot deliver random bytes.
    pub fn random() -> Result<Self, random::RandomError> {
        let mut key = Self([0; Self::LEN]);
        random::fill(&mut key.0)?;
        Ok(key)
    }

    /// Takes over an existing key.
    #[must_use]
    pub const fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The key in `bytes`, or `None` unless they are exactly 32.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The secret itself. Copies made from it are the caller's to wipe.
    #[must_use]
    pub const fn expose(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for Key256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key256(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_content() {
        let shown = format!(
            "{:?} {:?}",
            SecretBytes::new(b"seed".to_vec()),
            Key256::new([7; 32])
        );
        assert_eq!(shown, "SecretBytes(4 bytes) Key256(..)");
    }

    #[test]
    fn random_keys_differ() {
        assert_ne!(
            Key256::random().unwrap().expose(),
            Key256::random().unwrap().expose()
        );
    }

    #[test]
    fn a_key_is_exactly_32_bytes() {
        assert!(Key256::from_slice(&[0; 31]).is_none());
        assert!(Key256::from_slice(&[0; 33]).is_none());
        assert!(Key256::from_slice(&[0; 32]).is_some());
    }
}
