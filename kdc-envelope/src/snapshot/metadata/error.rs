//! Why metadata cannot be used.

/// The longest metadata that is read, in bytes.
pub const MAX_METADATA_LEN: usize = 1 << 20;

/// Metadata cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// Not JSON, a field is missing, or one has the wrong type.
    #[error("metadata.json is malformed")]
    Json(#[source] serde_json::Error),
    /// Longer than [`MAX_METADATA_LEN`].
    #[error("metadata.json has more than {MAX_METADATA_LEN} bytes")]
    TooLong,
    /// A format of a later release.
    #[error(
        "metadata.json has schemaVersion {0}, which this release does not know; use a newer one"
    )]
    UnknownSchema(u64),
    /// A field has a value that cannot be, or contradicts another.
    #[error("{field} in metadata.json {reason}")]
    Field {
        /// Its name in the JSON.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// It was changed after the snapshot was sealed, or belongs to another one.
    #[error("metadata.json was changed, or belongs to another snapshot")]
    Mac,
}

impl MetadataError {
    pub(super) fn field(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Field {
            field,
            reason: reason.into(),
        }
    }
}

/// The SHA-256 in a field of the JSON.
pub(super) fn parse_sha256(field: &'static str, text: &str) -> Result<[u8; 32], MetadataError> {
    let mut digest = [0; 32];
    match hex::decode_to_slice(text, &mut digest) {
        Ok(()) => Ok(digest),
        Err(_) => Err(MetadataError::field(field, "is not a SHA-256 in hex")),
    }
}
