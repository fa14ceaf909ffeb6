//! What may go: decided from what is in the store and what is to be kept, and from nothing else; and how it goes.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use futures_util::stream;
use kdc_envelope::evidence::{Evidence, GapKind};

use super::evidence::{Unknowns, nothing_in, place};
use super::scan::{in_parallel, scan};
use super::state::{CatalogueEntry, State};
use crate::error::{BackupError, BackupErrorKind};
use crate::store::{Deleted, Seen, SnapshotFiles, SnapshotStore};

/// An object without metadata may be of a run that is still writing, so long after it was written.
pub const GRACE: Duration = Duration::from_secs(86_400);

/// What is to be kept of each cluster. A snapshot goes only if no rule keeps it.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Retention {
    /// So many of the newest complete ones.
    pub last: Option<u64>,
    /// The complete ones of so long.
    pub within: Option<Duration>,
    /// Whether what runs left that did not end goes too.
    pub orphans: bool,
}

/// A snapshot in the store, complete or not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// Its cluster.
    pub cluster: String,
    /// Its id.
    pub id: String,
    /// What it is.
    pub state: State,
    /// In seconds since 1970-01-01 UTC.
    pub created: u64,
    /// When the newest of its objects was written.
    pub modified: u64,
    /// Of its data.
    pub bytes: u64,
    /// To delete exactly this.
    pub seen: Seen,
}

/// What becomes of a snapshot, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Decision {
    /// Deleted: complete, and no rule keeps it.
    DeleteOld,
    /// Deleted: left by a run that did not end.
    DeleteOrphan,
    /// Kept: the newest complete one of its cluster, whatever the rules say.
    KeepNewest,
    /// Kept by [`Retention::last`].
    KeepLast,
    /// Kept by [`Retention::within`].
    KeepWithin,
    /// Kept: there is no rule for complete ones.
    KeepNoRule,
    /// Kept: written less than a day ago, so its run may not have ended.
    KeepYoung,
    /// Kept: without [`Retention::orphans`] what is not complete stays.
    KeepOrphan,
    /// Kept: damaged, of a later release, of an unknown time, or not looked at. It needs the attention of an operator.
    KeepUnknown,
}

impl Decision {
    /// Whether it goes.
    #[must_use]
    pub const fn is_delete(self) -> bool {
        matches!(self, Self::DeleteOld | Self::DeleteOrphan)
    }
}

/// Decides on each candidate, in their order. `now` is in seconds since 1970-01-01 UTC.
#[must_use]
pub fn plan(candidates: &[Candidate], retention: &Retention, now: u64) -> Vec<Decision> {
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

/// Everything that is a snapshot, complete or not, in order of cluster and id; and the evidence for the statement that this is all. `now` is
/// in seconds since 1970-01-01 UTC.
///
/// # Errors
/// [`BackupError`] of the store.
pub async fn candidates(
    store: &Arc<dyn SnapshotStore>,
    cluster: Option<&str>,
    now: u64,
    mut progress: impl FnMut(),
) -> Result<(Vec<Candidate>, Evidence), BackupError> {
    let mut candidates = Vec::new();
    let mut unknowns = Unknowns::default();
    scan(store, cluster, now, |found: CatalogueEntry| {
        progress();
        unknowns.add(&found);
        if !found.entry.is_snapshot() {
            return;
        }
        candidates.push(Candidate {
            created: found.created(),
            modified: found.entry.modified,
            bytes: found.entry.data.map_or(0, |data| data.len),
            state: found.state,
            seen: found.seen,
            cluster: found.entry.cluster,
            id: found.entry.id,
        });
    })
    .await?;
    candidates.sort_by(|a, b| (&a.cluster, &a.id).cmp(&(&b.cluster, &b.id)));
    let mut evidence = Evidence::new();
    evidence.agrees(candidates.len() as u64);
    // What is damaged was looked at: it stays, and counts for nothing.
    match unknowns.not_looked_at.gap(GapKind::NotLookedAt) {
        Some(gap) => evidence.add_gap(gap),
        None if candidates.is_empty() => {
            evidence.add_gap(nothing_in(&place(&store.name(), cluster)));
        }
        None => {}
    }
    Ok((candidates, evidence))
}

/// Deletes several at once, the oldest first, each only if it is still what was seen, and tells what became of each. What is refused does not
/// keep the others from going.
///
/// # Errors
/// [`BackupErrorKind::Unavailable`] ends it: the next one would wait as long, and fail as well.
pub async fn delete(
    store: &Arc<dyn SnapshotStore>,
    mut chosen: Vec<(Candidate, Decision)>,
    mut each: impl FnMut(Candidate, Decision, Result<Deleted, BackupError>),
) -> Result<(), BackupError> {
    chosen.sort_by_key(|(candidate, _)| candidate.created);
    let delete = |(candidate, decision): (Candidate, Decision)| async move {
        let files = SnapshotFiles::new(store, &candidate.cluster, &candidate.id);
        match files.delete_if(candidate.seen).await {
            Err(error) if error.kind() == BackupErrorKind::Unavailable => Err(error),
            deleted => Ok((candidate, decision, deleted)),
        }
    };
    let chosen = stream::iter(chosen.into_iter().map(Ok));
    in_parallel(chosen, delete, |(candidate, decision, deleted)| {
        each(candidate, decision, deleted);
        Ok(())
    })
    .await
}
