//! What a pass found.

use core::fmt;
use core::time::Duration;

use serde::{Serialize, Serializer};

use crate::encryption_config::GroupResource;

/// How many refusals of one resource are named; the others are only counted.
pub const MAX_REFUSALS: usize = 100;

/// A pass over all the rows that it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RewriteReport {
    /// One for each resource, in the order of the passes.
    pub resources: Vec<ResourceReport>,
    /// What was asked for and not passed over.
    pub skipped: Vec<Skipped>,
    /// Bytes of the bodies of requests.
    pub bytes_sent: u64,
    /// Bytes of the bodies of answers.
    pub bytes_received: u64,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
}

impl RewriteReport {
    /// Objects that were looked at.
    #[must_use]
    pub fn objects(&self) -> u64 {
        self.sum(|resource| resource.objects)
    }

    /// Rows that were stale.
    #[must_use]
    pub fn rewritten(&self) -> u64 {
        self.sum(|resource| resource.rewritten)
    }

    /// Rows that were current already.
    #[must_use]
    pub fn current(&self) -> u64 {
        self.sum(|resource| resource.current)
    }

    /// Objects that somebody else wrote or deleted during the pass.
    #[must_use]
    pub fn overtaken(&self) -> u64 {
        self.sum(|resource| resource.overtaken)
    }

    /// Rows that may still be stale.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.sum(|resource| resource.refused)
    }

    /// Whether every row that was asked for is current now, as the API servers see it that answered.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.refused() == 0
            && self
                .skipped
                .iter()
                .all(|skipped| !skipped.reason.has_rows())
    }

    fn sum(&self, count: impl Fn(&ResourceReport) -> u64) -> u64 {
        self.resources.iter().map(count).sum()
    }
}

/// A pass over one resource. `objects` is the sum of the four counts after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ResourceReport {
    /// Which one.
    #[serde(serialize_with = "text")]
    pub resource: GroupResource,
    /// Objects that were looked at. Those that a listing gave again, as it had to start over, count again.
    pub objects: u64,
    /// The resourceVersion changed: the row was stale when it was listed, and is current now. Two passes at once may both
    /// count it.
    pub rewritten: u64,
    /// The resourceVersion did not change: the row was current.
    pub current: u64,
    /// Somebody else wrote the object after it was listed, and so made its row current, or deleted it.
    pub overtaken: u64,
    /// The API server does not write the object; its row may be stale.
    pub refused: u64,
    /// The first [`MAX_REFUSALS`] of these.
    pub refusals: Vec<Refusal>,
    /// How often the listing had to start over.
    pub restarts: u32,
}

impl ResourceReport {
    pub(super) const fn new(resource: GroupResource) -> Self {
        Self {
            resource,
            objects: 0,
            rewritten: 0,
            current: 0,
            overtaken: 0,
            refused: 0,
            refusals: Vec::new(),
            restarts: 0,
        }
    }
}

/// An object that the API server does not write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Refusal {
    /// Empty for what lies in no namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// The answer: one line, no control characters, no values of the object's fields.
    pub why: Box<str>,
}

/// A resource or wildcard that was asked for and not passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Skipped {
    /// Which one.
    #[serde(serialize_with = "text")]
    pub resource: GroupResource,
    /// Why.
    pub reason: SkipReason,
}

/// Why a resource was not passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SkipReason {
    /// It has rows, but the API server takes no patch, or gives no list of it.
    NotPatchable,
    /// The API server makes its objects up when it is asked, as it does with `componentstatuses`.
    NotStored,
    /// A wildcard covers it, and an aggregated API server keeps its rows elsewhere.
    Aggregated,
    /// A wildcard over a group of which nothing is served.
    EmptyGroup,
}

impl SkipReason {
    /// Whether rows in this etcd may be stale because of it.
    #[must_use]
    pub const fn has_rows(self) -> bool {
        matches!(self, Self::NotPatchable)
    }

    /// For people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotPatchable => "it has rows, but the API server cannot list and patch them",
            Self::NotStored => "it has no rows",
            Self::Aggregated => "an aggregated API server keeps its rows elsewhere",
            Self::EmptyGroup => "nothing is served in this group",
        }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many objects a pass would look at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Count {
    /// In the order of the passes.
    pub resources: Vec<ResourceCount>,
    /// What would not be passed over.
    pub skipped: Vec<Skipped>,
}

impl Count {
    /// Objects of all resources.
    #[must_use]
    pub fn objects(&self) -> u64 {
        self.resources.iter().map(|resource| resource.objects).sum()
    }
}

/// How many objects a resource has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ResourceCount {
    /// Which one.
    #[serde(serialize_with = "text")]
    pub resource: GroupResource,
    /// About so many, while others create and delete some.
    pub objects: u64,
}

fn text<S: Serializer>(resource: &GroupResource, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(resource)
}

pub(super) fn seconds<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}
