//! Every key that a configuration ever named, so that no row and no backup is lost with a file.
//!
//! One form for two places: the keyring of the cluster, from which the planner takes its [`Keyring`], and the history
//! file on each node. Things are added and marked, and nothing is ever taken out. The text form is in `docs/formats.md`.

mod parse;
mod render;

use std::collections::BTreeMap;

pub use parse::{HistoryError, LineProblem};

use super::{Kept, Keyring, Revision, Timestamp};
use crate::encryption_config::{GroupResource, LocalKey, Transformer};

/// The longest text that is read, in bytes.
pub const MAX_HISTORY_LEN: usize = 1 << 20;

/// Keys, KMS providers and revisions in the order in which they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyHistory {
    entries: Vec<HistoryEntry>,
    revisions: Vec<RecordedRevision>,
}

/// A key or a KMS provider.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryEntry {
    /// Which one; never identity.
    pub transformer: Transformer,
    /// Whether rows may have been written with it.
    pub used: bool,
    /// When it was added.
    pub added: Timestamp,
}

/// A revision and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedRevision {
    /// Its number and writers.
    pub revision: Revision,
    /// When it was recorded.
    pub recorded: Timestamp,
}

/// A revision that cannot follow on what is recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Another one has this number, or a later one.
    #[error("revision {number} cannot follow on revision {newest}; look again and plan again")]
    NotNewer {
        /// The given number.
        number: u64,
        /// The newest one.
        newest: u64,
    },
    /// A writer was not kept first.
    #[error("{0} is not in the key history; keep it before it writes")]
    NotKept(Transformer),
}

impl KeyHistory {
    /// Keys and KMS providers, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[HistoryEntry] {
        &self.entries
    }

    /// The revisions, oldest first.
    #[must_use]
    pub fn revisions(&self) -> &[RecordedRevision] {
        &self.revisions
    }

    /// The local keys, oldest first.
    pub fn local_keys(&self) -> impl Iterator<Item = &LocalKey> {
        self.entries
            .iter()
            .filter_map(|entry| entry.transformer.local())
    }

    /// Adds `transformer`, or marks it as used. Says whether that changed anything; identity needs no place.
    pub fn keep(&mut self, transformer: &Transformer, used: bool, now: Timestamp) -> bool {
        let mut entries = self.entries.iter_mut();
        match entries.find(|entry| entry.transformer.is_same(transformer)) {
            Some(entry) => {
                let changes = used && !entry.used;
                entry.used |= used;
                changes
            }
            None if *transformer == Transformer::Identity => false,
            None => {
                self.entries.push(HistoryEntry {
                    transformer: transformer.clone(),
                    used,
                    added: now,
                });
                true
            }
        }
    }

    /// Adds `revision`, and marks its writers as used. The same one again changes nothing.
    ///
    /// # Errors
    /// [`RecordError`]; nothing is changed then.
    pub fn record(&mut self, revision: Revision, now: Timestamp) -> Result<(), RecordError> {
        if let Some(newest) = self.revisions.last().map(|newest| &newest.revision) {
            if *newest == revision {
                return Ok(());
            }
            if newest.number >= revision.number {
                return Err(RecordError::NotNewer {
                    number: revision.number,
                    newest: newest.number,
                });
            }
        }
        let is_kept = |writer: &Transformer| self.number(writer).is_some();
        if let Some(missing) = revision.writers.values().find(|writer| !is_kept(writer)) {
            return Err(RecordError::NotKept(missing.clone()));
        }
        for writer in revision.writers.values() {
            self.keep(writer, true, now);
        }
        self.revisions.push(RecordedRevision {
            revision,
            recorded: now,
        });
        Ok(())
    }

    /// What the planner needs of it.
    #[must_use]
    pub fn keyring(&self) -> Keyring {
        let kept = |entry: &HistoryEntry| Kept {
            transformer: entry.transformer.clone(),
            used: entry.used,
        };
        Keyring {
            kept: self.entries.iter().map(kept).collect(),
            revision: self.revisions.last().map(|newest| newest.revision.clone()),
        }
    }

    /// Adds what only `other` has, such as the history of another node. Revisions stay those of this one, since those of a
    /// node need not be complete.
    pub fn merge(&mut self, other: &Self) {
        for entry in &other.entries {
            self.keep(&entry.transformer, entry.used, entry.added);
        }
    }

    /// The number of a writer in the text: its place from 1, and 0 for identity.
    fn number(&self, writer: &Transformer) -> Option<usize> {
        if *writer == Transformer::Identity {
            return Some(0);
        }
        let place = self
            .entries
            .iter()
            .position(|entry| entry.transformer.is_same(writer));
        place.map(|place| place + 1)
    }

    fn numbered(&self, number: usize) -> Option<Transformer> {
        match number.checked_sub(1) {
            None => Some(Transformer::Identity),
            Some(place) => self
                .entries
                .get(place)
                .map(|entry| entry.transformer.clone()),
        }
    }
}

/// Writers of a revision by resource.
type Writers = BTreeMap<GroupResource, Transformer>;
