//! Errors by direction: taking a key, opening a value, sealing one.

use crate::random::RandomError;

/// A key that kube-apiserver would not take from its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKey {
    /// The name is empty.
    #[error("the name of the key is empty")]
    EmptyName,
    /// AES keys have three lengths.
    #[error("the key has {0} bytes; AES takes 16, 24 or 32")]
    AesLength(usize),
    /// Secretbox keys have one.
    #[error("the key has {0} bytes; secretbox takes 32")]
    SecretboxLength(usize),
}

/// A stored value does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The value belongs to another provider or key.
    #[error("the value does not begin with the prefix of this provider and key")]
    ForeignPrefix,
    /// The body is shorter than its fixed parts.
    #[error("the value has {0} bytes after its prefix, too few for its fixed parts")]
    Truncated(usize),
    /// An AES-CBC ciphertext that is no whole number of blocks.
    #[error("the ciphertext has {0} bytes, which is not a multiple of 16")]
    PartialBlock(usize),
    /// The padding of an AES-CBC plaintext is wrong: another key, or changed bytes.
    #[error("the decrypted value is not padded: it has another key, or was changed")]
    Padding,
    /// Wrong key, another etcd key, or changed bytes. Deliberately says no more.
    #[error("the value does not authenticate under this key and etcd key")]
    Authentication,
    /// The identity provider met an encrypted value.
    #[error("the value is encrypted, and the identity provider reads only plain ones")]
    Encrypted,
    /// The DEK that a KMS v1 plugin unwrapped is no AES key.
    #[error("the unwrapped DEK has {0} bytes; AES takes 16, 24 or 32")]
    DekLength(usize),
}

/// A value cannot be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The plaintext is longer than the cipher allows.
    #[error("the plaintext is longer than the cipher allows")]
    TooLong,
    /// No random bytes could be had.
    #[error(transparent)]
    Random(#[from] RandomError),
}
