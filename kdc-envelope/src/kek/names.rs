//! Newtypes of the byte strings that accompany a wrapped key.

use core::fmt;
use core::num::NonZeroU32;

/// Names one version of one key encryption key.
///
/// Public: it is stored beside every encrypted value and appears in logs. 1 to 1,024 bytes, as KMS v2
/// allows; the ids that backends of this project make have at most [`KeyId::MAX_OWN_LEN`].
///
/// `Display` escapes control characters, because foreign ids come from storage.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(Box<str>);

/// A key id that is empty or too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key id has 1 to 1024 bytes, not {len}")]
#[non_exhaustive]
pub struct InvalidKeyId {
    /// Its length in bytes.
    pub len: usize,
}

impl KeyId {
    /// The longest key id, in bytes, that KMS v2 allows (`validateKeyID` in `k8s.io/apiserver`).
    pub const MAX_LEN: usize = 1024;
    /// The longest key id, in bytes, that a backend of this project makes: it is repeated in every row.
    pub const MAX_OWN_LEN: usize = 64;

    /// Checks the length of `id`.
    ///
    /// # Errors
    /// [`InvalidKeyId`] if it is empty or longer than [`Self::MAX_LEN`].
    pub fn new(id: impl Into<Box<str>>) -> Result<Self, InvalidKeyId> {
        let id = id.into();
        match id.len() {
            1..=Self::MAX_LEN => Ok(Self(id)),
            len => Err(InvalidKeyId { len }),
        }
    }

    /// The id as stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_debug().fmt(f)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// Additional authenticated data: what a wrapped key is bound to. Not secret, not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aad<'a>(&'a [u8]);

impl<'a> Aad<'a> {
    /// Binds to nothing.
    pub const EMPTY: Aad<'static> = Aad(b"");

    /// Binds to `bytes`; whoever unwraps must present the same.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

/// The version in a key id that a backend of this project made: N of `local-vN-…` or `bao-vN-…`.
pub(crate) fn version_in_key_id(key_id: &str) -> Option<u32> {
    let rest = key_id
        .strip_prefix("local-v")
        .or_else(|| key_id.strip_prefix("bao-v"))?;
    let (version, _) = rest.split_once('-')?;
    version_number(version.as_bytes()).map(NonZeroU32::get)
}

/// A version from 1 to 4294967295 in decimal digits, without a sign or leading zeros, which `parse` alone would take.
pub(super) fn version_number(digits: &[u8]) -> Option<NonZeroU32> {
    if !matches!(digits.first(), Some(b'1'..=b'9')) {
        return None;
    }
    core::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_limits_are_those_of_kms_v2() {
        assert_eq!(KeyId::new(""), Err(InvalidKeyId { len: 0 }));
        assert!(KeyId::new("k").is_ok());
        assert!(KeyId::new("k".repeat(1024)).is_ok());
        assert_eq!(
            KeyId::new("k".repeat(1025)),
            Err(InvalidKeyId { len: 1025 })
        );
    }

    #[test]
    fn foreign_ids_cannot_break_a_log_line() {
        let id = KeyId::new("a\nlevel=INFO \u{1b}[31m").unwrap();
        assert_eq!(id.to_string(), "a\\nlevel=INFO \\u{1b}[31m");
    }

    #[test]
    fn versions_are_read_as_they_are_written() {
        assert_eq!(version_in_key_id("local-v3-0123456789"), Some(3));
        assert_eq!(version_in_key_id("bao-v70-c6712a48"), Some(70));
        for wrong in [
            "local-v3",
            "local-v03-0123",
            "local-v+3-0123",
            "bao-v0-0123",
            "bao-v4294967296-0123",
            "other-v3-0123",
        ] {
            assert_eq!(version_in_key_id(wrong), None, "{wrong}");
        }
    }
}
