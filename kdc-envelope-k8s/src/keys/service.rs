//! What keys and access are asked of: a port, so that nothing here knows a client of OpenBao.

use core::time::Duration;
use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;

use super::tenant::KeyPlace;
use crate::crd::kms_key::Algorithm;

/// A server of keys, as an administrator sees it.
///
/// Every call is safe to make again: what creates or changes looks first. The exception is [`rotate_key`](Self::rotate_key), which has to
/// be called by one process at a time for one key, and of which a failure must be looked at before another call.
///
/// Implementations make the effect of a write visible to the next call of any method. Dropping the future of a write leaves it open
/// whether it happened.
#[async_trait]
pub trait KeyService: Send + Sync {
    /// What is at this place.
    async fn look(&self, place: &KeyPlace) -> Result<KeyLook, ServiceError>;

    /// Makes the namespace of an organization, unless it is there.
    async fn create_namespace(&self, namespace: &str) -> Result<(), ServiceError>;

    /// Mounts a Transit engine, unless one is there. Another engine at this path is [`Refused`](ServiceErrorKind::Refused).
    async fn create_mount(&self, namespace: &str, mount: &str) -> Result<(), ServiceError>;

    /// Makes a key that is neither exportable nor derived, and that cannot be deleted, unless a key is there. A key with another cipher or
    /// profile is [`Refused`](ServiceErrorKind::Refused).
    async fn create_key(
        &self,
        place: &KeyPlace,
        algorithm: Algorithm,
    ) -> Result<StoredKey, ServiceError>;

    /// Forbids the deletion of a key, and its rotation by the server itself.
    async fn protect_key(&self, place: &KeyPlace) -> Result<(), ServiceError>;

    /// Makes version `from` + 1 of a key whose newest version is `from`, and looks whether it is the only new one.
    async fn rotate_key(&self, place: &KeyPlace, from: u32) -> Result<StoredKey, ServiceError>;

    /// Destroys a key with all versions, for ever.
    async fn delete_key(&self, place: &KeyPlace) -> Result<(), ServiceError>;

    /// The namespaces of the cluster whose ServiceAccounts may log in by a role of the auth method at `mount`; `None` if there is no such role.
    async fn role_namespaces(
        &self,
        namespace: &str,
        mount: &str,
        role: &str,
    ) -> Result<Option<Vec<String>>, ServiceError>;

    /// Sees to it that the policy grants what a plugin needs for the key, and nothing else.
    async fn ensure_policy(&self, policy: &str, key: &KeyPlace) -> Result<Change, ServiceError>;

    /// Sees to it that the role is as wanted, in every field.
    async fn ensure_role(&self, namespace: &str, role: &Role) -> Result<Change, ServiceError>;
}

/// What was found at the place of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a planner decides about each")]
pub enum KeyLook {
    /// The key.
    Found(StoredKey),
    /// The Transit engine is mounted, and has no key of this name.
    NoKey,
    /// The namespace is there, without an engine at the mount.
    NoMount,
    /// There is no such namespace.
    NoNamespace,
}

/// A key as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "implementations fill it in")]
pub struct StoredKey {
    /// The cipher, such as `aes256-gcm96`.
    pub kind: String,
    /// The newest version.
    pub latest_version: u32,
    /// When each version that still decrypts was made, by the clock of the server.
    pub created: BTreeMap<u32, Timestamp>,
    /// The oldest version that still decrypts.
    pub min_decryption_version: u32,
    /// Whether the key may leave the server.
    pub exportable: bool,
    /// Whether the key may leave the server as a backup.
    pub allow_plaintext_backup: bool,
    /// Whether each use derives another key.
    pub derived: bool,
    /// Whether the key was deleted, and may be restored.
    pub soft_deleted: bool,
    /// Whether the key may be deleted.
    pub deletion_allowed: bool,
    /// How often the server rotates the key by itself; zero for never.
    pub auto_rotate_period: Duration,
}

impl StoredKey {
    /// When the newest version was made, if the server says so.
    #[must_use]
    pub fn newest(&self) -> Option<Timestamp> {
        self.created.get(&self.latest_version).copied()
    }

    /// What differs from a key with this cipher that is safe to use and that no write can change, by the names of the server.
    #[must_use]
    pub fn mismatches(&self, algorithm: Algorithm) -> Vec<&'static str> {
        let fields = [
            ("type", self.kind == algorithm.as_str()),
            ("exportable", !self.exportable),
            ("allow_plaintext_backup", !self.allow_plaintext_backup),
            ("derived", !self.derived),
        ];
        differing(fields)
    }

    /// What a write can set right, by the names of the server.
    #[must_use]
    pub fn drift(&self) -> Vec<&'static str> {
        differing([
            ("deletion_allowed", !self.deletion_allowed),
            ("auto_rotate_period", self.auto_rotate_period.is_zero()),
        ])
    }
}

fn differing<const N: usize>(fields: [(&'static str, bool); N]) -> Vec<&'static str> {
    let differs = |(name, is_right): (&'static str, bool)| (!is_right).then_some(name);
    fields.into_iter().filter_map(differs).collect()
}

/// Who may log in for a cluster, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "implementations read it")]
pub struct Role {
    /// The mount of the auth method.
    pub mount: Box<str>,
    /// The name of the role, and of its one policy.
    pub name: Box<str>,
    /// The namespace of the ServiceAccount.
    pub namespace: Box<str>,
    /// The ServiceAccount.
    pub service_account: Box<str>,
    /// The audience that its tokens must have.
    pub audience: Box<str>,
    /// How long a token of the server is good before it must be renewed.
    pub time_to_live: Duration,
    /// How long renewals can keep it.
    pub max_time_to_live: Duration,
}

/// What a call that ensures something did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "an event tells about each")]
pub enum Change {
    /// Nothing; it was as wanted.
    Unchanged,
    /// It was not there, and was made.
    Created,
    /// It was there and not as wanted, and was set right.
    Repaired {
        /// What differed, by the names of the server.
        fields: Vec<&'static str>,
    },
}

/// A call that did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
#[expect(clippy::exhaustive_structs, reason = "implementations fill it in")]
pub struct ServiceError {
    /// What it means.
    pub kind: ServiceErrorKind,
    /// What happened and what to do, with all causes.
    pub message: Box<str>,
}

/// What a failed call means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a planner decides about each")]
pub enum ServiceErrorKind {
    /// No answer, or none that counts. Nothing follows from it, and trying again may help.
    Unavailable,
    /// The server does not allow it.
    Denied,
    /// What is there is in the way, or the request will never be taken.
    Refused,
    /// What the call builds on, such as a mount, is missing.
    Missing,
    /// A write that must not be repeated may have happened, or in part. An operator has to look.
    Unverified,
}

impl ServiceErrorKind {
    /// A word for labels of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Denied => "denied",
            Self::Refused => "refused",
            Self::Missing => "missing",
            Self::Unverified => "unverified",
        }
    }

    /// The reason of a condition.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Unavailable => "OpenBaoUnavailable",
            Self::Denied => "OpenBaoDenied",
            Self::Refused => "OpenBaoRefused",
            Self::Missing => "OpenBaoMissing",
            Self::Unverified => "RotationUnverified",
        }
    }
}
