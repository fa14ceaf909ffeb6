//! What the planner shall reach.

use std::collections::BTreeMap;

use super::observed::looked_up;
use crate::encryption_config::{GroupResource, Transformer};

/// The wanted state.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Desired {
    /// Who shall write each resource or wildcard. [`Transformer::Identity`] stores it plain.
    pub writers: BTreeMap<GroupResource, Transformer>,
    /// What becomes of resources that `writers` does not name.
    pub others: Others,
    /// How many local keys stay in a chain, the writer included.
    pub keep_keys: usize,
    /// Whether rows that are stored plain stay readable when there are none any more.
    pub keep_identity: bool,
    /// Whether to turn a running change of writers around, as an abort does. Otherwise that one is finished first.
    pub interrupt: bool,
}

/// What becomes of resources that nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Others {
    /// Their writer stays, as in a file of somebody else.
    Keep,
    /// They are stored plain.
    Plain,
}

impl Desired {
    /// The wanted writer of `resource`, as kube-apiserver looks names up; `None` if the current one stays.
    pub(super) fn writer(&self, resource: &GroupResource) -> Option<Transformer> {
        let named = looked_up(&self.writers, resource);
        named.cloned().or(match self.others {
            Others::Keep => None,
            Others::Plain => Some(Transformer::Identity),
        })
    }
}
