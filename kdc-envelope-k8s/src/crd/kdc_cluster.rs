//! KdcCluster, `k8s.kube-dc.com/v1alpha1`: a hosted control plane as its tenant describes it.
//!
//! The object belongs to the platform. What is typed is what encryption reads, and [`EncryptionStatus`], which it writes. Nothing
//! here can be written as a whole: [`KdcCluster`] has no `Serialize`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::interval::{CLUSTER_BOUNDS, Interval, IntervalError, Units};
use super::{ClusterNames, Conditions, resource};

/// The label of a [`KmsKey`](super::KmsKey) that was made for a cluster; its value is the cluster's name.
pub const CLUSTER_LABEL: &str = "k8s.kube-dc.com/kdccluster";
/// Allows a cluster to use a key that another one uses too.
pub const ALLOW_SHARED_KEY: &str = "security.kube-dc.com/allow-shared-etcd-key";
/// Confirms, with the time of the decision, that encryption is to be cut off without decrypting what is stored.
pub const FORCE_DISABLE: &str = "security.kube-dc.com/encryption-force-disable-confirmed";

/// Types of the conditions that encryption keeps on a cluster.
pub mod condition {
    /// True while the spec asks for something that is refused, or a prerequisite is missing.
    pub const CONFIG_ERROR: &str = "EncryptionConfigError";
    /// True while the plugins of all API servers of the cluster are ready.
    pub const AVAILABLE: &str = "EncryptionAvailable";
    /// True if the key was named by the user, whose rotation is then left alone.
    pub const ROTATION_EXTERNAL: &str = "KEKRotationManagedExternally";
    /// True while a new version of the key is being brought to all rows.
    pub const ROTATION_IN_PROGRESS: &str = "RotationInProgress";
    /// True while a rotation cannot go on.
    pub const ROTATION_BLOCKED: &str = "RotationBlocked";
}

/// A hosted control plane.
#[derive(Debug, Clone, Default, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct KdcCluster {
    /// Name, namespace, labels.
    pub metadata: ObjectMeta,
    /// What the tenant wants.
    #[serde(default)]
    pub spec: KdcClusterSpec,
    /// What is.
    #[serde(default, deserialize_with = "super::null_is_default")]
    pub status: KdcClusterStatus,
}

resource!(
    KdcCluster,
    NamespaceResourceScope,
    "KdcCluster",
    "kdcclusters",
    "k8s.kube-dc.com",
    "v1alpha1"
);

impl KdcCluster {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// The names of what belongs to it.
    #[must_use]
    pub fn names(&self) -> ClusterNames<'_> {
        ClusterNames {
            cluster: self.name(),
        }
    }

    /// What it says of encryption of what its API servers store.
    #[must_use]
    pub fn etcd(&self) -> Option<&EtcdEncryptionSpec> {
        self.spec.encryption.as_ref()?.etcd.as_ref()
    }

    /// The KMSKey that the spec names for the rows, whose rotation then belongs to its owner.
    #[must_use]
    pub fn given_key(&self) -> Option<&str> {
        let given = self.etcd()?.key_ref.as_deref();
        given.filter(|name| !name.is_empty())
    }

    /// The KMSKey of the rows by the spec: the one that it names, else the one that is made.
    #[must_use]
    pub fn key_name(&self) -> String {
        self.given_key()
            .map_or_else(|| self.names().key(), str::to_owned)
    }
}

/// What a tenant wants, as far as encryption needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct KdcClusterSpec {
    /// Encryption at rest.
    pub encryption: Option<EncryptionSpec>,
    /// Scheduled snapshots.
    pub backup: Option<BackupSpec>,
}

/// Encryption at rest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct EncryptionSpec {
    /// Of what the API servers store.
    pub etcd: Option<EtcdEncryptionSpec>,
}

/// Encryption of what the API servers of a cluster store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct EtcdEncryptionSpec {
    /// Whether it is wanted.
    #[serde(default)]
    pub enabled: bool,
    /// The KMSKey to use; without it one is made.
    pub key_ref: Option<String>,
    /// The resources to encrypt; without it Secrets alone. See [`resources`](Self::resources).
    pub resources: Option<Vec<String>>,
    /// Rotation of the key.
    pub kek_rotation: Option<KekRotationSpec>,
    /// The key of snapshots.
    pub backup: Option<BackupKeySpec>,
    /// Whether everything is to be decrypted, so that encryption can then be disabled.
    #[serde(default)]
    pub disable_requested: bool,
}

impl EtcdEncryptionSpec {
    /// The resources to encrypt; Secrets, if none are named.
    pub fn resources(&self) -> impl Iterator<Item = &str> {
        let named = self.resources.iter().flatten().map(String::as_str);
        let default = self.resources.is_none().then_some("secrets");
        named.chain(default)
    }
}

/// Rotation of the key of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct KekRotationSpec {
    /// Whether the key rotates by itself.
    #[serde(default)]
    pub enabled: bool,
    /// How often, such as `90d`. See [`interval`].
    pub interval: Option<String>,
}

/// The key of snapshots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct BackupKeySpec {
    /// The KMSKey to use; without it that of the rows.
    pub key_ref: Option<String>,
}

/// Scheduled snapshots, as far as rotation depends on them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct BackupSpec {
    /// Whether there are any; so it is if nothing is said.
    pub enabled: Option<bool>,
    /// How long they are kept, in days; 7 if nothing is said.
    pub retention_days: Option<i32>,
}

impl BackupSpec {
    /// For how many days snapshots must stay readable; `None` if there are none.
    #[must_use]
    pub fn retention(&self) -> Option<u32> {
        let days = self.retention_days.unwrap_or(DEFAULT_RETENTION_DAYS);
        let is_enabled = self.enabled.unwrap_or(true);
        is_enabled.then(|| u32::try_from(days).unwrap_or_default())
    }
}

const DEFAULT_RETENTION_DAYS: i32 = 7;

/// Why the rotation that a spec asks for is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RotationRefused {
    /// Enabled, and no interval.
    #[error(
        "spec.encryption.etcd.kekRotation.enabled is true without an interval; set spec.encryption.etcd.kekRotation.interval, such \
         as 90d"
    )]
    NoInterval,
    /// The interval is none, or out of bounds.
    #[error("spec.encryption.etcd.kekRotation.interval is refused")]
    Interval(#[from] IntervalError),
    /// Keys would change more often than snapshots expire.
    #[error(
        "spec.encryption.etcd.kekRotation.interval `{interval}` is shorter than the {days} days for which snapshots are kept \
         (spec.backup.retentionDays); set one that is at least {days}d"
    )]
    Retention {
        /// What was given.
        interval: Box<str>,
        /// How long snapshots are kept.
        days: u32,
    },
}

/// The interval at which the key of a cluster is to rotate, by all rules of the spec; `None` if it is not to rotate.
///
/// An interval beside `enabled: false` is held to the same rules, so that enabling it later brings no surprise.
///
/// # Errors
/// [`RotationRefused`]
pub fn interval(spec: &KdcClusterSpec) -> Result<Option<Interval>, RotationRefused> {
    let etcd = spec.encryption.as_ref().and_then(|all| all.etcd.as_ref());
    let Some(rotation) = etcd.and_then(|etcd| etcd.kek_rotation.as_ref()) else {
        return Ok(None);
    };
    let Some(given) = &rotation.interval else {
        return match rotation.enabled {
            true => Err(RotationRefused::NoInterval),
            false => Ok(None),
        };
    };
    let interval = Interval::parse(given, Units::Cluster)?.within(&CLUSTER_BOUNDS)?;
    let retention = spec.backup.as_ref().and_then(BackupSpec::retention);
    if let Some(days) = retention
        && interval.duration().as_secs() < u64::from(days) * SECONDS_PER_DAY
    {
        let interval = given.as_str().into();
        return Err(RotationRefused::Retention { interval, days });
    }
    Ok(rotation.enabled.then_some(interval))
}

const SECONDS_PER_DAY: u64 = 86_400;

/// What is, as far as encryption says it. Serialized, it is that alone, for patches from one state to another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct KdcClusterStatus {
    /// How far encryption is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<EncryptionStatus>,
    /// All conditions, those of others as well.
    #[serde(default)]
    pub conditions: Conditions,
    /// The platform's own word for the state of the control plane; it is not ours to write.
    #[serde(skip_serializing)]
    pub phase: Option<String>,
}

/// `status.encryption` of a cluster: how far encryption is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct EncryptionStatus {
    /// The KMSKey of the rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_key_ref: Option<String>,
    /// The KMSKey of snapshots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_backup_key_ref: Option<String>,
    /// The version of the key that new rows are written under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_key_version: Option<i32>,
    /// Whether the plugin of every API server is logged in to OpenBao, and said so to its API server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_plugin_ready: Option<bool>,
    /// Whether rows are being rewritten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewrap_in_progress: Option<bool>,
    /// When the last rewriting of all rows was proven to be complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_rewrap_completed: Option<Time>,
    /// How much was decrypted on the way to disabling, in percent; absent if that is not under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disable_migration_progress: Option<i32>,
    /// The rotation of the key, copied from the KMSKey.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kek_rotation: Option<KekRotationStatus>,
}

/// The rotation of the key of a cluster, copied from its KMSKey.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct KekRotationStatus {
    /// Whether the key rotates by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// The newest version of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_version: Option<i32>,
    /// When the key last rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_rotated_time: Option<Time>,
    /// When it rotates next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_rotation_time: Option<Time>,
    /// The oldest version that still decrypts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_decryption_version: Option<i32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(rotation: serde_json::Value, backup: serde_json::Value) -> KdcClusterSpec {
        let spec = json!({
            "encryption": {"etcd": {"enabled": true, "kekRotation": rotation}},
            "backup": backup,
            "version": "v1.35.0",
        });
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn the_interval_is_required_when_rotation_is_enabled() {
        let refused = interval(&spec(json!({"enabled": true}), json!(null)));
        assert_eq!(refused, Err(RotationRefused::NoInterval));
        let off = interval(&spec(json!({"enabled": false}), json!(null)));
        assert_eq!(off, Ok(None));
        assert_eq!(interval(&KdcClusterSpec::default()), Ok(None));
    }

    #[test]
    fn the_interval_is_held_to_its_units_and_bounds() {
        for text in ["2w", "6d23h", "731d", "90", ""] {
            let rotation = json!({"enabled": true, "interval": text});
            let refused = interval(&spec(rotation, json!(null)));
            assert!(
                matches!(refused, Err(RotationRefused::Interval(_))),
                "{text}"
            );
        }
        let rotation = json!({"enabled": true, "interval": "90d"});
        let taken = interval(&spec(rotation, json!(null))).unwrap().unwrap();
        assert_eq!(taken.to_string(), "90d");
    }

    #[test]
    fn the_interval_is_at_least_the_retention_of_backups_that_are_enabled() {
        let with = |text: &str, backup| {
            interval(&spec(json!({"enabled": true, "interval": text}), backup))
        };
        let refused = with("29d23h", json!({"retentionDays": 30})).unwrap_err();
        assert!(refused.to_string().contains("at least 30d"), "{refused}");
        with("30d", json!({"enabled": true, "retentionDays": 30})).unwrap();
        with("7d", json!({"enabled": false, "retentionDays": 30})).unwrap();
        with("7d", json!({})).unwrap();
    }

    #[test]
    fn secrets_are_encrypted_unless_resources_are_named() {
        let etcd = EtcdEncryptionSpec::default();
        assert_eq!(etcd.resources().collect::<Vec<_>>(), ["secrets"]);
        let named: EtcdEncryptionSpec =
            serde_json::from_value(json!({"resources": ["configmaps", "secrets"]})).unwrap();
        let resources: Vec<_> = named.resources().collect();
        assert_eq!(resources, ["configmaps", "secrets"]);
    }
}
