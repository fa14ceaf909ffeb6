//! Carries out what the planner says, on real files and API servers: observe, plan, apply, and again.
//!
//! The loop of a tool that changes keys by hand, and of controllers. It may end at any point, by a crash or because its
//! future is dropped; the next one looks again and goes on.

mod apply;
mod drive;
mod observe;

use core::fmt;

use kube::Client;

pub use apply::ApplyError;
pub use drive::{ChangeObserver, DriveError};
pub use observe::{NodeView, Observation, ObserveError};

use crate::files::{NodeFolder, StateFolder};
use crate::rewrite::RewriteOptions;
use crate::rotation::Timestamp;

/// An API server, and the folder of its configuration as it is seen from here.
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Node {
    /// What people call it.
    pub name: Box<str>,
    /// Its files.
    pub folder: NodeFolder,
    /// This API server and no other.
    pub client: Client,
}

/// All API servers of a cluster, with the state of the changes.
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct ControlPlane {
    /// All of them.
    pub nodes: Vec<Node>,
    /// Any of them, for the rows.
    pub client: Client,
    /// What is kept for the cluster.
    pub state: StateFolder,
    /// How rows are rewritten.
    pub rewrite: RewriteOptions,
    /// The time. Clocks of the nodes must agree with it within three minutes.
    pub clock: fn() -> Timestamp,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, folder, .. } = self;
        f.debug_struct("Node")
            .field("name", name)
            .field("folder", folder)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlPlane")
            .field("nodes", &self.nodes)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
