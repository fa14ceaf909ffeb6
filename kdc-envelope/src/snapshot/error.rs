//! Errors of snapshots by direction.

use std::io;

use super::content::TrailerError;
use super::metadata::MetadataError;
use crate::random::RandomError;

/// A snapshot could not be sealed. What was written of it must be thrown away.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The source failed before its end.
    #[error("cannot read the snapshot")]
    Source(#[source] io::Error),
    /// The destination failed.
    #[error("cannot write the sealed snapshot")]
    Sink(#[source] io::Error),
    /// The source gave nothing.
    #[error("the snapshot is empty")]
    Empty,
    /// The source ended early, or is no snapshot.
    #[error(transparent)]
    Trailer(#[from] TrailerError),
    /// More than the format can hold.
    #[error("the snapshot has more than {limit} bytes, which this format cannot hold")]
    TooLong {
        /// The limit in bytes.
        limit: u64,
    },
    /// The compressor failed, or is not part of this build.
    #[error("cannot compress the snapshot")]
    Compression(#[source] io::Error),
    /// No random bytes could be had.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// A sealed snapshot could not be opened. What was written of it must be thrown away.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The source failed before its end.
    #[error("cannot read the sealed snapshot")]
    Source(#[source] io::Error),
    /// The destination failed.
    #[error("cannot write the snapshot")]
    Sink(#[source] io::Error),
    /// It is no sealed snapshot, or a damaged one.
    #[error("the sealed snapshot is malformed at byte {offset}: {field}")]
    Malformed {
        /// Which part.
        field: &'static str,
        /// Where, in bytes from the start.
        offset: u64,
    },
    /// A format of a later release.
    #[error(
        "the sealed snapshot has version {0}, which this release does not know; use a newer one"
    )]
    UnknownVersion(u8),
    /// A suite or codec of a later release, or one that this build leaves out.
    #[error("the sealed snapshot uses {what} {number}, which this build does not know")]
    Unsupported {
        /// `suite` or `codec`.
        what: &'static str,
        /// The number of the suite or codec in the header.
        number: u8,
    },
    /// It is a snapshot of another cluster, or another snapshot, than the caller expects.
    #[error("{field} of the snapshot is `{found}`, not `{expected}` as was asked for")]
    OtherIdentity {
        /// Which name.
        field: &'static str,
        /// The name in the header, which is authentic only with the DEK.
        found: String,
        /// The name that the caller expects.
        expected: String,
    },
    /// The DEK is not the one that sealed it, or the header was changed. Deliberately says no more.
    #[error("the data key does not belong to this snapshot, or its header was changed")]
    Commitment,
    /// A chunk was changed, moved, cut off or added. Deliberately says no more.
    #[error(
        "the snapshot was changed, cut off or added to at or after byte {offset} of the sealed object"
    )]
    Authentication {
        /// Where the chunk begins that does not authenticate, in bytes from the start of the object.
        offset: u64,
    },
    /// The content is whole as it was sealed, but not what its own checksum says.
    #[error(transparent)]
    Trailer(#[from] TrailerError),
    /// The content is not what the metadata says.
    #[error("the content does not match the {what} in its metadata")]
    Content {
        /// `length` or `SHA-256`.
        what: &'static str,
    },
    /// The compressed content is damaged, or longer than stated.
    #[error("cannot decompress the snapshot")]
    Compression(#[source] io::Error),
    /// The metadata beside it cannot be used.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}
