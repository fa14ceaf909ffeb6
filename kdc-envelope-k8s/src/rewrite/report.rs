//! What a pass found.

use core::fmt;
use core::time::Duration;

use kdc_envelope::evidence::{Evidence, Gap, GapKind};
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
    /// What was asked for and is not covered by the pass.
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

    /// Objects that another client wrote or deleted during the pass.
    #[must_use]
    pub fn changed_concurrently(&self) -> u64 {
        self.sum(|resource| resource.changed_concurrently)
    }

    /// Rows that may still be stale.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.sum(|resource| resource.refused)
    }

    /// What was seen for or against the statement "every row was on the newest key before this pass".
    ///
    /// Rows that were current agree, and so do those that another client wrote or deleted meanwhile. Rows that had to be
    /// rewritten contradict. What was refused, and resources that have rows and cannot be covered, are gaps. Names under
    /// which nothing is served are none: all that the API server serves was asked for, and there was nothing of this name in it.
    #[must_use]
    pub fn evidence(&self) -> Evidence {
        let mut evidence = Evidence::new();
        for resource in &self.resources {
            evidence.agrees(
                resource
                    .current
                    .saturating_add(resource.changed_concurrently),
            );
            evidence.contradicts(resource.rewritten);
            if resource.refused > 0 {
                let place = resource.refusals.first().map_or_else(
                    || resource.resource.to_string(),
                    |refusal| format!("{} {}", resource.resource, refusal.place()),
                );
                evidence.add_gap(Gap::new(GapKind::Unreadable, resource.refused, place));
            }
        }
        for skipped in &self.skipped {
            if skipped.reason.has_rows() {
                evidence.add_gap(Gap::new(
                    GapKind::NotLookedAt,
                    0,
                    skipped.resource.to_string(),
                ));
            }
        }
        evidence
    }

    /// Whether every row that was asked for is current now, as the API servers see it that answered. It says so of a pass
    /// that found no object, too, as there is no row then; [`Self::evidence`] does not.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.evidence().gaps().is_empty()
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
    /// Another client wrote the object after it was listed, and so made its row current, or deleted it.
    #[serde(rename = "overtaken")]
    pub changed_concurrently: u64,
    /// The API server does not write the object; its row may be stale.
    pub refused: u64,
    /// The first [`MAX_REFUSALS`] of these.
    pub refusals: Vec<RejectedObject>,
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
            changed_concurrently: 0,
            refused: 0,
            refusals: Vec::new(),
            restarts: 0,
        }
    }
}

/// An object that the API server does not write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RejectedObject {
    /// Empty for what lies in no namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// The response: one line, no control characters, no values of the object's fields.
    pub why: Box<str>,
}

impl RejectedObject {
    /// Its namespace, if it has one, and its name.
    #[must_use]
    pub fn place(&self) -> String {
        place(&self.namespace, &self.name)
    }
}

pub(super) fn place(namespace: &str, name: &str) -> String {
    if namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}/{name}")
    }
}

/// A resource or wildcard that was asked for and is not covered by the pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Skipped {
    /// Which one.
    #[serde(serialize_with = "text")]
    pub resource: GroupResource,
    /// Why.
    pub reason: SkipReason,
    /// Namespace and name of the service of an aggregated API server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Box<str>>,
}

/// For people.
impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.resource, self.reason)?;
        match &self.service {
            Some(service) => write!(f, " (service {service})"),
            None => Ok(()),
        }
    }
}

/// Why a resource is not covered by a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SkipReason {
    /// It has rows, but the API server takes no patch, or gives no list of it.
    NotPatchable,
    /// The API server makes its objects up when it is asked, as it does with `componentstatuses`.
    NotStored,
    /// An aggregated API server keeps its rows elsewhere. Whether it serves them now is not asked: it may be away.
    Aggregated,
    /// Nothing is served under this name: it is misspelt, or its definition is not installed.
    NotServed,
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
            Self::NotServed => "nothing is served under this name",
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
    /// What would not be covered.
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
