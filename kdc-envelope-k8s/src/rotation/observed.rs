//! What the planner is told about the world.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use kdc_envelope::evidence::Evidence;
use serde::{Deserialize, Serialize};

use super::writer::Writer;
use crate::encryption_config::{GroupResource, Layout, LocalKey, Transformer};

/// Seconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From seconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Seconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// Later by `duration`, whole seconds.
    #[must_use]
    pub const fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_secs()))
    }
}

/// SHA-256 of the bytes of a configuration file, as kube-apiserver reports it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigHash([u8; 32]);

impl ConfigHash {
    /// Stands for "no file", and for an API server that runs without one.
    pub const NO_FILE: Self = Self([0; 32]);

    /// The hash of these bytes.
    #[must_use]
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// From the 32 bytes of the hash.
    #[must_use]
    pub const fn new(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ConfigHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ConfigHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Everything that counts, looked at in one go.
#[derive(Debug, Clone, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Observed {
    /// Every API server that is a member of the cluster, also those that do not answer. One that is left out here is taken
    /// to have stopped for good.
    pub servers: Vec<ApiServer>,
    /// Configurations that a server may still have loaded although they are in no file any more.
    pub earlier: Vec<(ConfigHash, Arc<Layout>)>,
    /// The keyring of the cluster.
    pub keyring: Keyring,
    /// What was noted of the rows with the newest revision; `None` if nothing was, as by earlier releases.
    pub row_writers: Option<RowWriters>,
    /// The last complete pass that rewrote rows.
    pub rewritten: Option<Pass>,
    /// The last complete pass that found nothing to rewrite, or that looked at the rows in etcd.
    pub verified: Option<Pass>,
    /// What retained backups need.
    pub retained: BackupNeeds,
}

/// One API server and the node that it runs on.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct ApiServer {
    /// What people call it.
    pub name: Box<str>,
    /// Its configuration file, or why that cannot be read.
    pub file: Result<NodeFile, Box<str>>,
    /// The keys in the node's history file.
    pub history: Vec<LocalKey>,
    /// What the running process uses, or why that cannot be told.
    pub loaded: Result<LoadedConfig, Box<str>>,
    /// The key ids under which it writes, by the name of the KMS provider.
    pub kms: BTreeMap<Box<str>, KmsKeyId>,
}

/// A configuration file on a node.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct NodeFile {
    /// Of its bytes; [`ConfigHash::NO_FILE`] if there is none.
    pub hash: ConfigHash,
    /// What it means; the plain one if there is none.
    pub layout: Arc<Layout>,
    /// When it was last written or removed, by the node's clock, if that can be seen from where the server runs. A server has
    /// loaded it since then only if it says a later second.
    pub written: Option<Timestamp>,
    /// Whether its bytes never stood in its place before, so that a server that uses them has loaded them since.
    pub is_first: bool,
    /// From when on the server can take nothing into use but this file, whatever stood in its place before, by the node's
    /// clock.
    pub settled_at: Timestamp,
}

impl NodeFile {
    /// A file that the server sees as soon as it is written, at `written` by the node's clock: after [`SETTLE`] nothing else
    /// is on the way.
    #[must_use]
    pub const fn written_at(hash: ConfigHash, layout: Arc<Layout>, written: Timestamp) -> Self {
        Self {
            hash,
            layout,
            written: Some(written),
            is_first: false,
            settled_at: written.after(SETTLE),
        }
    }
}

/// How long a server may need from reading a file to using it: the poll of one minute, and the wait for the health of new
/// KMS plugins (`pkg/server/options/encryptionconfig/controller` upstream). After that, nothing but its file is on the way.
pub const SETTLE: Duration = Duration::from_secs(180);

/// The configuration that a process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct LoadedConfig {
    /// Of the bytes that it read.
    pub hash: ConfigHash,
    /// When it took them into use: at its start or at a reload, by the node's clock. `None` if it does not say.
    pub since: Option<Timestamp>,
}

/// The key id that a KMS plugin told an API server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct KmsKeyId {
    /// The id, or its hash as the metrics of kube-apiserver give it; all servers in the same form.
    pub id: Box<str>,
    /// Since when this server has had it and no other; 0 if its process never had another.
    pub since: Timestamp,
}

/// What is kept apart from the nodes, so that no key is lost with one.
#[derive(Debug, Clone, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Keyring {
    /// Every key and KMS provider that a configuration may name. Nothing is ever taken out.
    pub kept: Vec<Kept>,
    /// The newest revision.
    pub revision: Option<Revision>,
}

/// A key or a KMS provider in the keyring.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Kept {
    /// Which one.
    pub transformer: Transformer,
    /// Whether rows may have been written with it. Once set, it stays.
    pub used: bool,
}

/// A change of writers. Each has a number of its own, also one that goes back to an earlier writer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Revision {
    /// Counts up.
    pub number: u64,
    /// Who writes each resource or wildcard.
    pub writers: BTreeMap<GroupResource, Transformer>,
}

impl Revision {
    /// Who writes `resource`, as kube-apiserver looks names up.
    #[must_use]
    pub fn writer(&self, resource: &GroupResource) -> Option<&Transformer> {
        looked_up(&self.writers, resource)
    }
}

/// What `map` has of `name`, or of the narrowest wildcard that stands for it.
pub(super) fn looked_up<'m, T>(
    map: &'m BTreeMap<GroupResource, T>,
    name: &GroupResource,
) -> Option<&'m T> {
    let mut names = name_and_wildcards(name).into_iter();
    names.find_map(|name| map.get(&name))
}

/// `name`, and the wildcards that stand for it, in the order in which kube-apiserver looks them up.
pub(super) fn name_and_wildcards(name: &GroupResource) -> [GroupResource; 3] {
    [name.clone(), name.any_in_group(), GroupResource::any()]
}

/// Under what the rows of each resource may lie while a revision is the newest one: its own writers, and those before it of
/// which no pass has shown that nothing is left.
///
/// It is noted before the revision itself, so that it holds at every moment, whatever becomes of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers hand it back")]
pub struct RowWriters {
    /// The number of the revision.
    pub revision: u64,
    /// By resource or wildcard.
    pub writers: BTreeMap<GroupResource, Vec<Transformer>>,
}

impl RowWriters {
    /// After a pass over `resources` that proves `revision`: under nothing but its writers.
    #[must_use]
    pub fn proven(revision: &Revision, resources: &[GroupResource]) -> Self {
        let written = |name: &GroupResource| {
            let writer = revision.writer(name)?.clone();
            Some((name.clone(), vec![writer]))
        };
        Self {
            revision: revision.number,
            writers: resources.iter().filter_map(written).collect(),
        }
    }
}

/// Under which writers a pass over the rows was made. It says nothing about any others.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "callers hand it back")]
pub struct Binding {
    /// The number of the revision.
    pub revision: u64,
    /// The key ids of the KMS providers that write.
    pub kms: BTreeMap<Box<str>, Box<str>>,
}

/// A complete pass over the rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Pass {
    /// As the action that asked for the pass had it.
    pub binding: Binding,
    /// The resources and wildcards that it covered completely.
    pub resources: Vec<GroupResource>,
    /// Rows that could not be rewritten or read.
    pub refused: u64,
}

impl Pass {
    /// What it shows of the statement that every row is under the writers of its revision, a member for each resource.
    #[must_use]
    pub fn evidence(&self) -> Evidence {
        let mut evidence = Evidence::new();
        evidence.agrees(u64::try_from(self.resources.len()).unwrap_or(u64::MAX));
        evidence.contradicts(self.refused);
        evidence
    }

    /// Whether it proves that for the revision `number`.
    pub(super) fn proves(&self, number: u64) -> bool {
        self.binding.revision == number && self.evidence().is_proof()
    }
}

/// What retained backups need, as far as they were asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum BackupNeeds {
    /// No backup was asked, so nothing stays for the sake of one.
    #[default]
    NotAsked,
    /// All of them were asked.
    Asked {
        /// What they need.
        needs: Vec<Retained>,
        /// Why it is not known of some, for people. Such a backup may need anything, so everything stays.
        unknown: Vec<Box<str>>,
    },
}

/// A key or KMS provider that retained backups need.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Retained {
    /// What their rows were written with.
    pub needs: Writer,
    /// Names of some of the backups.
    pub backups: Vec<Box<str>>,
    /// How many backups need it.
    pub count: u64,
}

impl BackupNeeds {
    /// Whether backups were asked.
    #[must_use]
    pub const fn is_asked(&self) -> bool {
        matches!(self, Self::Asked { .. })
    }

    /// Whether a backup needs `transformer`, or may need it.
    #[must_use]
    pub fn may_need(&self, transformer: &Transformer) -> bool {
        match self {
            Self::NotAsked => false,
            Self::Asked { needs, unknown } => {
                let mut needs = needs.iter();
                !unknown.is_empty() || needs.any(|retained| retained.needs.names(transformer))
            }
        }
    }
}
