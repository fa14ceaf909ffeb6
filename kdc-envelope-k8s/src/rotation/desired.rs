//! What the planner shall reach.

use std::collections::BTreeMap;

use super::observed::looked_up;
use crate::encryption_config::{GroupResource, Transformer};

/// The state to reach.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Desired {
    /// Who shall write each resource or wildcard; those that are not named keep their writers. [`Transformer::Identity`]
    /// stores rows plain.
    pub writers: BTreeMap<GroupResource, Transformer>,
    /// How many local keys stay in a chain, the writer included.
    pub keep_keys: usize,
    /// Whether to turn a running change of writers around, as an abort does. Otherwise that one is finished first.
    pub interrupt: bool,
}

impl Desired {
    /// The writer that `resource` shall have, as kube-apiserver looks names up; `None` if the current one stays.
    pub(super) fn writer(&self, resource: &GroupResource) -> Option<Transformer> {
        looked_up(&self.writers, resource).cloned()
    }
}
