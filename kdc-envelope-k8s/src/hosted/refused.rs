//! What is refused, and why: each becomes the condition `EncryptionConfigError` with a reason that is part of the API.

use kdc_envelope::ErrorChain;

use super::attachment::AttachError;
use crate::crd::kdc_cluster::{FORCE_DISABLE, RotationRefused};

/// Why encryption of a cluster is not as its spec asks. Nothing is changed while one of these holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The platform runs without OpenBao.
    #[error("OpenBao is not enabled on this platform; set enable_openbao=true in {place}")]
    OpenBaoDisabled {
        /// The Secret, for people.
        place: Box<str>,
    },
    /// OpenBao's address is not known.
    #[error(
        "the address of OpenBao is not known; set openbao_url in {place}, or OPENBAO_URL in the environment of k8-manager"
    )]
    OpenBaoUrlMissing {
        /// The Secret, for people.
        place: Box<str>,
    },
    /// There is nothing to run beside the API servers.
    #[error(
        "the image of kms-plugin is not known; set KMS_PLUGIN_IMAGE in the environment of k8-manager"
    )]
    PluginImageMissing,
    /// A resource that cannot be encrypted this way.
    #[error("spec.encryption.etcd.resources has `{0}`; it may have secrets and configmaps")]
    Resource(Box<str>),
    /// The rotation of the key is refused.
    #[error("{}", ErrorChain::new(.0))]
    Rotation(RotationRefused),
    /// The KMSKey that was named is not there.
    #[error("spec.encryption.etcd.keyRef names the KMSKey {0}, which is not in this namespace")]
    KeyNotFound(Box<str>),
    /// It is not ready.
    #[error("the KMSKey {name} is not Ready{}", clause(.why))]
    KeyNotReady {
        /// Its name.
        name: Box<str>,
        /// What its condition says.
        why: Box<str>,
    },
    /// It is for something else.
    #[error("the KMSKey {name} has the purpose {purpose}; it must be etcd")]
    KeyPurpose {
        /// Its name.
        name: Box<str>,
        /// What it is for.
        purpose: Box<str>,
    },
    /// It is about to be deleted.
    #[error(
        "the KMSKey {0} is scheduled for deletion; set its deletionPolicy to retain, or name another key"
    )]
    KeyScheduledForDeletion(Box<str>),
    /// Another cluster uses it.
    #[error(
        "the KMSKey {name} is used by the cluster {cluster} already; name another key, or allow sharing with the annotation \
         security.kube-dc.com/allow-shared-etcd-key"
    )]
    KeyInUse {
        /// Its name.
        name: Box<str>,
        /// The other cluster.
        cluster: Box<str>,
    },
    /// A KMSKey of the name that would be made is there, and was not made for this cluster.
    #[error(
        "the KMSKey {0} was not made for this cluster; name it in spec.encryption.etcd.keyRef to use it nevertheless"
    )]
    KeyNotOurs(Box<str>),
    /// Its status names no Transit key.
    #[error(
        "status.keyId of the KMSKey {name} is `{key_id}`, which is no <organization>/<mount>/keys/<key>"
    )]
    KeyId {
        /// Its name.
        name: Box<str>,
        /// What its status says.
        key_id: Box<str>,
    },
    /// Rows are encrypted with another key.
    #[error(
        "the rows are encrypted with the KMSKey {used}; spec.encryption.etcd.keyRef cannot change to {named}"
    )]
    KeyRefChanged {
        /// The key of the rows.
        used: Box<str>,
        /// What the spec names now.
        named: Box<str>,
    },
    /// The control plane has something in the way.
    #[error("the {kind} {name} cannot be changed: {source}")]
    ControlPlane {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: Box<str>,
        /// What is in the way.
        source: AttachError,
    },
    /// The API server, or a webhook, refuses the control plane.
    #[error("the {kind} {name} is refused: {message}")]
    ControlPlaneRejected {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: Box<str>,
        /// What was answered.
        message: Box<str>,
    },
    /// Encryption was switched off without being decrypted first.
    #[error(
        "this cluster is encrypted, so enabled: false would make its rows unreadable; set enabled: true and disableRequested: true, \
         and wait until everything is decrypted"
    )]
    DisableNotRequested,
    /// The confirmation that rows may be lost is none.
    #[error("the annotation {FORCE_DISABLE} is `{given}`, which is {fault}")]
    ForceDisable {
        /// Its value.
        given: Box<str>,
        /// What is wrong with it.
        fault: &'static str,
    },
}

fn clause(why: &str) -> String {
    match why {
        "" => String::new(),
        why => format!(": {why}"),
    }
}

impl ConfigError {
    /// The reason in the condition.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::OpenBaoDisabled { .. } => "OpenBaoDisabled",
            Self::OpenBaoUrlMissing { .. } => "OpenBaoUrlMissing",
            Self::PluginImageMissing => "KMSPluginImageMissing",
            Self::Resource(_) => "ResourceNotSupported",
            Self::Rotation(_) => "KEKRotationInvalid",
            Self::KeyNotFound(_) => "KeyNotFound",
            Self::KeyNotReady { .. } => "KeyNotReady",
            Self::KeyPurpose { .. } => "KeyPurposeInvalid",
            Self::KeyScheduledForDeletion(_) => "KeyScheduledForDeletion",
            Self::KeyInUse { .. } => "KeyInUse",
            Self::KeyNotOurs(_) => "KeyNotOurs",
            Self::KeyId { .. } => "KeyIdInvalid",
            Self::KeyRefChanged { .. } => "KeyRefChanged",
            Self::ControlPlane { .. } => "ControlPlaneConflict",
            Self::ControlPlaneRejected { .. } => "ControlPlaneRejected",
            Self::DisableNotRequested => "DisableNotRequested",
            Self::ForceDisable { .. } => "ForceDisableInvalid",
        }
    }
}
