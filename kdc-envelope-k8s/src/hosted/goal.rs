//! What a KdcCluster asks for, and whether that is allowed: every rule that needs no look at the running control plane.

use jiff::Timestamp;

use super::refused::ConfigError;
use crate::crd::interval::Interval;
use crate::crd::kdc_cluster::{
    ALLOW_SHARED_KEY, CLUSTER_LABEL, EtcdEncryptionSpec, FORCE_DISABLE, KdcCluster, interval,
};
use crate::crd::kms_key::{
    DeletionPolicy, KmsKey, KmsKeySpec, MANAGED_BY_CLUSTER, MANAGED_BY_LABEL, Purpose,
    RotationSpec, condition,
};
use crate::encryption_config::GroupResource;

/// What is to become of the rows of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Goal {
    /// `enabled: true`: all rows of these resources are encrypted.
    Encrypted,
    /// `disableRequested: true` beside it: all rows are decrypted, then the plugin is taken away.
    Decrypted,
    /// `enabled: false`, or nothing about encryption.
    Off,
}

impl Goal {
    /// What `cluster` asks for.
    #[must_use]
    pub fn of(cluster: &KdcCluster) -> Self {
        match cluster.etcd() {
            Some(etcd) if etcd.enabled && etcd.disable_requested => Self::Decrypted,
            Some(etcd) if etcd.enabled => Self::Encrypted,
            _ => Self::Off,
        }
    }
}

/// The resources to encrypt.
///
/// # Errors
/// [`ConfigError::Resource`] for one that could not be read at the start of an API server, or that is written all the time.
pub fn resources(cluster: &KdcCluster) -> Result<Vec<GroupResource>, ConfigError> {
    let named = cluster
        .etcd()
        .into_iter()
        .flat_map(EtcdEncryptionSpec::resources);
    named
        .map(|name| match name {
            "secrets" | "configmaps" => Ok(GroupResource::new(name, "")),
            other => Err(ConfigError::Resource(other.into())),
        })
        .collect()
}

/// What the platform provides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Platform {
    /// Where its settings are, such as `the Secret kube-dc/master-config`.
    pub place: Box<str>,
    /// `enable_openbao` there; `None` if there are no such settings.
    pub is_openbao_enabled: Option<bool>,
    /// The address of OpenBao, from there or from the environment.
    pub openbao_url: Option<String>,
    /// Image of kms-plugin.
    pub plugin_image: Option<String>,
}

/// A platform that provides everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Provided<'p> {
    /// The address of OpenBao.
    pub openbao_url: &'p str,
    /// Image of kms-plugin.
    pub plugin_image: &'p str,
}

impl Platform {
    /// Everything that a cluster needs.
    ///
    /// # Errors
    /// Each missing one by its own [`ConfigError`].
    pub fn provided(&self) -> Result<Provided<'_>, Vec<ConfigError>> {
        fn given(text: Option<&String>) -> Option<&str> {
            text.map(String::as_str).filter(|text| !text.is_empty())
        }
        let url = given(self.openbao_url.as_ref());
        let image = given(self.plugin_image.as_ref());
        let is_enabled = self.is_openbao_enabled.unwrap_or_else(|| url.is_some());
        if let (true, Some(openbao_url), Some(plugin_image)) = (is_enabled, url, image) {
            return Ok(Provided {
                openbao_url,
                plugin_image,
            });
        }
        let place = || self.place.clone();
        let mut missing = Vec::new();
        if !is_enabled {
            missing.push(ConfigError::OpenBaoDisabled { place: place() });
        } else if url.is_none() {
            missing.push(ConfigError::OpenBaoUrlMissing { place: place() });
        }
        if image.is_none() {
            missing.push(ConfigError::PluginImageMissing);
        }
        Err(missing)
    }
}

/// The KMSKey to make for `cluster`. It has no owner, so that it outlives the cluster as long as backups need it.
#[must_use]
pub fn new_key(cluster: &KdcCluster, rotation: Option<&Interval>) -> KmsKey {
    let mut key = KmsKey {
        spec: KmsKeySpec {
            purpose: Some(Purpose::Etcd.as_str().to_owned()),
            deletion_policy: Some(DeletionPolicy::Retain.as_str().to_owned()),
            rotation: rotation_spec(rotation),
            ..KmsKeySpec::default()
        },
        ..KmsKey::default()
    };
    let labels = [
        (CLUSTER_LABEL, cluster.name()),
        (MANAGED_BY_LABEL, MANAGED_BY_CLUSTER),
    ];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
    key.metadata.name = Some(cluster.key_name());
    key.metadata
        .namespace
        .clone_from(&cluster.metadata.namespace);
    key.metadata.labels = Some(labels.into());
    key.metadata.finalizers = Some(vec![KEY_FINALIZER.to_owned()]);
    key
}

/// Keeps a KMSKey while the cluster that it was made for, or one of its backups, may need it.
pub const KEY_FINALIZER: &str = "k8s.kube-dc.com/etcd-encryption";

fn rotation_spec(interval: Option<&Interval>) -> Option<RotationSpec> {
    interval.map(|interval| RotationSpec {
        enabled: Some(true),
        interval: Some(interval.to_string()),
    })
}

/// The rotation that the KMSKey made for `cluster` must have, if it has another one now.
///
/// # Errors
/// [`ConfigError::Rotation`].
pub fn rotation_to_set(
    cluster: &KdcCluster,
    key: &KmsKey,
) -> Result<Option<RotationSpec>, ConfigError> {
    if cluster.given_key().is_some() {
        return Ok(None);
    }
    let wanted = interval(&cluster.spec).map_err(ConfigError::Rotation)?;
    let is_on = |rotation: &&RotationSpec| rotation.enabled == Some(true);
    let current = key.spec.rotation.as_ref().filter(is_on);
    let current_interval = current.and_then(|rotation| rotation.interval.as_deref());
    let wanted_interval = wanted.as_ref().map(ToString::to_string);
    if current_interval == wanted_interval.as_deref() && current.is_some() == wanted.is_some() {
        return Ok(None);
    }
    let off = RotationSpec {
        enabled: Some(false),
        interval: None,
    };
    Ok(Some(rotation_spec(wanted.as_ref()).unwrap_or(off)))
}

/// A Transit key, as the status of a KMSKey names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransitKey<'k> {
    /// The namespace of OpenBao; empty for the root namespace.
    pub namespace: &'k str,
    /// Mount of the Transit engine.
    pub mount: &'k str,
    /// Name of the key.
    pub name: &'k str,
}

/// From `<namespace>/<mount>/keys/<name>`.
fn transit_key(key_id: &str) -> Option<TransitKey<'_>> {
    let (path, name) = key_id.rsplit_once("/keys/")?;
    let (namespace, mount) = path.rsplit_once('/').unwrap_or(("", path));
    let is_good = !name.is_empty() && !name.contains('/') && !mount.is_empty();
    is_good.then_some(TransitKey {
        namespace,
        mount,
        name,
    })
}

/// The KMSKey `key` for `cluster`, by all rules; `clusters` are those of the namespace.
///
/// # Errors
/// The rule that it breaks.
pub fn usable_key<'k>(
    cluster: &KdcCluster,
    key: Option<&'k KmsKey>,
    clusters: &[KdcCluster],
) -> Result<TransitKey<'k>, ConfigError> {
    let name = || cluster.key_name().into_boxed_str();
    let key = key.ok_or_else(|| ConfigError::KeyNotFound(name()))?;
    let purpose = key.spec.purpose();
    if purpose.as_ref().ok() != Some(&Purpose::Etcd) {
        let purpose = key.spec.purpose.as_deref().unwrap_or("application").into();
        return Err(ConfigError::KeyPurpose {
            name: name(),
            purpose,
        });
    }
    if cluster.given_key().is_none() && !is_made_for(key, cluster) {
        return Err(ConfigError::KeyNotOurs(name()));
    }
    let is_leaving = key.spec.deletion_policy() != Ok(DeletionPolicy::Retain)
        || key.status.scheduled_deletion.is_some()
        || key.metadata.deletion_timestamp.is_some();
    if is_leaving {
        return Err(ConfigError::KeyScheduledForDeletion(name()));
    }
    let may_share = |cluster: &KdcCluster| has_annotation(cluster, ALLOW_SHARED_KEY);
    let other = clusters.iter().find(|other| {
        other.name() != cluster.name() && uses(other) && other.key_name() == cluster.key_name()
    });
    if let Some(other) = other.filter(|_| !may_share(cluster)) {
        let cluster = other.name().into();
        return Err(ConfigError::KeyInUse {
            name: name(),
            cluster,
        });
    }
    if !key.status.conditions.is_true(condition::READY) {
        let said = key.status.conditions.get(condition::READY);
        let why = said.map(|condition| condition.message.into());
        return Err(ConfigError::KeyNotReady {
            name: name(),
            why: why.unwrap_or_default(),
        });
    }
    let key_id = key.status.key_id.as_deref().unwrap_or_default();
    transit_key(key_id).ok_or_else(|| ConfigError::KeyId {
        name: name(),
        key_id: key_id.into(),
    })
}

fn is_made_for(key: &KmsKey, cluster: &KdcCluster) -> bool {
    let labels = key.metadata.labels.as_ref();
    let label = labels.and_then(|labels| labels.get(CLUSTER_LABEL));
    label.is_some_and(|label| label == cluster.name())
}

/// Whether a cluster needs its key, now or for what it has stored.
fn uses(cluster: &KdcCluster) -> bool {
    let status = cluster.status.encryption.as_ref();
    Goal::of(cluster) != Goal::Off || status.is_some_and(|status| status.resolved_key_ref.is_some())
}

fn has_annotation(cluster: &KdcCluster, name: &str) -> bool {
    let annotations = cluster.metadata.annotations.as_ref();
    let value = annotations.and_then(|annotations| annotations.get(name));
    value.is_some_and(|value| value != "false")
}

/// The time at which an administrator confirmed that rows may become unreadable; `None` if that was not confirmed.
///
/// # Errors
/// [`ConfigError::ForceDisable`] if the annotation is no time, or one to come.
pub fn force_disable(
    cluster: &KdcCluster,
    now: Timestamp,
) -> Result<Option<Timestamp>, ConfigError> {
    let annotations = cluster.metadata.annotations.as_ref();
    let Some(given) = annotations.and_then(|annotations| annotations.get(FORCE_DISABLE)) else {
        return Ok(None);
    };
    let refused = |fault| ConfigError::ForceDisable {
        given: given.as_str().into(),
        fault,
    };
    let time: Timestamp = given
        .parse()
        .map_err(|_| refused("no time; write one as in 2026-06-07T10:00:00Z"))?;
    match time > now {
        true => Err(refused("in the future; write the time of the decision")),
        false => Ok(Some(time)),
    }
}
