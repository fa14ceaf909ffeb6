//! Errors by direction.

use super::ParseError;
use crate::KekError;
use crate::random::RandomError;

/// Data could not be sealed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The new DEK could not be wrapped.
    #[error("cannot wrap a data encryption key")]
    Kek(#[from] KekError),
    /// The data is longer than one DEK may encrypt.
    #[error(
        "the data has {len} bytes, more than the {limit} that one data encryption key may encrypt"
    )]
    TooLong {
        /// Length of the data in bytes.
        len: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// No random bytes could be had.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// An envelope could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It is no envelope, or a damaged one.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The DEK in the envelope could not be unwrapped.
    #[error("cannot unwrap the data encryption key")]
    Kek(#[from] KekError),
    /// Another context, or changed bytes. Deliberately says no more.
    #[error("the envelope does not authenticate in this context")]
    Authentication,
}

/// An envelope could not be moved to the newest KEK version.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RewrapError {
    /// It is no envelope, or a damaged one.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The DEK in the envelope could not be rewrapped.
    #[error("cannot rewrap the data encryption key")]
    Kek(#[from] KekError),
}
