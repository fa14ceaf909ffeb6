//! A whole row: prefix, provider name, message.

use core::fmt;

use super::{EncryptedObject, PREFIX, ParseError, wire};

/// The name of a KMS provider as its EncryptionConfiguration gives it: not empty, no `:`.
///
/// Source: `validateKMSProviderName` in `k8s.io/apiserver/pkg/apis/apiserver/validation`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProviderName(Box<str>);

impl ProviderName {
    /// Checks `name`.
    ///
    /// # Errors
    /// [`ParseError::ProviderName`] if it is empty or contains `:`.
    pub fn new(name: impl Into<Box<str>>) -> Result<Self, ParseError> {
        let name = name.into();
        if name.is_empty() || name.contains(':') {
            return Err(ParseError::ProviderName);
        }
        Ok(Self(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A borrowed view of a KMS v2 row.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Value<'a> {
    /// The provider name as stored; any bytes but `:`.
    pub provider: &'a [u8],
    /// The message after it.
    pub object: EncryptedObject<'a>,
}

impl<'a> Value<'a> {
    /// Parses and validates a row as kube-apiserver does before it decrypts. Copies nothing but the list of annotations.
    ///
    /// # Errors
    /// [`ParseError`] naming the first thing that kube-apiserver would refuse.
    pub fn parse(value: &'a [u8]) -> Result<Self, ParseError> {
        let rest = value
            .strip_prefix(PREFIX)
            .ok_or(ParseError::ForeignPrefix)?;
        let end = rest
            .iter()
            .position(|byte| *byte == b':')
            .filter(|end| *end > 0)
            .ok_or(ParseError::ProviderName)?;
        let (provider, message) = rest.split_at(end);
        let message = message.strip_prefix(b":").unwrap_or_default();
        Ok(Self {
            provider,
            object: wire::parse(message, value.len() - message.len())?,
        })
    }
}
