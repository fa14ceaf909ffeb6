//! What can be shown while a pass runs.

use core::fmt;
use core::time::Duration;

use super::error::Verb;
use crate::encryption_config::GroupResource;

/// How far a pass is; told at most five times per second, at the end of each resource, and while nothing succeeds.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// The resource at work; the first one that was asked for, while the API server is asked what it serves.
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
    /// Of those finished, the ones that another client wrote or deleted.
    pub changed_concurrently: u64,
    /// Of those finished, the ones that the API server does not write.
    pub refused: u64,
    /// Objects per second of this resource, pauses included.
    pub per_second: f64,
    /// What is tried again and again, once nothing has succeeded for ten seconds, and every ten seconds then.
    pub waiting: Option<Waiting>,
}

/// What is tried again, as it may pass by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiting {
    /// What is tried.
    pub verb: Verb,
    /// The resource, or the path of a discovery document.
    pub resource: Box<str>,
    /// The object, with its namespace; empty if it is none in particular.
    pub object: Box<str>,
    /// How many requests failed since the last success.
    pub attempts: u64,
    /// How long nothing has succeeded.
    pub since: Duration,
    /// How long it may, before the pass ends.
    pub retry_budget: Duration,
    /// The last failure, on one line.
    pub why: Box<str>,
}

/// A sentence for people.
impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (since, budget) = (self.since.as_secs(), self.retry_budget.as_secs());
        write!(f, "cannot {} {}", self.verb, self.resource)?;
        if !self.object.is_empty() {
            write!(f, " `{}`", self.object)?;
        }
        let (attempts, why) = (self.attempts, &self.why);
        write!(
            f,
            " for {since} s, in {attempts} attempts: {why}; tried again for up to {budget} s"
        )
    }
}

impl Progress {
    /// Of a pass that has not begun.
    pub(super) fn before(resources: &[GroupResource]) -> Self {
        let nothing = || GroupResource::new("", "");
        Self {
            resource: resources.first().cloned().unwrap_or_else(nothing),
            resources_done: 0,
            resources: 0,
            done: 0,
            total: None,
            rewritten: 0,
            changed_concurrently: 0,
            refused: 0,
            per_second: 0.0,
            waiting: None,
        }
    }

    /// How long this resource will still take at this rate; `None` while nothing is known.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let left = u32::try_from(self.total?.saturating_sub(self.done)).ok()?;
        Duration::try_from_secs_f64(f64::from(left) / self.per_second).ok()
    }
}
