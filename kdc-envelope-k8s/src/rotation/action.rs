//! What the planner says.

use core::fmt;
use std::sync::Arc;

use super::{Binding, Blocker, ConfigHash, Revision, RowWriters};
use crate::encryption_config::{GroupResource, Layout, LocalKey, Transformer};

/// What to do now.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "callers take it apart")]
pub struct Plan {
    /// How far the change is.
    pub phase: Phase,
    /// What to do, in this order. After any failure: stop, look again, plan again. Also after all of them.
    pub actions: Vec<Action>,
    /// Why there is nothing to do yet, or what is put off.
    pub blockers: Vec<Blocker>,
}

/// How far a change is. Always derived from what is observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Keys are put where they cannot be lost.
    StoringKeys,
    /// Every API server learns to read what the new writer will write.
    Readable,
    /// The new writer comes first.
    Promoting,
    /// Rows are written anew.
    Rewriting,
    /// A second pass shows that none is left.
    Verifying,
    /// What nothing needs any more leaves the configuration.
    Pruning,
    /// Everything is as wanted.
    Done,
}

impl Phase {
    /// One word, for conditions and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StoringKeys => "StoringKeys",
            Self::Readable => "Readable",
            Self::Promoting => "Promoting",
            Self::Rewriting => "Rewriting",
            Self::Verifying => "Verifying",
            Self::Pruning => "Pruning",
            Self::Done => "Done",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing to do. Doing it twice does no harm.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Put a key or KMS provider into the keyring.
    StoreKey {
        /// Which one.
        transformer: Transformer,
        /// Whether rows may have been written with it already.
        used: bool,
    },
    /// Put a key into the history file of a node.
    StoreKeyOnNode {
        /// Name of the API server.
        server: Box<str>,
        /// Which key.
        key: LocalKey,
    },
    /// Note under what rows may lie, then write a new revision into the keyring, and mark its writers as used.
    Record {
        /// Who writes from now on.
        revision: Revision,
        /// Under what rows may lie from now on.
        row_writers: RowWriters,
    },
    /// Replace the configuration file of a node.
    Write {
        /// Name of the API server.
        server: Box<str>,
        /// What the file shall mean.
        layout: Arc<Layout>,
        /// Of the file that was seen in its place. Another one is left alone.
        over: ConfigHash,
    },
    /// Rewrite every row of these resources, and report a [`Pass`](super::Pass).
    Rewrite {
        /// Names and wildcards.
        resources: Vec<GroupResource>,
        /// To be handed back with the pass.
        binding: Binding,
    },
    /// Rewrite them once more and see that no resourceVersion changes, or look at the rows in etcd; then report a
    /// [`Pass`](super::Pass).
    Verify {
        /// Names and wildcards.
        resources: Vec<GroupResource>,
        /// To be handed back with the pass.
        binding: Binding,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StoreKey { transformer, .. } => write!(f, "keep {transformer} in the keyring"),
            Self::StoreKeyOnNode { server, key } => {
                write!(f, "keep {key} in the history of {server}")
            }
            Self::Record { revision, .. } => write!(f, "record revision {}", revision.number),
            Self::Write { server, .. } => write!(f, "write the configuration of {server}"),
            Self::Rewrite { resources, .. } => {
                write!(f, "rewrite every row of {}", list(resources))
            }
            Self::Verify { resources, .. } => write!(f, "verify every row of {}", list(resources)),
        }
    }
}

fn list(resources: &[GroupResource]) -> String {
    let names: Vec<_> = resources.iter().map(ToString::to_string).collect();
    names.join(", ")
}
