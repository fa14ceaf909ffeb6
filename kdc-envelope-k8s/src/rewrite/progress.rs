//! What can be shown while a pass runs.

use core::time::Duration;

use crate::encryption_config::GroupResource;

/// How far a pass is; told at most five times per second, and at the end of each resource.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// The resource at work.
    pub resource: GroupResource,
    /// Resources that are finished.
    pub resources_done: usize,
    /// Resources of the whole pass.
    pub resources: usize,
    /// Objects of this resource that are finished.
    pub done: u64,
    /// About how many objects this resource has, once its first page has come.
    pub total: Option<u64>,
    /// Of those finished, the rows that were stale.
    pub rewritten: u64,
    /// Of those finished, the ones that somebody else wrote or deleted.
    pub overtaken: u64,
    /// Of those finished, the ones that the API server does not write.
    pub refused: u64,
    /// Objects per second of this resource, pauses included.
    pub per_second: f64,
}

impl Progress {
    /// How long this resource will still take at this rate; `None` while nothing is known.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let left = u32::try_from(self.total?.saturating_sub(self.done)).ok()?;
        Duration::try_from_secs_f64(f64::from(left) / self.per_second).ok()
    }
}
