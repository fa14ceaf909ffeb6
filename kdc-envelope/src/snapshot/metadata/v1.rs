//! Metadata with `schemaVersion` 1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::{MetadataError, parse_sha256};
use super::wrapped_dek::WrappedDek;
use crate::aead::Nonce;

const ALGORITHM: &str = "AES-256-GCM";

/// Metadata of a snapshot of version 1. Nothing in it is authentic but what opening the snapshot shows.
#[derive(Debug, Clone, PartialEq)]
pub struct MetadataV1 {
    wrapped_dek: WrappedDek,
    nonce: Nonce,
    created_at: String,
    source: String,
    sha256: [u8; 32],
    extra: Map<String, Value>,
}

/// As it stands in the JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    schema_version: u8,
    transit_key: String,
    transit_key_version: u32,
    algorithm: String,
    nonce: String,
    wrapped_dek: String,
    created_at: String,
    source: String,
    etcd_snapshot_sha256: String,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

impl MetadataV1 {
    /// Metadata of a snapshot that was just sealed with `nonce`.
    ///
    /// # Errors
    /// [`MetadataError::Field`] unless `wrapped_dek` is of Transit: version 1 knows no other.
    pub fn new(
        wrapped_dek: WrappedDek,
        nonce: Nonce,
        created_at: &str,
        source: &str,
        sha256: [u8; 32],
    ) -> Result<Self, MetadataError> {
        check_kind(&wrapped_dek)?;
        Ok(Self {
            wrapped_dek,
            nonce,
            created_at: created_at.to_owned(),
            source: source.to_owned(),
            sha256,
            extra: Map::new(),
        })
    }

    pub(super) fn parse(json: &[u8]) -> Result<Self, MetadataError> {
        let fields: Fields = serde_json::from_slice(json).map_err(MetadataError::Json)?;
        if fields.algorithm != ALGORITHM {
            return Err(MetadataError::field("algorithm", "is not AES-256-GCM"));
        }
        let nonce = STANDARD
            .decode(&fields.nonce)
            .ok()
            .and_then(|nonce| Nonce::try_from(nonce).ok())
            .ok_or_else(|| MetadataError::field("nonce", "is not 12 bytes in base64"))?;
        let wrapped_dek = WrappedDek::transit(None, &fields.transit_key, &fields.wrapped_dek)?;
        if wrapped_dek.version() != Some(fields.transit_key_version) {
            let reason = "is not the version in wrappedDek";
            return Err(MetadataError::field("transitKeyVersion", reason));
        }
        Ok(Self {
            wrapped_dek,
            nonce,
            created_at: fields.created_at,
            source: fields.source,
            sha256: parse_sha256("etcdSnapshotSha256", &fields.etcd_snapshot_sha256)?,
            extra: fields.extra,
        })
    }

    /// The nonce that the sealed object begins with.
    #[must_use]
    pub const fn nonce(&self) -> Nonce {
        self.nonce
    }

    /// SHA-256 of the snapshot before it was sealed.
    #[must_use]
    pub const fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    pub(super) const fn wrapped_dek(&self) -> &WrappedDek {
        &self.wrapped_dek
    }

    pub(super) fn with_wrapped_dek(mut self, wrapped: WrappedDek) -> Result<Self, MetadataError> {
        check_kind(&wrapped)?;
        self.wrapped_dek = wrapped;
        Ok(self)
    }

    pub(super) fn created_at(&self) -> &str {
        &self.created_at
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }
}

fn check_kind(wrapped: &WrappedDek) -> Result<(), MetadataError> {
    match wrapped {
        WrappedDek::Transit { .. } => Ok(()),
        WrappedDek::KeyId(_) => {
            let reason = "is required by version 1, which has no other kind of key";
            Err(MetadataError::field("transitKey", reason))
        }
    }
}

impl Serialize for MetadataV1 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (key, version) = match &self.wrapped_dek {
            WrappedDek::Transit { key, version, .. } => (key.as_str(), *version),
            WrappedDek::KeyId(_) => {
                let message = "version 1 has no key but of Transit";
                return Err(serde::ser::Error::custom(message));
            }
        };
        Fields {
            schema_version: 1,
            transit_key: key.to_owned(),
            transit_key_version: version,
            algorithm: ALGORITHM.to_owned(),
            nonce: STANDARD.encode(self.nonce),
            wrapped_dek: self.wrapped_dek.text(),
            created_at: self.created_at.clone(),
            source: self.source.clone(),
            etcd_snapshot_sha256: hex::encode(self.sha256),
            extra: self.extra.clone(),
        }
        .serialize(serializer)
    }
}
