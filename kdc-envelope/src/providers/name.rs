//! The name of a local key, which is part of every value it seals.

use core::fmt;

use super::{InvalidKey, OpenError};

/// The `name` of a key in an EncryptionConfiguration: any text but the empty one. It may contain `:`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(Box<str>);

impl KeyName {
    /// Checks `name`.
    ///
    /// # Errors
    /// [`InvalidKey::EmptyName`].
    pub fn new(name: impl Into<Box<str>>) -> Result<Self, InvalidKey> {
        let name = name.into();
        if name.is_empty() {
            return Err(InvalidKey::EmptyName);
        }
        Ok(Self(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Starts a value of the provider with `prefix`; `body_len` bytes will follow.
    pub(super) fn begin(&self, prefix: &[u8], body_len: usize) -> Vec<u8> {
        let mut value = Vec::with_capacity(prefix.len() + self.0.len() + 1 + body_len);
        value.extend_from_slice(prefix);
        value.extend_from_slice(self.0.as_bytes());
        value.push(b':');
        value
    }

    /// What follows `prefix`, this name and a `:`.
    pub(super) fn body<'v>(&self, prefix: &[u8], value: &'v [u8]) -> Result<&'v [u8], OpenError> {
        strip(prefix, &self.0, value).ok_or(OpenError::ForeignPrefix)
    }
}

/// What follows `prefix`, `name` and a `:`.
pub(super) fn strip<'v>(prefix: &[u8], name: &str, value: &'v [u8]) -> Option<&'v [u8]> {
    value
        .strip_prefix(prefix)?
        .strip_prefix(name.as_bytes())?
        .strip_prefix(b":")
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
