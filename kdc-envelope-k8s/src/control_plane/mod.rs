//! Carries out what the planner says, on real API servers: observe, plan, apply, and again.
//!
//! [`ControlPlane::step`] is one round of that, for controllers; [`ControlPlane::drive`] is a loop over it, for a tool that
//! changes keys by hand. Both may end at any point, by a crash or because their future is dropped; the next one observes anew
//! and goes on. Where configurations, state and backups are is behind [ports](ConfigTargets).

mod apply;
mod begin;
mod drive;
mod files;
mod observe;
mod ports;
mod secret;
mod step;

use core::fmt;
use std::sync::Arc;

use kube::Client;

pub use apply::ApplyError;
pub use drive::DriveError;
pub use files::FolderTargets;
pub use observe::{NodeView, Observation, ObserveError};
pub use ports::{
    ChangeStore, ConfigTarget, ConfigTargets, PortError, RetainedBackups, ServerSet, StoredState,
    UnlistedServer, Update, Version,
};
pub use secret::{SecretStore, SecretTargets};
pub use step::{ChangeObserver, ChangeRun, Outcome, Step, StepError};

use crate::rewrite::RewriteOptions;
use crate::rotation::Timestamp;

/// One API server.
#[derive(Clone)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Node {
    /// Its name for people, and in the [targets](ConfigTargets).
    pub name: Box<str>,
    /// This API server and no other.
    pub client: Client,
}

/// All API servers of a cluster, with where their configurations and the state of the changes are.
#[derive(Clone)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct ControlPlane {
    /// All of them.
    pub nodes: Vec<Node>,
    /// Any of them, for the rows.
    pub client: Client,
    /// Their configurations.
    pub targets: Arc<dyn ConfigTargets>,
    /// What is kept for the cluster.
    pub store: Arc<dyn ChangeStore>,
    /// What says which API servers there are; `None` if their Leases alone do.
    pub members: Option<Arc<dyn ServerSet>>,
    /// The backups whose keys stay; `None` if there is nothing to ask, which the outcome of a change says.
    pub backups: Option<Arc<dyn RetainedBackups>>,
    /// How rows are rewritten.
    pub rewrite: RewriteOptions,
    /// The time. Clocks of the nodes must agree with it within three minutes.
    pub clock: WallClock,
}

/// Tells the time of day, so that nothing here reads a clock of its own.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl WallClock {
    pub(crate) fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl<F: Fn() -> Timestamp + Send + Sync + 'static> From<F> for WallClock {
    fn from(now: F) -> Self {
        Self(Arc::new(now))
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallClock(..)")
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, .. } = self;
        f.debug_struct("Node")
            .field("name", name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlPlane")
            .field("nodes", &self.nodes)
            .field("targets", &self.targets)
            .field("store", &self.store)
            .field("members", &self.members)
            .field("backups", &self.backups)
            .finish_non_exhaustive()
    }
}
