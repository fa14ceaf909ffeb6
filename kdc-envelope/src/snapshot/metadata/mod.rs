//! `metadata.json`: where the wrapped DEK lies, and facts about a snapshot for those who have no key.
//!
//! It is a locator, not a root of trust: whoever can write to the bucket can write it. In version 2 a MAC under a key from the DEK covers all
//! but the wrapped DEK, which a rewrap changes; [`Unlocked::check`](super::Unlocked::check) tells whether it may be believed. Fields that this
//! release does not know are kept when it is written again.

mod error;
mod rows;
mod v1;
mod v2;
mod wrapped_dek;

pub use error::{MAX_METADATA_LEN, MetadataError};
pub use rows::{MAX_ROW_GROUPS, RowGroup, RowsInside};
pub use v1::MetadataV1;
pub(super) use v2::Facts;
pub use v2::MetadataV2;
pub use wrapped_dek::WrappedDek;

use serde::Deserialize;

/// Metadata of a snapshot of either version.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Metadata {
    /// `schemaVersion` 1.
    V1(MetadataV1),
    /// `schemaVersion` 2.
    V2(MetadataV2),
}

impl Metadata {
    /// Reads `metadata.json`.
    ///
    /// # Errors
    /// [`MetadataError`], except [`MetadataError::Mac`], which only the DEK can tell.
    pub fn parse(json: &[u8]) -> Result<Self, MetadataError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Schema {
            schema_version: u64,
        }
        if json.len() > MAX_METADATA_LEN {
            return Err(MetadataError::TooLong);
        }
        let schema: Schema = serde_json::from_slice(json).map_err(MetadataError::Json)?;
        match schema.schema_version {
            1 => MetadataV1::parse(json).map(Self::V1),
            2 => MetadataV2::parse(json).map(Self::V2),
            other => Err(MetadataError::UnknownSchema(other)),
        }
    }

    /// As it is written: indented JSON, known fields first.
    #[must_use]
    #[expect(
        clippy::missing_panics_doc,
        reason = "version 1 holds no key but of Transit, and the rest is always JSON"
    )]
    pub fn to_json(&self) -> Vec<u8> {
        let json = match self {
            Self::V1(metadata) => serde_json::to_vec_pretty(metadata),
            Self::V2(metadata) => serde_json::to_vec_pretty(metadata),
        };
        let mut json = json.expect("maps with text keys, numbers and text are JSON");
        json.push(b'\n');
        json
    }

    /// The wrapped DEK.
    #[must_use]
    pub const fn wrapped_dek(&self) -> &WrappedDek {
        match self {
            Self::V1(metadata) => metadata.wrapped_dek(),
            Self::V2(metadata) => metadata.wrapped_dek(),
        }
    }

    /// The same snapshot with its DEK wrapped anew.
    ///
    /// # Errors
    /// [`MetadataError::Field`] for a kind of key that the version does not know.
    pub fn with_wrapped_dek(self, wrapped: WrappedDek) -> Result<Self, MetadataError> {
        Ok(match self {
            Self::V1(metadata) => Self::V1(metadata.with_wrapped_dek(wrapped)?),
            Self::V2(metadata) => Self::V2(metadata.with_wrapped_dek(wrapped)),
        })
    }

    /// When the snapshot was taken, in RFC 3339 as it was written.
    #[must_use]
    pub fn created_at(&self) -> &str {
        match self {
            Self::V1(metadata) => metadata.created_at(),
            Self::V2(metadata) => metadata.created_at(),
        }
    }

    /// Where it was taken from, for people.
    #[must_use]
    pub fn source(&self) -> &str {
        match self {
            Self::V1(metadata) => metadata.source(),
            Self::V2(metadata) => metadata.source(),
        }
    }

    /// SHA-256 of the snapshot as etcd gave it.
    #[must_use]
    pub const fn sha256(&self) -> Option<[u8; 32]> {
        match self {
            Self::V1(metadata) => Some(metadata.sha256()),
            Self::V2(metadata) => metadata.sha256(),
        }
    }

    /// The rows inside by provider and key. `None` if nobody counted them, as in version 1, or if none was found: early releases looked
    /// under `/registry/` alone and wrote down 0 for a snapshot of another prefix, so a count of 0 says nothing.
    #[must_use]
    pub fn rows(&self) -> Option<&RowsInside> {
        match self {
            Self::V1(_) => None,
            Self::V2(metadata) => metadata.rows().filter(|rows| rows.total > 0),
        }
    }
}
