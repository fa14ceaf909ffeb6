//! KMSKey, `security.kube-dc.com/v1alpha1`: a key of a project, which lives in OpenBao Transit.
//!
//! The kind is ours to install, but others bring it too; so fields, printer columns and short names are those that users know.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::interval::{Interval, IntervalError, KEY_BOUNDS, Units};
use super::{Conditions, resource};

/// The label of a key that a controller made, with [`MANAGED_BY_CLUSTER`] as its value.
pub const MANAGED_BY_LABEL: &str = "security.kube-dc.com/managed-by";
/// The value of [`MANAGED_BY_LABEL`] for keys that were made for a cluster.
pub const MANAGED_BY_CLUSTER: &str = "kdccluster";

/// Types of the conditions of a key.
pub mod condition {
    /// True if the key exists in OpenBao with the profile that is wanted.
    pub const READY: &str = "Ready";
    /// True if a next rotation is scheduled.
    pub const ROTATION_SCHEDULED: &str = "RotationScheduled";
    /// True if the Transit engine of the organization is mounted.
    pub const OPENBAO_MOUNTED: &str = "OpenBaoMounted";
}

/// A key of a project.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct KmsKey {
    /// Name, namespace, labels.
    pub metadata: ObjectMeta,
    /// What is wanted.
    #[serde(default)]
    pub spec: KmsKeySpec,
    /// What is.
    #[serde(
        default,
        skip_serializing_if = "KmsKeyStatus::is_empty",
        deserialize_with = "super::null_is_default"
    )]
    pub status: KmsKeyStatus,
}

resource!(
    KmsKey,
    NamespaceResourceScope,
    "KMSKey",
    "kmskeys",
    "security.kube-dc.com",
    "v1alpha1"
);

/// What a key is to be. Words that this version does not know stay as they came, for a refusal that names them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct KmsKeySpec {
    /// `application`, `backup` or `etcd`; see [`purpose`](Self::purpose).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// `aes256-gcm96` or `chacha20-poly1305`; see [`algorithm`](Self::algorithm).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// Whether the key may leave OpenBao, which is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exportable: Option<bool>,
    /// `retain` or `schedule`; see [`deletion_policy`](Self::deletion_policy).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<String>,
    /// Rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationSpec>,
}

/// Rotation of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct RotationSpec {
    /// Whether the key rotates by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// How often, such as `90d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// Data of applications.
    Application,
    /// Snapshots.
    Backup,
    /// What API servers store.
    Etcd,
}

impl Purpose {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::Backup => "backup",
            Self::Etcd => "etcd",
        }
    }
}

/// The cipher of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Algorithm {
    /// AES-256 in Galois/Counter Mode.
    Aes256Gcm96,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305,
}

impl Algorithm {
    /// As it is written, here and in OpenBao.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aes256Gcm96 => "aes256-gcm96",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }
}

/// What becomes of a key that is not wanted any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeletionPolicy {
    /// It stays.
    Retain,
    /// It is deleted in 30 days, unless that is taken back.
    Schedule,
}

impl DeletionPolicy {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retain => "retain",
            Self::Schedule => "schedule",
        }
    }
}

/// Why a key cannot be what its spec says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeySpecError {
    /// A word that is none of those that are known.
    #[error("{field} `{given}` is not known; set one of {known}")]
    Word {
        /// Where.
        field: &'static str,
        /// What was given.
        given: Box<str>,
        /// What may be given.
        known: &'static str,
    },
    /// The key would be exportable.
    #[error("spec.exportable must be false: the key material never leaves OpenBao")]
    Exportable,
    /// Rotation is enabled, and no interval given.
    #[error(
        "spec.rotation.enabled is true without an interval; set spec.rotation.interval, such as 90d"
    )]
    NoInterval,
    /// The interval is none, or out of bounds.
    #[error("spec.rotation.interval is refused")]
    Interval(#[from] IntervalError),
}

impl KmsKeySpec {
    /// What the key is for; data of applications if nothing is said.
    ///
    /// # Errors
    /// [`KeySpecError::Word`]
    pub fn purpose(&self) -> Result<Purpose, KeySpecError> {
        match self.purpose.as_deref() {
            None | Some("application") => Ok(Purpose::Application),
            Some("backup") => Ok(Purpose::Backup),
            Some("etcd") => Ok(Purpose::Etcd),
            Some(given) => Err(KeySpecError::Word {
                field: "spec.purpose",
                given: given.into(),
                known: "application, backup and etcd",
            }),
        }
    }

    /// The cipher; AES-256 in Galois/Counter Mode if nothing is said.
    ///
    /// # Errors
    /// [`KeySpecError::Word`]
    pub fn algorithm(&self) -> Result<Algorithm, KeySpecError> {
        match self.algorithm.as_deref() {
            None | Some("aes256-gcm96") => Ok(Algorithm::Aes256Gcm96),
            Some("chacha20-poly1305") => Ok(Algorithm::ChaCha20Poly1305),
            Some(given) => Err(KeySpecError::Word {
                field: "spec.algorithm",
                given: given.into(),
                known: "aes256-gcm96 and chacha20-poly1305",
            }),
        }
    }

    /// What becomes of the key; it stays if nothing is said.
    ///
    /// # Errors
    /// [`KeySpecError::Word`]
    pub fn deletion_policy(&self) -> Result<DeletionPolicy, KeySpecError> {
        match self.deletion_policy.as_deref() {
            None | Some("retain") => Ok(DeletionPolicy::Retain),
            Some("schedule") => Ok(DeletionPolicy::Schedule),
            Some(given) => Err(KeySpecError::Word {
                field: "spec.deletionPolicy",
                given: given.into(),
                known: "retain and schedule",
            }),
        }
    }

    /// Refuses a key that could be exported.
    ///
    /// # Errors
    /// [`KeySpecError::Exportable`]
    pub const fn check_exportable(&self) -> Result<(), KeySpecError> {
        match self.exportable {
            Some(true) => Err(KeySpecError::Exportable),
            _ => Ok(()),
        }
    }

    /// How often the key rotates by itself; `None` if it does not.
    ///
    /// # Errors
    /// [`KeySpecError::NoInterval`] and [`KeySpecError::Interval`].
    pub fn interval(&self) -> Result<Option<Interval>, KeySpecError> {
        let rotation = self.rotation.as_ref();
        let Some(rotation) = rotation.filter(|rotation| rotation.enabled == Some(true)) else {
            return Ok(None);
        };
        let given = rotation.interval.as_deref();
        let given = given.ok_or(KeySpecError::NoInterval)?;
        let interval = Interval::parse(given, Units::Key)?.within(&KEY_BOUNDS)?;
        Ok(Some(interval))
    }
}

/// `status` of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct KmsKeyStatus {
    /// Where the key is, such as `acme/transit/keys/acme-docs-prod-etcd`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The newest version of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_version: Option<i64>,
    /// The oldest version that still decrypts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_decryption_version: Option<i64>,
    /// When the key last rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_rotated_time: Option<Time>,
    /// When it rotates next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_rotation_time: Option<Time>,
    /// When the key is deleted, unless that is taken back before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled_deletion: Option<Time>,
    /// `Ready`, `RotationScheduled` and `OpenBaoMounted`, and those of others.
    #[serde(skip_serializing_if = "Conditions::is_empty")]
    pub conditions: Conditions,
}

impl KmsKeyStatus {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(spec: serde_json::Value) -> KmsKeySpec {
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn an_empty_spec_has_the_defaults_of_the_schema() {
        let spec = spec(json!({}));
        assert_eq!(spec.purpose(), Ok(Purpose::Application));
        assert_eq!(spec.algorithm(), Ok(Algorithm::Aes256Gcm96));
        assert_eq!(spec.deletion_policy(), Ok(DeletionPolicy::Retain));
        assert_eq!(spec.interval(), Ok(None));
        spec.check_exportable().unwrap();
    }

    #[test]
    fn unknown_words_are_refused_by_name() {
        let spec =
            spec(json!({"purpose": "x", "algorithm": "rsa-4096", "deletionPolicy": "Retain"}));
        let refused = [
            spec.purpose().unwrap_err(),
            spec.algorithm().unwrap_err(),
            spec.deletion_policy().unwrap_err(),
        ];
        for (error, given) in refused.iter().zip(["`x`", "`rsa-4096`", "`Retain`"]) {
            assert!(error.to_string().contains(given), "{error}");
        }
    }

    #[test]
    fn an_interval_counts_only_when_rotation_is_enabled() {
        let off = spec(json!({"rotation": {"interval": "nonsense"}}));
        assert_eq!(off.interval(), Ok(None));
        let without = spec(json!({"rotation": {"enabled": true}}));
        assert_eq!(without.interval(), Err(KeySpecError::NoInterval));
        for (text, is_taken) in [
            ("1h", true),
            ("3600000ms", true),
            ("59m", false),
            ("1w", false),
        ] {
            let spec = spec(json!({"rotation": {"enabled": true, "interval": text}}));
            assert_eq!(spec.interval().is_ok(), is_taken, "{text}");
        }
    }
}
