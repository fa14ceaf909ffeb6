//! What may go: decided from what is in the bucket and what is to be kept, and from nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::backup::bucket::Seen;
use crate::backup::state::State;

/// An object without metadata may be of a run that is still writing, so long after it was written.
pub(super) const GRACE: Duration = Duration::from_secs(86_400);

/// What is to be kept of each cluster. A snapshot goes only if no rule keeps it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Retention {
    /// So many of the newest complete ones.
    pub(super) last: Option<u64>,
    /// The complete ones of so long.
    pub(super) within: Option<Duration>,
    /// Whether what runs left that did not end goes too.
    pub(super) orphans: bool,
}

/// A snapshot in the bucket, complete or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) cluster: String,
    pub(super) id: String,
    pub(super) state: State,
    /// In seconds since 1970-01-01 UTC.
    pub(super) created: u64,
    /// When the newest of its objects was written.
    pub(super) modified: u64,
    pub(super) bytes: u64,
    /// To delete exactly this.
    pub(super) seen: Seen,
}

/// What becomes of a snapshot, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Decision {
    /// Deleted: complete, and no rule keeps it.
    DeleteOld,
    /// Deleted: left by a run that did not end.
    DeleteOrphan,
    /// Kept: the newest complete one of its cluster, whatever the rules say.
    KeepNewest,
    /// Kept by `--keep-last`.
    KeepLast,
    /// Kept by `--keep-within`.
    KeepWithin,
    /// Kept: there is no rule for complete ones.
    KeepNoRule,
    /// Kept: written less than a day ago, so its run may not have ended.
    KeepYoung,
    /// Kept: without `--orphans` what is not complete stays.
    KeepOrphan,
    /// Kept: damaged, of a later release, of an unknown time, or not looked at. Somebody should look at it.
    KeepUnknown,
}

impl Decision {
    pub(super) const fn is_delete(self) -> bool {
        matches!(self, Self::DeleteOld | Self::DeleteOrphan)
    }

    /// For people.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::DeleteOld => "no rule keeps it",
            Self::DeleteOrphan => "its run did not end",
            Self::KeepNewest => "the newest complete one of its cluster",
            Self::KeepLast => "--keep-last",
            Self::KeepWithin => "--keep-within",
            Self::KeepNoRule => "no rule for complete ones",
            Self::KeepYoung => "not complete, but younger than a day",
            Self::KeepOrphan => "not complete; --orphans deletes it",
            Self::KeepUnknown => "damaged or unknown; see `kdc backup list`",
        }
    }
}

/// Decides on each candidate, in their order. `now` is in seconds since 1970-01-01 UTC.
pub(super) fn plan(candidates: &[Candidate], retention: &Retention, now: u64) -> Vec<Decision> {
    let mut complete: BTreeMap<&str, Vec<(u64, &str, usize)>> = BTreeMap::new();
    for (number, candidate) in candidates.iter().enumerate() {
        if candidate.state.is_complete() {
            let of_cluster = complete.entry(&candidate.cluster).or_default();
            of_cluster.push((candidate.created, &candidate.id, number));
        }
    }
    let mut ranks = BTreeMap::new();
    for of_cluster in complete.values_mut() {
        of_cluster.sort_unstable_by(|a, b| b.cmp(a));
        ranks.extend(
            (0_u64..)
                .zip(of_cluster)
                .map(|(rank, (_, _, number))| (*number, rank)),
        );
    }
    candidates
        .iter()
        .enumerate()
        .map(|(number, candidate)| match ranks.get(&number) {
            Some(rank) => complete_one(candidate, *rank, retention, now),
            None => incomplete_one(candidate, retention, now),
        })
        .collect()
}

/// `rank` counts from 0, the newest.
fn complete_one(candidate: &Candidate, rank: u64, retention: &Retention, now: u64) -> Decision {
    let is_within = |within: Duration| now.saturating_sub(candidate.created) <= within.as_secs();
    if rank == 0 {
        Decision::KeepNewest
    } else if retention.last.is_none() && retention.within.is_none() {
        Decision::KeepNoRule
    } else if retention.last.is_some_and(|last| rank < last) {
        Decision::KeepLast
    } else if retention.within.is_some_and(is_within) {
        Decision::KeepWithin
    } else {
        Decision::DeleteOld
    }
}

fn incomplete_one(candidate: &Candidate, retention: &Retention, now: u64) -> Decision {
    let age = now.saturating_sub(candidate.modified);
    match candidate.state {
        State::Orphan if !retention.orphans => Decision::KeepOrphan,
        State::Orphan if age <= GRACE.as_secs() => Decision::KeepYoung,
        State::Orphan => Decision::DeleteOrphan,
        _ => Decision::KeepUnknown,
    }
}
