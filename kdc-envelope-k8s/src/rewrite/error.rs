//! Why a pass over the rows ends early.

use core::fmt;
use core::time::Duration;

use crate::cluster::ServerName;
use crate::encryption_config::GroupResource;

/// A pass that did not come to its end. Rows that it wrote stay written; another pass finds them current.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RewriteError {
    /// Nothing of this name is served.
    #[error(
        "nothing is served under the name `{resource}`; correct it, or take it out of the list"
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
    /// The user has too few rights (403), or none (401).
    #[error(
        "{server} {} {verb} {resource}: {why}; {}",
        if *status == 401 { "does not accept the credentials to" } else { "does not allow to" },
        if *status == 401 { "they may have expired, or be of another cluster" } else { "grant the right, or use other credentials" },
    )]
    Denied {
        /// Who says so.
        server: ServerName,
        /// The right that is missing.
        verb: Verb,
        /// The resource, or the path of a discovery document.
        resource: Box<str>,
        /// Status of the answer.
        status: u16,
        /// The answer, on one line.
        why: Box<str>,
    },
    /// The storage behind the API server fails in a way that does not pass by itself.
    #[error("{server} cannot {verb} {resource}, because its etcd refuses: {why}; {advice}")]
    Storage {
        /// Who says so.
        server: ServerName,
        /// What was tried.
        verb: Verb,
        /// The resource, or the path of a discovery document.
        resource: Box<str>,
        /// The answer, on one line.
        why: Box<str>,
        /// What to do about it.
        advice: &'static str,
    },
    /// One row keeps the API server from listing all the others.
    #[error("{server} cannot list {resource}, because it cannot decrypt a row of it: {why}")]
    Unreadable {
        /// Who says so.
        server: ServerName,
        /// Which resource.
        resource: GroupResource,
        /// The answer, on one line; most versions name the row's key in etcd.
        why: Box<str>,
    },
    /// Only failures that could have passed by themselves, for longer than
    /// [`RewriteOptions::retry_budget`](super::RewriteOptions::retry_budget).
    #[error(
        "{server}: no attempt to {verb} {resource} succeeded for {} s, in {attempts} attempts; the last one{} failed with: {why}",
        budget.as_secs(),
        if object.is_empty() { String::new() } else { format!(", with `{object}`,") },
    )]
    RetriesExhausted {
        /// Who was asked.
        server: ServerName,
        /// What was tried last.
        verb: Verb,
        /// The resource, or the path of a discovery document.
        resource: Box<str>,
        /// How long.
        budget: Duration,
        /// The object that was tried last, with its namespace; empty if it was none in particular.
        object: Box<str>,
        /// How many requests failed since the last success.
        attempts: u64,
        /// The last failure, on one line.
        why: Box<str>,
    },
    /// The rows changed hands faster than pages of them could be worked on.
    #[error(
        "the listing of {resource} expired {times} times, and {server} gave no token to go on with; allow more objects per \
         second, or take smaller pages"
    )]
    Expired {
        /// Who was asked.
        server: ServerName,
        /// Which resource.
        resource: GroupResource,
        /// How many times.
        times: u32,
    },
    /// Migrations were asked for where there are none.
    #[error(
        "{server} does not serve storagemigration.k8s.io/v1, which Kubernetes has from 1.37 on; a pass of its own works everywhere"
    )]
    NoMigrations {
        /// Who was asked.
        server: ServerName,
    },
    /// No controller works on a migration.
    #[error(
        "no controller has taken up the migration of {resource} within {} s; is the storage-version-migrator-controller of \
         kube-controller-manager running?",
        waited.as_secs()
    )]
    NotTakenUp {
        /// Which resource.
        resource: GroupResource,
        /// How long it was waited for.
        waited: Duration,
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
    /// The runtime of a [`RewriteJob`](super::RewriteJob) shut down.
    #[error("the pass was interrupted before its end")]
    Interrupted,
    /// An answer that no API server should give to such a request.
    #[error("{server} answered the attempt to {verb} {resource} with {why}")]
    Unexpected {
        /// Who answered.
        server: ServerName,
        /// What was tried.
        verb: Verb,
        /// The resource, or the path of a discovery document.
        resource: Box<str>,
        /// Status and message, on one line.
        why: Box<str>,
    },
}

impl RewriteError {
    /// The same of `other`, unless it is known already which server it is about.
    pub(super) fn at(mut self, other: &ServerName) -> Self {
        match &mut self {
            Self::Denied { server, .. }
            | Self::Storage { server, .. }
            | Self::Unreadable { server, .. }
            | Self::RetriesExhausted { server, .. }
            | Self::Expired { server, .. }
            | Self::NoMigrations { server }
            | Self::Unexpected { server, .. } => {
                if *server == ServerName::default() {
                    server.clone_from(other);
                }
            }
            Self::Interrupted
            | Self::NoSuchResource { .. }
            | Self::Aggregated { .. }
            | Self::NotTakenUp { .. }
            | Self::MigrationFailed { .. } => {}
        }
        self
    }
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
