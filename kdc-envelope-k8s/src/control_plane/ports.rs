//! What a change of keys needs of the world beside API servers, as traits: where configurations lie, where the state of the
//! change is kept, which API servers there are, and which keys retained backups need.
//!
//! A tool on a control node implements them with files ([`files`](super::files)), a controller with Secrets
//! ([`secret`](super::secret)) or with agents on the nodes.

use core::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::encryption_config::{Layout, LocalKey};
use crate::files::{FilesError, Passes};
use crate::rotation::history::KeyHistory;
use crate::rotation::{BackupNeeds, Change, ConfigHash, NodeFile, RowWriters, Timestamp};

/// The configurations of the API servers, each by the name of its server.
#[async_trait]
pub trait ConfigTargets: fmt::Debug + Send + Sync {
    /// What each configuration is now. One that cannot be read is told in [`ConfigTarget::file`].
    ///
    /// # Errors
    /// [`PortError`] if the keys or earlier versions of a target cannot be read, or none of it can be asked.
    async fn observe(&self) -> Result<Vec<ConfigTarget>, PortError>;

    /// Puts a configuration that means `layout` in place of the one with the hash `over`. What a process goes on using must
    /// be among the earlier versions from then on. Doing it again does no harm.
    ///
    /// # Errors
    /// [`PortError`]; the configuration is then as it was. One that is not that of `over` any more is left alone.
    async fn write(&self, server: &str, layout: &Layout, over: ConfigHash)
    -> Result<(), PortError>;

    /// Puts `key` where it is found when everything but this target is lost. Nothing is ever taken out of there.
    ///
    /// # Errors
    /// [`PortError`].
    async fn store_key(
        &self,
        server: &str,
        key: &LocalKey,
        now: Timestamp,
    ) -> Result<(), PortError>;
}

/// What is seen of one configuration.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "implementations fill it in")]
pub struct ConfigTarget {
    /// The API server that loads it.
    pub server: Box<str>,
    /// Where it lies, for people: a path, or the name of an object.
    pub place: Box<str>,
    /// What it means and when it was written, or why that cannot be told.
    pub file: Result<NodeFile, Box<str>>,
    /// The keys stored by [`ConfigTargets::store_key`], oldest first.
    pub keys: Vec<LocalKey>,
    /// Versions that a process may still use although they are in place no more.
    pub earlier: Vec<(ConfigHash, Arc<Layout>)>,
}

/// What is kept of the changes of one cluster. There is one writer at a time; a second one is noticed by the version.
#[async_trait]
pub trait ChangeStore: fmt::Debug + Send + Sync {
    /// All of it, with its version.
    ///
    /// # Errors
    /// [`PortError`].
    async fn load(&self) -> Result<StoredState, PortError>;

    /// Replaces what `update` has, if the version is still `seen`, and gives the new one. What cannot be replaced at once is
    /// replaced in the order of the fields of [`Update`], so that a crash in between leaves what the planner understands.
    ///
    /// # Errors
    /// [`PortError::Stale`] if another writer was there since; nothing is changed then. Other kinds.
    async fn save(&self, seen: &Version, update: &Update<'_>) -> Result<Version, PortError>;
}

/// A version of a store: differs after every change of it. Opaque.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(Box<str>);

impl Version {
    /// From what the store calls it, such as a resourceVersion.
    #[must_use]
    pub fn new(version: impl Into<Box<str>>) -> Self {
        Self(version.into())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The content of a [`ChangeStore`] at one moment.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "implementations fill it in")]
pub struct StoredState {
    /// Every key that a configuration ever named, and the revisions.
    pub keyring: KeyHistory,
    /// The last change that was requested.
    pub change: Option<Change>,
    /// The last complete passes over the rows.
    pub passes: Passes,
    /// Under what rows may lie, as noted with the newest revision.
    pub row_writers: Option<RowWriters>,
    /// The version that all of this has.
    pub version: Version,
}

/// Parts of a [`StoredState`] that take the place of those that are stored.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Update<'u> {
    /// See [`StoredState::row_writers`]. They come before the keyring: once a revision is in there, nothing but this says what
    /// rows were under before it.
    pub row_writers: Option<&'u RowWriters>,
    /// See [`StoredState::keyring`]. It comes before the change, which names its keys.
    pub keyring: Option<&'u KeyHistory>,
    /// See [`StoredState::passes`].
    pub passes: Option<&'u Passes>,
    /// See [`StoredState::change`].
    pub change: Option<&'u Change>,
}

/// The backups of a cluster whose keys must stay readable.
#[async_trait]
pub trait RetainedBackups: fmt::Debug + Send + Sync {
    /// Which keys and KMS providers the retained backups need, and of which backups that could not be told. Rows that are
    /// stored plain need no key; an implementation that cannot tell to which resource they belong leaves them out.
    ///
    /// # Errors
    /// [`PortError::Backups`] if they cannot be asked. That is not the same as backups that need nothing.
    async fn needs(&self) -> Result<BackupNeeds, PortError>;
}

/// Says which API servers a control plane has, where that is known better than from their Leases: those of a Deployment are its
/// pods.
#[async_trait]
pub trait ServerSet: fmt::Debug + Send + Sync {
    /// The API servers that are none of the nodes and may serve nevertheless. It is asked after the nodes have answered, so that
    /// one that came in the meantime counts.
    ///
    /// # Errors
    /// [`PortError`] if that cannot be told.
    async fn unlisted(&self) -> Result<Vec<UnlistedServer>, PortError>;
}

/// An API server that is none of the nodes of a control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "implementations fill it in")]
pub struct UnlistedServer {
    /// Its name for people.
    pub name: Box<str>,
    /// Why it is not known what it has loaded, as a clause.
    pub why: Box<str>,
}

/// A port could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// A file could not be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// Another writer changed it since it was read.
    #[error(
        "{place} was changed by another writer meanwhile (it is at {found}, and was read at {seen}), so it is left alone"
    )]
    Stale {
        /// What it is.
        place: Box<str>,
        /// The version on which the change was based.
        seen: Version,
        /// The present one; as the store calls it.
        found: Version,
    },
    /// The plan is of another cluster.
    #[error("the plan names the API server {0}, which is none of the given ones")]
    UnknownServer(Box<str>),
    /// An object of Kubernetes could not be read or written.
    #[error("cannot {action} {place}")]
    Object {
        /// What was tried.
        action: &'static str,
        /// Kind, namespace and name.
        place: Box<str>,
        /// What the API server says.
        source: Box<dyn core::error::Error + Send + Sync>,
    },
    /// The content of an object cannot be understood. Never shows it.
    #[error("{place} is not as it should be: {problem}")]
    Content {
        /// Kind, namespace, name and key of the data.
        place: Box<str>,
        /// What is wrong.
        problem: Box<str>,
    },
    /// Backups could not be asked which keys they need.
    #[error("cannot tell which keys retained backups need")]
    Backups(#[source] Box<dyn core::error::Error + Send + Sync>),
}
