//! A DEK as a KEK wrapped it, and by which.

use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::error::MetadataError;
use crate::kek::{MAX_WRAPPED_LEN, TransitCiphertext, version_in_key_id};
use crate::{KeyId, WrappedKey};

/// The wrapped DEK of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WrappedDek {
    /// By a key of OpenBao Transit, without associated data so that OpenBao can rewrap it.
    Transit {
        /// The mount of the engine, if it was recorded; version 1 does not.
        mount: Option<String>,
        /// The name of the key.
        key: String,
        /// Its version, as in the ciphertext.
        version: u32,
        /// `vault:v<version>:<base64>`.
        ciphertext: String,
    },
    /// By a [`KeyEncryptionKey`](crate::KeyEncryptionKey) that is found by key id, such as a keyring.
    KeyId(WrappedKey),
}

impl WrappedDek {
    /// By version `version` of the Transit key `key`, which is read from `ciphertext`.
    ///
    /// # Errors
    /// [`MetadataError::Field`] if `ciphertext` is not one of Transit.
    pub fn transit(
        mount: Option<&str>,
        key: &str,
        ciphertext: &str,
    ) -> Result<Self, MetadataError> {
        let parsed = TransitCiphertext::parse(ciphertext.as_bytes()).map_err(|_| {
            MetadataError::field("wrappedDek", "is not `vault:v`, a version, `:` and base64")
        })?;
        if ciphertext.len() > MAX_WRAPPED_LEN {
            return Err(too_long());
        }
        if key.is_empty() {
            return Err(MetadataError::field("transitKey", "is empty"));
        }
        Ok(Self::Transit {
            mount: mount.map(str::to_owned),
            key: key.to_owned(),
            version: parsed.version().get(),
            ciphertext: ciphertext.to_owned(),
        })
    }

    /// As it is written to `dek.wrapped`, and into `wrappedDek` of the metadata.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Transit { ciphertext, .. } => ciphertext.clone(),
            Self::KeyId(wrapped) => STANDARD.encode(&wrapped.ciphertext),
        }
    }

    /// The version of the KEK, where it is known.
    #[must_use]
    pub fn version(&self) -> Option<u32> {
        match self {
            Self::Transit { version, .. } => Some(*version),
            Self::KeyId(wrapped) => version_in_key_id(wrapped.key_id.as_str()),
        }
    }
}

impl fmt::Display for WrappedDek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transit {
                mount,
                key,
                version,
                ..
            } => {
                let mount = mount.as_deref().unwrap_or("transit");
                write!(f, "{mount}/{key} v{version}")
            }
            Self::KeyId(wrapped) => wrapped.key_id.fmt(f),
        }
    }
}

fn too_long() -> MetadataError {
    MetadataError::field("wrappedDek", "is longer than 1,024 bytes")
}

/// The fields of the JSON that name the KEK.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KekFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    transit_mount: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    transit_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    transit_key_version: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    wrapped_dek: String,
}

impl From<&WrappedDek> for KekFields {
    fn from(wrapped: &WrappedDek) -> Self {
        let wrapped_dek = wrapped.text();
        match wrapped {
            WrappedDek::Transit {
                mount,
                key,
                version,
                ..
            } => Self {
                transit_mount: mount.clone(),
                transit_key: Some(key.clone()),
                transit_key_version: Some(*version),
                key_id: None,
                wrapped_dek,
            },
            WrappedDek::KeyId(wrapped) => Self {
                transit_mount: None,
                transit_key: None,
                transit_key_version: None,
                key_id: Some(wrapped.key_id.to_string()),
                wrapped_dek,
            },
        }
    }
}

impl TryFrom<&KekFields> for WrappedDek {
    type Error = MetadataError;

    fn try_from(fields: &KekFields) -> Result<Self, MetadataError> {
        match (&fields.transit_key, &fields.key_id) {
            (Some(key), None) => {
                let mount = fields.transit_mount.as_deref();
                let wrapped = Self::transit(mount, key, &fields.wrapped_dek)?;
                if fields.transit_key_version != wrapped.version() {
                    let reason = "is not the version in wrappedDek";
                    return Err(MetadataError::field("transitKeyVersion", reason));
                }
                Ok(wrapped)
            }
            (None, Some(key_id)) => {
                let key_id = KeyId::new(key_id.as_str())
                    .map_err(|error| MetadataError::field("keyId", format!("is none: {error}")))?;
                let ciphertext = STANDARD
                    .decode(&fields.wrapped_dek)
                    .map_err(|_| MetadataError::field("wrappedDek", "is not base64"))?;
                if ciphertext.len() > MAX_WRAPPED_LEN {
                    return Err(too_long());
                }
                Ok(Self::KeyId(WrappedKey::new(key_id, ciphertext)))
            }
            (None, None) => Err(MetadataError::field(
                "transitKey",
                "and keyId are both missing",
            )),
            (Some(_), Some(_)) => Err(MetadataError::field("transitKey", "stands beside a keyId")),
        }
    }
}
