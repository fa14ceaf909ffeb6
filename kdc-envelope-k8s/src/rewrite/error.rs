//! Why a pass over the rows ends early.

use core::fmt;
use core::time::Duration;

use crate::encryption_config::GroupResource;

/// A pass that did not come to its end. Rows that it wrote stay written; another pass finds them current.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RewriteError {
    /// Nothing of this name is served.
    #[error(
        "no API server serves the resource `{resource}`; correct its name, or take it out of the list"
    )]
    NoSuchResource {
        /// As it was asked for.
        resource: GroupResource,
    },
    /// Its rows are not in the etcd of kube-apiserver.
    #[error(
        "`{resource}` is served by the aggregated API server behind the service {service}, which keeps its own rows; take it out of the list"
    )]
    Aggregated {
        /// As it was asked for.
        resource: GroupResource,
        /// Namespace and name of the service.
        service: Box<str>,
    },
    /// The user has too few rights, or none (401, 403).
    #[error("not allowed to {verb} {resource}; the API server says: {why}")]
    Denied {
        /// The right that is missing.
        verb: Verb,
        /// The resource, or the path of a discovery document.
        resource: Box<str>,
        /// The answer, on one line.
        why: Box<str>,
    },
    /// One row keeps the API server from listing all the others.
    #[error(
        "the API server cannot list {resource}, because it cannot decrypt a row of it; `kdc value inspect` shows what a row was \
         written with; the API server says: {why}"
    )]
    Unreadable {
        /// Which resource.
        resource: GroupResource,
        /// The answer, on one line; most versions name the row's key in etcd.
        why: Box<str>,
    },
    /// Only failures that could have passed by themselves, for longer than
    /// [`RewriteOptions::patience`](super::RewriteOptions::patience).
    #[error(
        "no attempt to {verb} {resource} succeeded for {} s, in {attempts} attempts; the last one failed with: {why}",
        patience.as_secs()
    )]
    OutOfPatience {
        /// What was tried last.
        verb: Verb,
        /// The resource, or the path of a discovery document.
        resource: Box<str>,
        /// How long.
        patience: Duration,
        /// How many requests failed since the last success.
        attempts: u64,
        /// The last failure, on one line.
        why: Box<str>,
    },
    /// The rows changed hands faster than pages of them could be worked on.
    #[error(
        "the listing of {resource} expired {times} times, and the API server gave no token to go on with; allow more objects per \
         second, or take smaller pages"
    )]
    Expired {
        /// Which resource.
        resource: GroupResource,
        /// How many times.
        times: u32,
    },
    /// Migrations were asked for where there are none.
    #[error(
        "the API server does not serve storagemigration.k8s.io/v1, which Kubernetes has from 1.37 on; a pass of its own works everywhere"
    )]
    NoMigrations,
    /// Nobody works on a migration.
    #[error(
        "no controller has taken up the migration of {resource} within {} s; is the storage-version-migrator-controller of \
         kube-controller-manager running?",
        patience.as_secs()
    )]
    NotTakenUp {
        /// Which resource.
        resource: GroupResource,
        /// How long it was waited for.
        patience: Duration,
    },
    /// The controller gave up.
    #[error(
        "kube-controller-manager could not migrate {resource}: {why}; a pass names every object that is refused"
    )]
    MigrationFailed {
        /// Which resource.
        resource: GroupResource,
        /// What it says, on one line.
        why: Box<str>,
    },
    /// An answer that no API server should give to such a request.
    #[error("the attempt to {verb} {resource} was answered with {why}")]
    Unexpected {
        /// What was tried.
        verb: Verb,
        /// The resource, or the path of a discovery document.
        resource: Box<str>,
        /// Status and message, on one line.
        why: Box<str>,
    },
}

/// What was asked of an API server, by the name that RBAC has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Verb {
    /// Asking for a migration.
    Create,
    /// Taking away an earlier migration.
    Delete,
    /// Reading a discovery document, or how a migration comes along.
    Get,
    /// Listing the metadata of objects.
    List,
    /// Sending an object the patch that changes nothing.
    Patch,
}

impl Verb {
    /// As in RBAC rules.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Get => "get",
            Self::List => "list",
            Self::Patch => "patch",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
