//! Metadata with `schemaVersion` 2.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::Sha256;

use super::error::{MetadataError, parse_sha256};
use super::rows::RowsInside;
use super::wrapped_dek::{KekFields, WrappedDek};
use crate::Key256;
use crate::snapshot::codec::Codec;
use crate::snapshot::identity::Identity;

const ALGORITHM: &str = "AES-256-GCM";
const MAC_LABEL: &str = "kdc-envelope snapshot v2 metadata";
const MAC_LEN: usize = 32;

/// Metadata of a snapshot of version 2: [`Sealed::metadata`](crate::snapshot::Sealed::metadata) makes it, and
/// [`Unlocked::check`](crate::snapshot::Unlocked::check) tells whether it is authentic.
#[derive(Debug, Clone, PartialEq)]
pub struct MetadataV2 {
    wrapped_dek: WrappedDek,
    facts: Facts,
    mac: [u8; MAC_LEN],
    extra: Map<String, Value>,
}

/// What never changes, and the MAC covers.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::snapshot) struct Facts {
    pub(in crate::snapshot) identity: Identity,
    pub(in crate::snapshot) codec: Codec,
    /// In RFC 3339.
    pub(in crate::snapshot) created_at: String,
    pub(in crate::snapshot) content_len: u64,
    pub(in crate::snapshot) sealed_len: u64,
    /// Of the content, if a digest was made.
    pub(in crate::snapshot) sha256: Option<[u8; 32]>,
    /// The rows inside, if they were counted.
    pub(in crate::snapshot) rows: Option<RowsInside>,
}

/// As it stands in the JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    schema_version: u8,
    algorithm: String,
    compression: String,
    cluster: String,
    snapshot: String,
    source: String,
    created_at: String,
    content_length: u64,
    sealed_length: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etcd_snapshot_sha256: Option<String>,
    #[serde(flatten)]
    kek: KekFields,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rows: Option<RowsInside>,
    mac: String,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

impl MetadataV2 {
    /// Metadata of a new snapshot, authenticated under `key`, the metadata key of the snapshot.
    pub(in crate::snapshot) fn new(facts: Facts, wrapped_dek: WrappedDek, key: &Key256) -> Self {
        Self {
            wrapped_dek,
            mac: facts.mac(key).finalize().into_bytes().into(),
            facts,
            extra: Map::new(),
        }
    }

    pub(super) fn parse(json: &[u8]) -> Result<Self, MetadataError> {
        let fields: Fields = serde_json::from_slice(json).map_err(MetadataError::Json)?;
        if fields.algorithm != ALGORITHM {
            return Err(MetadataError::field("algorithm", "is not AES-256-GCM"));
        }
        let codec = [Codec::None, Codec::Zstd]
            .into_iter()
            .find(|codec| codec.name() == fields.compression)
            .ok_or_else(|| MetadataError::field("compression", "is neither none nor zstd"))?;
        let identity =
            Identity::new(&fields.cluster, &fields.snapshot, &fields.source).map_err(|error| {
                MetadataError::field("cluster or snapshot", format!("is bad: {error}"))
            })?;
        let mac = STANDARD
            .decode(&fields.mac)
            .ok()
            .and_then(|mac| mac.try_into().ok())
            .ok_or_else(|| MetadataError::field("mac", "is not 32 bytes in base64"))?;
        let sha256 = fields
            .etcd_snapshot_sha256
            .map(|text| parse_sha256("etcdSnapshotSha256", &text))
            .transpose()?;
        fields.rows.as_ref().map_or(Ok(()), RowsInside::check)?;
        Ok(Self {
            wrapped_dek: WrappedDek::try_from(&fields.kek)?,
            facts: Facts {
                identity,
                codec,
                created_at: fields.created_at,
                content_len: fields.content_length,
                sealed_len: fields.sealed_length,
                sha256,
                rows: fields.rows,
            },
            mac,
            extra: fields.extra,
        })
    }

    /// Whether all but the wrapped DEK is as it was written, and belongs to the snapshot with this header and metadata key.
    pub(in crate::snapshot) fn check(
        &self,
        identity: &Identity,
        codec: Codec,
        key: &Key256,
    ) -> Result<(), MetadataError> {
        let is_same = self.facts.identity == *identity && self.facts.codec == codec;
        let mac = self.facts.mac(key);
        match is_same && mac.verify_slice(&self.mac).is_ok() {
            true => Ok(()),
            false => Err(MetadataError::Mac),
        }
    }

    /// Which snapshot it says it is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.facts.identity
    }

    /// Length of the content in bytes.
    #[must_use]
    pub const fn content_len(&self) -> u64 {
        self.facts.content_len
    }

    /// Length of the sealed object in bytes.
    #[must_use]
    pub const fn sealed_len(&self) -> u64 {
        self.facts.sealed_len
    }

    /// SHA-256 of the content, if a digest was made when it was sealed.
    #[must_use]
    pub const fn sha256(&self) -> Option<[u8; 32]> {
        self.facts.sha256
    }

    pub(super) const fn wrapped_dek(&self) -> &WrappedDek {
        &self.wrapped_dek
    }

    pub(super) fn with_wrapped_dek(mut self, wrapped: WrappedDek) -> Self {
        self.wrapped_dek = wrapped;
        self
    }

    pub(super) fn created_at(&self) -> &str {
        &self.facts.created_at
    }

    pub(super) fn source(&self) -> &str {
        self.facts.identity.source()
    }

    pub(super) const fn rows(&self) -> Option<&RowsInside> {
        self.facts.rows.as_ref()
    }
}

impl Facts {
    /// HMAC-SHA-256 over every fact, each after its length.
    fn mac(&self, key: &Key256) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes keys of any length");
        let mut field = |bytes: &[u8]| {
            mac.update(&(bytes.len() as u64).to_be_bytes());
            mac.update(bytes);
        };
        field(MAC_LABEL.as_bytes());
        field(self.identity.cluster().as_bytes());
        field(self.identity.snapshot().as_bytes());
        field(self.identity.source().as_bytes());
        field(self.codec.name().as_bytes());
        field(self.created_at.as_bytes());
        field(&self.content_len.to_be_bytes());
        field(&self.sealed_len.to_be_bytes());
        field(self.sha256.as_ref().map_or(&[][..], <[u8; 32]>::as_slice));
        let Some(rows) = &self.rows else {
            return mac;
        };
        field(&rows.total.to_be_bytes());
        field(&rows.ungrouped.to_be_bytes());
        for group in &rows.groups {
            field(group.provider.as_bytes());
            field(group.name.as_deref().unwrap_or_default().as_bytes());
            field(group.key_id.as_deref().unwrap_or_default().as_bytes());
            field(&group.version.unwrap_or_default().to_be_bytes());
            field(&group.rows.to_be_bytes());
        }
        mac
    }
}

impl Serialize for MetadataV2 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let facts = &self.facts;
        Fields {
            schema_version: 2,
            algorithm: ALGORITHM.to_owned(),
            compression: facts.codec.name().to_owned(),
            cluster: facts.identity.cluster().to_owned(),
            snapshot: facts.identity.snapshot().to_owned(),
            source: facts.identity.source().to_owned(),
            created_at: facts.created_at.clone(),
            content_length: facts.content_len,
            sealed_length: facts.sealed_len,
            etcd_snapshot_sha256: facts.sha256.map(hex::encode),
            kek: KekFields::from(&self.wrapped_dek),
            rows: facts.rows.clone(),
            mac: STANDARD.encode(self.mac),
            extra: self.extra.clone(),
        }
        .serialize(serializer)
    }
}
