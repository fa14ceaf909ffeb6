//! [`rewrap`]: data keys of all snapshots to the newest version of their key.
//!
//! A snapshot is touched in its metadata alone. Each replacement is a compare-and-swap, so another rewrap at the same time, or a crash at any
//! point, leaves every snapshot with a wrapped key that works; running it again goes on.

use std::pin::pin;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use kdc_envelope::evidence::{Evidence, Gap, GapKind};
use kdc_envelope::snapshot::metadata::{Metadata, WrappedDek};

use crate::catalogue::{
    CatalogueEntry, Unknowns, WORKERS, entries, in_parallel, judge, nothing_in,
};
use crate::error::{BackupError, BackupErrorKind};
use crate::keys::SnapshotKeys;
use crate::store::{Entry, Replaced, SnapshotFiles, SnapshotStore, StoredMetadata, Version};

/// How often a snapshot is tried again that another process changed concurrently.
const MAX_ROUNDS: u32 = 5;

/// What is told while data keys move.
#[derive(Debug)]
#[non_exhaustive]
pub enum RewrapEvent {
    /// A snapshot was looked at.
    Inspected,
    /// A snapshot could not be read, or not be moved.
    Failed {
        /// `<cluster>/<id>`.
        snapshot: String,
        /// Why.
        error: BackupError,
    },
}

/// How many snapshots had which fate.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RewrapReport {
    /// Were moved, or would be.
    pub rewrapped: u64,
    /// Were under the newest version.
    pub already_newest: u64,
    /// Are under another key.
    pub other_keys: u64,
    /// Could not be read, or not be moved.
    pub failed: u64,
    /// Have no metadata, or were not looked at: nothing tells which key they need.
    pub unknowns: Unknowns,
}

impl RewrapReport {
    /// For the statement that no snapshot in `place` needs an older version of the key.
    #[must_use]
    pub fn evidence(&self, place: &str) -> Evidence {
        let mut evidence = Evidence::new();
        let own = self.rewrapped + self.already_newest;
        match (own + self.failed + self.unknowns.count(), self.other_keys) {
            (0, 0) => evidence.add_gap(nothing_in(place)),
            // Nothing shows that the key has to do with this store.
            (0, others) => evidence.add_gap(Gap::new(GapKind::Unrelated, others, place)),
            _ => evidence.agrees(own + self.other_keys),
        }
        evidence.contradicts(self.failed);
        self.unknowns.report(&mut evidence);
        evidence
    }
}

struct Candidate {
    files: SnapshotFiles,
    name: String,
    metadata: Metadata,
    version: Version,
    rounds: u32,
}

/// A snapshot whose metadata was read.
struct Found {
    files: SnapshotFiles,
    name: String,
    stored: Option<StoredMetadata>,
    rounds: u32,
}

/// What an entry is good for here.
enum Visited {
    Snapshot(Found),
    /// Nothing can be read that would tell its key.
    Other(Box<CatalogueEntry>),
}

struct Rewrap<'r, F> {
    keys: &'r dyn SnapshotKeys,
    is_dry_run: bool,
    newest: Option<u32>,
    waiting: Vec<Candidate>,
    report: &'r mut RewrapReport,
    tell: F,
}

/// Moves the data keys of all snapshots, or of one cluster's, to the newest version of the key. A dry run asks for the new wrapped keys, and
/// writes nothing. `now` is in seconds since 1970-01-01 UTC. `report` tells after an error too how far it came: what was moved stays so.
///
/// # Errors
/// [`BackupError`] of the store, and of the key as a whole. What fails for one snapshot is told by `tell`, and counted.
pub async fn rewrap(
    store: &Arc<dyn SnapshotStore>,
    keys: &dyn SnapshotKeys,
    cluster: Option<&str>,
    is_dry_run: bool,
    now: u64,
    report: &mut RewrapReport,
    tell: impl FnMut(RewrapEvent),
) -> Result<(), BackupError> {
    let visit = |entry: Entry| async move {
        if entry.metadata.is_none() || entry.obstacle.is_some() {
            return Ok(Visited::Other(Box::new(judge(entry, None, now))));
        }
        let name = format!("{}/{}", entry.cluster, entry.id);
        let files = SnapshotFiles::new(store, &entry.cluster, &entry.id);
        read(files, name, 0).await.map(Visited::Snapshot)
    };
    let visit = &visit;
    let entries = entries(store, cluster).map(|entry| async move { visit(entry?).await });
    let mut visited = pin!(entries.buffer_unordered(WORKERS));
    let mut rewrap = Rewrap {
        keys,
        is_dry_run,
        newest: None,
        waiting: Vec::new(),
        report,
        tell,
    };
    while let Some(visited) = visited.next().await {
        match visited? {
            Visited::Snapshot(found) => rewrap.take_in(found),
            Visited::Other(found) => rewrap.report.unknowns.add(&found),
        }
        while rewrap.waiting.len() >= keys.max_rewrap() {
            rewrap.move_waiting().await?;
        }
    }
    while !rewrap.waiting.is_empty() {
        rewrap.move_waiting().await?;
    }
    Ok(())
}

impl<F: FnMut(RewrapEvent)> Rewrap<'_, F> {
    /// Keeps a snapshot that may have to move.
    fn take_in(&mut self, found: Found) {
        (self.tell)(RewrapEvent::Inspected);
        // Pruned since it was listed.
        let Some(stored) = found.stored else {
            return;
        };
        let metadata = match Metadata::parse(&stored.json) {
            Ok(metadata) => metadata,
            Err(error) => {
                let error = BackupError::wrap(BackupErrorKind::Damaged, &error);
                return self.fail(found.name, error);
            }
        };
        if !self.keys.is_own(metadata.wrapped_dek()) {
            self.report.other_keys += 1;
            return;
        }
        if self.newest.is_some() && metadata.wrapped_dek().version() == self.newest {
            self.report.already_newest += 1;
            return;
        }
        self.waiting.push(Candidate {
            files: found.files,
            name: found.name,
            metadata,
            version: stored.version,
            rounds: found.rounds,
        });
    }

    /// Moves those that wait, with one request to the key. What another process changed concurrently waits again.
    async fn move_waiting(&mut self) -> Result<(), BackupError> {
        const WHAT: &str = "cannot rewrap data keys";
        let count = self.waiting.len().min(self.keys.max_rewrap());
        let candidates: Vec<Candidate> = self.waiting.drain(..count).collect();
        let deks: Vec<&WrappedDek> = candidates
            .iter()
            .map(|candidate| candidate.metadata.wrapped_dek())
            .collect();
        let moved = self.keys.rewrap(&deks).await;
        let moved = moved.map_err(|error| BackupError::of_kek(WHAT, error))?;
        let mut moves = Vec::new();
        for (candidate, moved) in candidates.into_iter().zip(moved) {
            match moved {
                Ok(new) if new.version() == candidate.metadata.wrapped_dek().version() => {
                    self.newest = self.newest.max(new.version());
                    self.report.already_newest += 1;
                }
                Ok(new) => {
                    self.newest = self.newest.max(new.version());
                    moves.push((candidate, new));
                }
                Err(error) => self.fail(candidate.name, BackupError::of_kek(WHAT, error)),
            }
        }
        if self.is_dry_run {
            self.report.rewrapped += moves.len() as u64;
            return Ok(());
        }
        let mut again = Vec::new();
        let moves = stream::iter(moves.into_iter().map(Ok));
        in_parallel(moves, replace, |(candidate, outcome)| {
            match outcome {
                Ok(Replaced::Yes) => self.report.rewrapped += 1,
                Ok(Replaced::Conflict) if candidate.rounds < MAX_ROUNDS => again.push(candidate),
                Ok(Replaced::Conflict) => {
                    let line = "it is changed all the time";
                    let error = BackupError::new(BackupErrorKind::Conflict, line);
                    self.fail(candidate.name, error);
                }
                // The next one would wait as long, and fail as well.
                Err(error) if error.kind() == BackupErrorKind::Unavailable => return Err(error),
                Err(error) => self.fail(candidate.name, error),
            }
            Ok(())
        })
        .await?;
        for candidate in again {
            let found = read(candidate.files, candidate.name, candidate.rounds + 1).await?;
            self.take_in(found);
        }
        Ok(())
    }

    fn fail(&mut self, snapshot: String, error: BackupError) {
        self.report.failed += 1;
        (self.tell)(RewrapEvent::Failed { snapshot, error });
    }
}

async fn read(files: SnapshotFiles, name: String, rounds: u32) -> Result<Found, BackupError> {
    let stored = files.read_metadata().await?;
    Ok(Found {
        files,
        name,
        stored,
        rounds,
    })
}

async fn replace(
    (candidate, wrapped): (Candidate, WrappedDek),
) -> Result<(Candidate, Result<Replaced, BackupError>), BackupError> {
    let wrapped_dek = wrapped.text();
    let outcome = match candidate.metadata.clone().with_wrapped_dek(wrapped) {
        Ok(metadata) => {
            let (json, version) = (metadata.to_json(), &candidate.version);
            let files = &candidate.files;
            files.replace_metadata(&json, &wrapped_dek, version).await
        }
        Err(error) => Err(BackupError::of_metadata(&candidate.name, error)),
    };
    Ok((candidate, outcome))
}
