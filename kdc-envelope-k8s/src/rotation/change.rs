//! A change of keys in a form that outlives a crash.
//!
//! It is the specification of what shall be reached and no record of how far it is: that is always observed. It names keys
//! and never holds them, so it may be shown. A tool keeps it in a file, a controller in an object.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::writer::{UnknownWriter, Writer};
use super::{Desired, Revision, Timestamp};
use crate::encryption_config::{Chain, GroupResource, Layout, Transformer};

/// How many local keys stay in a configuration for each resource, the writer included.
pub const KEEP_KEYS: usize = 8;

/// A change that was requested. In JSON it has the fields `change`, `asked`, `writers`, `before`, `keepKeys`, `keepIdentity` and
/// `done`; the last but two are constant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "StoredChange", try_from = "StoredChange")]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Change {
    /// Which kind it is.
    pub kind: ChangeKind,
    /// When it was requested, in seconds since 1970-01-01 UTC.
    pub requested: u64,
    /// Who shall write each resource or wildcard, by their names in a configuration.
    pub writers: BTreeMap<GroupResource, Writer>,
    /// Who wrote them before; what an abort goes back to.
    pub before: BTreeMap<GroupResource, Writer>,
    /// When everything was as requested, in seconds since 1970-01-01 UTC; `None` while it is under way.
    pub done: Option<u64>,
}

/// The kinds of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum ChangeKind {
    /// Resources are encrypted, or by another provider than before.
    Enable,
    /// A new local key writes.
    Rotate,
    /// Resources are stored plain.
    Disable,
    /// An earlier change is turned around.
    Abort,
}

impl ChangeKind {
    /// The word for it: `enable`, `rotate`, `disable` or `abort`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enable => "enable",
            Self::Rotate => "rotate",
            Self::Disable => "disable",
            Self::Abort => "abort",
        }
    }
}

/// What is stored of a [`Change`]. Every release wrote `keepKeys` and `keepIdentity`, and never another value than this one.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredChange {
    change: ChangeKind,
    asked: u64,
    writers: BTreeMap<GroupResource, Writer>,
    before: BTreeMap<GroupResource, Writer>,
    keep_keys: usize,
    keep_identity: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    done: Option<u64>,
}

impl From<Change> for StoredChange {
    fn from(change: Change) -> Self {
        Self {
            change: change.kind,
            asked: change.requested,
            writers: change.writers,
            before: change.before,
            keep_keys: KEEP_KEYS,
            keep_identity: false,
            done: change.done,
        }
    }
}

/// A stored change asks for something that no release could do.
#[derive(Debug, thiserror::Error)]
#[error("`keepKeys` must be {KEEP_KEYS} and `keepIdentity` false")]
struct UnsupportedChange;

impl TryFrom<StoredChange> for Change {
    type Error = UnsupportedChange;

    fn try_from(stored: StoredChange) -> Result<Self, UnsupportedChange> {
        if stored.keep_keys != KEEP_KEYS || stored.keep_identity {
            return Err(UnsupportedChange);
        }
        Ok(Self {
            kind: stored.change,
            requested: stored.asked,
            writers: stored.writers,
            before: stored.before,
            done: stored.done,
        })
    }
}

impl Change {
    /// A change to `writers` in a cluster whose files mean `files` now. What a file has lost of the writers of the newest
    /// `revision` is what an abort goes back to.
    #[must_use]
    pub fn new(
        kind: ChangeKind,
        writers: &BTreeMap<GroupResource, Transformer>,
        files: &[&Layout],
        revision: Option<&Revision>,
        now: Timestamp,
    ) -> Self {
        let named =
            |(name, writer): (&GroupResource, &Transformer)| (name.clone(), Writer::of(writer));
        let before = |name: &GroupResource| {
            let chain = files
                .first()
                .map_or_else(Chain::plain, |file| file.chain_of(name));
            let recorded = revision.and_then(|revision| revision.writer(name));
            let lost = recorded.filter(|recorded| !chain.reads(recorded));
            let writer = lost.unwrap_or_else(|| chain.writer());
            (name.clone(), Writer::of(writer))
        };
        Self {
            kind,
            requested: now.as_secs(),
            writers: writers.iter().map(named).collect(),
            before: writers.keys().map(before).collect(),
            done: None,
        }
    }

    /// The change that turns this one around.
    #[must_use]
    pub fn aborted(&self, now: Timestamp) -> Self {
        Self {
            kind: ChangeKind::Abort,
            requested: now.as_secs(),
            writers: self.before.clone(),
            before: self.writers.clone(),
            done: None,
        }
    }

    /// What the planner is to reach. `known` are the transformers of the keyring and of the files.
    ///
    /// # Errors
    /// [`UnknownWriter`] if one of the writers is not among them.
    pub fn desired(&self, known: &[&Transformer]) -> Result<Desired, UnknownWriter> {
        let writers = self
            .writers
            .iter()
            .map(|(name, writer)| Ok((name.clone(), writer.resolve(known)?)));
        Ok(Desired {
            writers: writers.collect::<Result<_, UnknownWriter>>()?,
            keep_keys: KEEP_KEYS,
            interrupt: self.kind == ChangeKind::Abort,
        })
    }
}
