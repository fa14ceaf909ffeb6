//! Errors by direction: reading a row's frame, opening it, sealing it.

use crate::kek::{InvalidAnnotation, MAX_WRAPPED_LEN};
use crate::random::RandomError;

/// The bytes are not a KMS v2 row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// They do not begin with [`PREFIX`](super::PREFIX).
    #[error("the value does not begin with `k8s:enc:kms:v2:`")]
    ForeignPrefix,
    /// No `:` ends the provider name, or the name is empty.
    #[error("no provider name follows `k8s:enc:kms:v2:`")]
    ProviderName,
    /// The protobuf message does not decode.
    #[error("malformed EncryptedObject: {field} at byte {offset} of the value")]
    Malformed {
        /// The field in question, or what was expected.
        field: &'static str,
        /// Its place in the value, in bytes from the start of the prefix.
        offset: usize,
    },
    /// The message decodes, but kube-apiserver refuses what it says.
    #[error(transparent)]
    Invalid(#[from] InvalidObject),
}

/// An `EncryptedObject` that kube-apiserver refuses, on reading as on writing (`ValidateEncryptedObject`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidObject {
    /// Neither of the two defined types.
    #[error("unknown encryptedDEKSourceType {0}")]
    DekSourceType(i32),
    /// There is nothing to decrypt.
    #[error("encryptedData is empty")]
    EmptyData,
    /// The wrapped key is empty or too long.
    #[error("encryptedDEKSource has {0} bytes; 1 to {MAX_WRAPPED_LEN} are allowed")]
    DekSourceLength(usize),
    /// The key id is empty or too long.
    #[error("keyID has {0} bytes; 1 to 1024 are allowed")]
    KeyIdLength(usize),
    /// An annotation breaks the rules.
    #[error(transparent)]
    Annotation(#[from] InvalidAnnotation),
}

/// A row whose frame is fine does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The unwrapped seed or key has a length that its type does not allow.
    #[error("the unwrapped DEK source has {0} bytes, which does not fit its type")]
    DekSourceLength(usize),
    /// `encryptedData` is shorter than its fixed parts.
    #[error("encryptedData has {0} bytes, too few for its fixed parts")]
    Truncated(usize),
    /// Wrong key, another etcd key, or changed bytes. Deliberately says no more.
    #[error("the value does not authenticate under this key and etcd key")]
    Authentication,
}

/// A row cannot be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The plaintext is longer than one AES-GCM message may be.
    #[error("the plaintext is longer than AES-GCM allows")]
    TooLong,
    /// All counter nonces of a legacy key are used.
    #[error("all nonces of the key are used; take a new key")]
    Exhausted,
    /// No random bytes could be had.
    #[error(transparent)]
    Random(#[from] RandomError),
}
