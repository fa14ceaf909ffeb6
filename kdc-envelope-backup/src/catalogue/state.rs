//! What a snapshot in a store is good for, as far as can be told without its key.

use std::sync::Arc;

use kdc_envelope::ErrorChain;
use kdc_envelope::snapshot::metadata::{Metadata, MetadataError};
use serde::Serialize;

use crate::error::BackupError;
use crate::store::{Entry, Seen, SnapshotFiles, SnapshotStore};

/// How far ahead the clock of the machine may be that took a snapshot, in seconds: a day.
const CLOCKS_DIFFER: u64 = 86_400;
/// Nonce, tag, and a byte between them.
const MIN_V1_LEN: u64 = 12 + 16 + 1;

/// What an entry of a store turns out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum State {
    /// A whole snapshot of version 1.
    CompleteV1,
    /// A whole snapshot of version 2.
    CompleteV2,
    /// Data without metadata: its run has not ended, or never will.
    Orphan,
    /// Metadata without data: there is nothing to restore.
    DataMissing,
    /// The data has not the length that the metadata tells.
    DataLength,
    /// Metadata that cannot be used.
    MetadataDamaged,
    /// Metadata that says two different versions of the key.
    VersionMismatch,
    /// Metadata of a later release.
    UnknownSchema,
    /// Metadata of another snapshot or cluster.
    Misplaced,
    /// Metadata that tells no time, or one that has not come yet, so that its place among the others is not known.
    TimeUnknown,
    /// Something stands in the way, such as a link or a pipe.
    NotLookedAt,
    /// A snapshot that nothing encrypts.
    Plaintext,
    /// An object that is of no snapshot.
    Foreign,
}

impl State {
    /// All of them, in order.
    pub const ALL: [Self; 13] = [
        Self::CompleteV1,
        Self::CompleteV2,
        Self::Orphan,
        Self::DataMissing,
        Self::DataLength,
        Self::MetadataDamaged,
        Self::VersionMismatch,
        Self::UnknownSchema,
        Self::Misplaced,
        Self::TimeUnknown,
        Self::NotLookedAt,
        Self::Plaintext,
        Self::Foreign,
    ];

    /// For people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::CompleteV1 => "complete (version 1)",
            Self::CompleteV2 => "complete (version 2)",
            Self::Orphan => "orphan: no metadata",
            Self::DataMissing => "no data",
            Self::DataLength => "data of another length",
            Self::MetadataDamaged => "metadata damaged",
            Self::VersionMismatch => "key version contradicts itself",
            Self::UnknownSchema => "of a later release",
            Self::Misplaced => "metadata of another snapshot",
            Self::TimeUnknown => "taken at an unknown time",
            Self::NotLookedAt => "not looked at",
            Self::Plaintext => "NOT ENCRYPTED",
            Self::Foreign => "unknown object",
        }
    }

    /// Whether it can be restored, as far as can be told.
    #[must_use]
    pub const fn is_complete(self) -> bool {
        matches!(self, Self::CompleteV1 | Self::CompleteV2)
    }

    /// Whether it needs the attention of an operator.
    #[must_use]
    pub const fn is_damage(self) -> bool {
        matches!(
            self,
            Self::DataMissing
                | Self::DataLength
                | Self::MetadataDamaged
                | Self::VersionMismatch
                | Self::Misplaced
        )
    }
}

/// An entry of a store, judged.
#[derive(Debug)]
#[non_exhaustive]
pub struct CatalogueEntry {
    /// The objects.
    pub entry: Entry,
    /// What they are.
    pub state: State,
    /// What is wrong, where the state alone does not say it.
    pub detail: Option<String>,
    /// Of snapshots whose metadata can be read.
    pub metadata: Option<Metadata>,
    /// To delete exactly this.
    pub seen: Seen,
}

impl CatalogueEntry {
    /// When the snapshot was taken, in seconds since 1970-01-01 UTC: as its metadata tells if that can be, or else as its objects do.
    #[must_use]
    pub fn created(&self) -> u64 {
        let metadata = self.metadata.as_ref();
        let told = metadata.filter(|_| self.state != State::TimeUnknown);
        told.and_then(created).unwrap_or(self.entry.modified)
    }

    /// The key of what is not in the place of a snapshot.
    #[must_use]
    pub fn object(&self) -> Option<String> {
        let entry = &self.entry;
        let obstacle = entry.obstacle.as_ref().filter(|_| !entry.is_snapshot());
        let key = obstacle.map(|obstacle| obstacle.key.clone());
        key.or_else(|| entry.plaintext_db.clone())
    }

    /// What it is, for people: a snapshot, or an object.
    #[must_use]
    pub fn name(&self) -> String {
        let entry = &self.entry;
        match &entry.obstacle {
            Some(obstacle) => obstacle.key.clone(),
            None => format!("{}/{}", entry.cluster, entry.id),
        }
    }
}

/// Reads the metadata of an entry, if it has any, and judges. `None` if it was deleted since it was listed.
pub(crate) async fn inspect(
    store: &Arc<dyn SnapshotStore>,
    entry: Entry,
    now: u64,
) -> Result<Option<CatalogueEntry>, BackupError> {
    if entry.metadata.is_none() || entry.obstacle.is_some() {
        return Ok(Some(judge(entry, None, now)));
    }
    let files = SnapshotFiles::new(store, &entry.cluster, &entry.id);
    let stored = files.read_metadata().await?;
    Ok(stored.map(|stored| judge(entry, Some(&stored.json), now)))
}

/// What an entry is, given its `metadata.json`. `now` is in seconds since 1970-01-01 UTC.
#[must_use]
pub fn judge(entry: Entry, json: Option<&[u8]>, now: u64) -> CatalogueEntry {
    let seen = match json {
        Some(json) => Seen::of_metadata(json),
        None => Seen::Orphan {
            modified: entry.modified,
        },
    };
    let known = |entry, state, detail, metadata| CatalogueEntry {
        entry,
        state,
        detail,
        metadata,
        seen,
    };
    if let Some(obstacle) = &entry.obstacle {
        let detail = format!("`{}` is {}", obstacle.key, obstacle.what);
        return known(entry, State::NotLookedAt, Some(detail), None);
    }
    if !entry.is_snapshot() {
        let state = match entry.plaintext_db {
            Some(_) => State::Plaintext,
            None => State::Foreign,
        };
        return known(entry, state, None, None);
    }
    let Some(json) = json else {
        return known(entry, State::Orphan, None, None);
    };
    match Metadata::parse(json) {
        Ok(metadata) => {
            let (state, detail) = agree(&entry, &metadata, now);
            known(entry, state, detail, Some(metadata))
        }
        Err(error) => {
            let detail = ErrorChain::new(&error).to_string();
            known(entry, state_of(&error), Some(detail), None)
        }
    }
}

fn state_of(error: &MetadataError) -> State {
    match error {
        MetadataError::UnknownSchema(_) => State::UnknownSchema,
        MetadataError::Field {
            field: "transitKeyVersion",
            ..
        } => State::VersionMismatch,
        _ => State::MetadataDamaged,
    }
}

/// Whether metadata and objects belong together.
fn agree(entry: &Entry, whole: &Metadata, now: u64) -> (State, Option<String>) {
    let Some(data) = entry.data else {
        return (State::DataMissing, None);
    };
    let Metadata::V2(metadata) = whole else {
        if data.len < MIN_V1_LEN {
            let detail = format!("{} bytes, fewer than any snapshot has", data.len);
            return (State::DataLength, Some(detail));
        }
        return in_time(whole, State::CompleteV1, now);
    };
    let identity = metadata.identity();
    if identity.cluster() != entry.cluster || identity.snapshot() != entry.id {
        let detail = format!("of {}/{}", identity.cluster(), identity.snapshot());
        return (State::Misplaced, Some(detail));
    }
    if metadata.sealed_len() != data.len {
        let detail = format!("{} bytes instead of {}", data.len, metadata.sealed_len());
        return (State::DataLength, Some(detail));
    }
    in_time(whole, State::CompleteV2, now)
}

/// Metadata that any writer of the store may have put there must not pass for the newest by a time in the future.
fn in_time(metadata: &Metadata, state: State, now: u64) -> (State, Option<String>) {
    let latest = now.saturating_add(CLOCKS_DIFFER);
    if created(metadata).is_some_and(|time| time <= latest) {
        return (state, None);
    }
    let detail = format!("its metadata says `{}`", metadata.created_at());
    (State::TimeUnknown, Some(detail))
}

/// As the metadata tells, in seconds since 1970-01-01 UTC.
fn created(metadata: &Metadata) -> Option<u64> {
    let time: jiff::Timestamp = metadata.created_at().parse().ok()?;
    u64::try_from(time.as_second()).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use kdc_testbed::fixtures::SnapshotSample;

    use super::*;
    use crate::store::{ObjectInfo, Obstacle};

    /// Later than all samples.
    pub(crate) const NOW: u64 = 1_800_000_000;

    pub(crate) fn entry(sample: &SnapshotSample<'_>) -> Entry {
        let info = ObjectInfo {
            len: 100,
            modified: sample.created,
        };
        Entry {
            cluster: sample.cluster.to_owned(),
            id: sample.id.to_owned(),
            data: Some(info),
            wrapped_dek: true,
            metadata: Some(info),
            modified: sample.created,
            ..Entry::default()
        }
    }

    pub(crate) fn known(sample: &SnapshotSample<'_>) -> CatalogueEntry {
        let mut known = judge(
            entry(sample),
            Some(sample.metadata().to_string().as_bytes()),
            NOW,
        );
        if sample
            .cluster
            .bytes()
            .any(|byte| !byte.is_ascii_alphanumeric())
        {
            known.state = State::CompleteV2; // a name that no bucket gives, to see that it is escaped
        }
        known
    }

    fn state(edit: impl FnOnce(&mut Entry, &mut serde_json::Value)) -> State {
        let sample = SnapshotSample::default();
        let (mut entry, mut json) = (entry(&sample), sample.metadata());
        edit(&mut entry, &mut json);
        judge(entry, Some(json.to_string().as_bytes()), NOW).state
    }

    #[test]
    fn what_can_be_told_without_a_key_is_told() {
        assert_eq!(state(|_, _| {}), State::CompleteV2);
        assert_eq!(state(|entry, _| entry.data = None), State::DataMissing);
        assert_eq!(
            state(|_, json| json["sealedLength"] = 7.into()),
            State::DataLength
        );
        assert_eq!(
            state(|_, json| json["cluster"] = "d".into()),
            State::Misplaced
        );
        assert_eq!(
            state(|_, json| json["snapshot"] = "t".into()),
            State::Misplaced
        );
        assert_eq!(
            state(|_, json| json["schemaVersion"] = 3.into()),
            State::UnknownSchema
        );
        assert_eq!(
            state(|_, json| json["transitKeyVersion"] = 2.into()),
            State::VersionMismatch
        );
        assert_eq!(
            state(|_, json| json["mac"] = "".into()),
            State::MetadataDamaged
        );
        assert_eq!(
            state(|_, json| json["createdAt"] = "9999-12-31T23:59:59Z".into()),
            State::TimeUnknown
        );
        assert_eq!(
            state(|_, json| json["createdAt"] = "9000-01-01T00:00:00Z".into()),
            State::TimeUnknown
        );
        let hour = jiff::Timestamp::from_second(i64::try_from(NOW + 3600).unwrap());
        let hour = hour.unwrap().to_string();
        assert_eq!(
            state(|_, json| json["createdAt"] = hour.into()),
            State::CompleteV2
        );
        let obstacle = Obstacle {
            key: "c/s/metadata.json".to_owned(),
            what: "a pipe",
            hides_snapshots: false,
            modified: 0,
        };
        assert_eq!(
            state(|entry, _| entry.obstacle = Some(obstacle)),
            State::NotLookedAt
        );
        let sample = SnapshotSample::default();
        assert_eq!(
            judge(entry(&sample), Some(b"{"), NOW).state,
            State::MetadataDamaged
        );
        assert_eq!(judge(entry(&sample), None, NOW).state, State::Orphan);
    }
}
