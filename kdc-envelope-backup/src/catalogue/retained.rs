//! Which keys the retained snapshots of a cluster need for the rows inside: asked before a key is destroyed.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::needs::{InnerKey, InnerKeys};
use super::scan::scan;
use super::state::CatalogueEntry;
use crate::error::BackupError;
use crate::store::SnapshotStore;

/// The keys that one snapshot needs for the rows inside.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotNeeds {
    /// `<cluster>/<id>`.
    pub snapshot: String,
    /// When it was taken, in seconds since 1970-01-01 UTC.
    pub created: u64,
    /// Each key once.
    pub keys: Vec<InnerKey>,
}

impl SnapshotNeeds {
    /// The ids of its keys, each once, where rows tell them.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        let ids = self.keys.iter().filter_map(|key| key.key_id.as_deref());
        ids.collect::<BTreeSet<_>>().into_iter()
    }
}

/// What all retained snapshots need. A key may go only if no snapshot in [`known`](Self::known) has it, and
/// [`unknown`](Self::unknown) is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetainedKeys {
    /// Snapshots whose keys are known, all or some, in order of their names.
    pub known: Vec<SnapshotNeeds>,
    /// Snapshots, and what may hide some, of which it could not be told, or not of all rows: any key may be needed.
    pub unknown: Vec<String>,
}

impl RetainedKeys {
    /// The names of the snapshots that need the key `id`.
    #[must_use]
    pub fn needing(&self, id: &str) -> Vec<&str> {
        let needing = self
            .known
            .iter()
            .filter(|needs| needs.key_ids().any(|key| key == id));
        needing.map(|needs| needs.snapshot.as_str()).collect()
    }

    fn add(&mut self, found: &CatalogueEntry) {
        let name = || found.object().unwrap_or_else(|| found.name());
        let groups = match InnerKeys::of(found) {
            InnerKeys::NotNeeded => return,
            InnerKeys::Unknown => return self.unknown.push(name()),
            InnerKeys::Counted { groups, unnamed } => {
                if unnamed.is_some() {
                    self.unknown.push(name());
                }
                groups
            }
        };
        let keys: BTreeSet<InnerKey> = groups.into_iter().map(InnerKey::from).collect();
        self.known.push(SnapshotNeeds {
            snapshot: name(),
            created: found.created(),
            keys: keys.into_iter().collect(),
        });
    }
}

/// Which keys the snapshots of a store, or of one cluster in it, need, and of which snapshots that could not be told. `now` is in seconds
/// since 1970-01-01 UTC. A store without any snapshot gives an empty result: whether that can be is for the caller to say.
///
/// # Errors
/// [`BackupError`] of the store; then nothing is known of any snapshot.
pub async fn retained_keys(
    store: &Arc<dyn SnapshotStore>,
    cluster: Option<&str>,
    now: u64,
) -> Result<RetainedKeys, BackupError> {
    let mut keys = RetainedKeys::default();
    scan(store, cluster, now, |found| keys.add(&found)).await?;
    keys.known.sort_by(|a, b| a.snapshot.cmp(&b.snapshot));
    keys.unknown.sort();
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use kdc_testbed::fixtures::SnapshotSample;

    use super::*;
    use crate::catalogue::judge;
    use crate::catalogue::state::tests::{NOW, entry, known};

    #[test]
    fn each_snapshot_tells_its_keys_or_that_it_cannot() {
        let mut keys = RetainedKeys::default();
        for (id, inner) in [
            ("a", Some(vec![("key-1", 5), ("key-2", 1)])),
            ("b", Some(vec![("key-2", 7)])),
            ("not-counted", None),
        ] {
            keys.add(&known(&SnapshotSample {
                id,
                inner,
                ..SnapshotSample::default()
            }));
        }
        let orphan = SnapshotSample {
            id: "orphan",
            ..SnapshotSample::default()
        };
        keys.add(&judge(entry(&orphan), None, NOW));
        assert_eq!(keys.needing("key-1"), ["c/a"]);
        assert_eq!(keys.needing("key-2"), ["c/a", "c/b"]);
        assert!(keys.needing("key-3").is_empty());
        assert_eq!(keys.unknown, ["c/not-counted", "c/orphan"]);
    }
}
