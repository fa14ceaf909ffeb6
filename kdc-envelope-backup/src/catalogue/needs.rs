//! What a store holds, added up: how many snapshots in which state, and which versions of which keys they need, by what, since when.
//!
//! Memory grows with the number of keys and clusters, never with that of snapshots.

use std::collections::BTreeMap;

use kdc_envelope::evidence::{Evidence, Gap, GapKind};
use kdc_envelope::key_usage::Provider;
use kdc_envelope::snapshot::metadata::{RowGroup, WrappedDek};

use super::evidence::{Unknowns, nothing_in};
use super::state::{CatalogueEntry, State};

/// The most keys that are told apart; those of further snapshots are counted together.
const MAX_KEYS: usize = 4096;
/// The most clusters, and days, that are told apart for one key.
const MAX_PER_KEY: usize = 2048;
/// Names that stand for all of their kind.
const EXAMPLES: usize = 5;
const DAY: u64 = 86_400;

/// A version of a key that wraps the DEKs of snapshots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a key has a name and a version in Transit, or an id"
)]
pub enum OuterKey {
    /// Of OpenBao Transit.
    Transit {
        /// `None` if it was not recorded, as in version 1.
        mount: Option<String>,
        /// Its name.
        key: String,
        /// Its version.
        version: u32,
    },
    /// Of anything else.
    KeyId(String),
}

impl From<&WrappedDek> for OuterKey {
    fn from(wrapped: &WrappedDek) -> Self {
        match wrapped {
            WrappedDek::Transit {
                mount,
                key,
                version,
                ..
            } => Self::Transit {
                mount: mount.clone(),
                key: key.clone(),
                version: *version,
            },
            other => Self::KeyId(other.to_string()),
        }
    }
}

/// A version of a key that encrypts rows inside of snapshots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct InnerKey {
    /// The kind of provider, as in an EncryptionConfiguration.
    pub provider: String,
    /// The name of the provider or of its key.
    pub name: Option<String>,
    /// The id of the key, where rows tell it.
    pub key_id: Option<String>,
    /// The version of the key, where rows tell it.
    pub version: Option<u32>,
}

impl From<&RowGroup> for InnerKey {
    fn from(group: &RowGroup) -> Self {
        Self {
            provider: group.provider.clone(),
            name: group.name.clone(),
            key_id: group.key_id.clone(),
            version: group.version,
        }
    }
}

/// The snapshots that need one key.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Need {
    /// How many.
    pub snapshots: u64,
    /// In all of them; 0 for outer keys.
    pub rows: u64,
    /// The oldest of them.
    pub oldest: Option<Mark>,
    /// The newest of them.
    pub newest: Option<Mark>,
    /// Snapshots by cluster.
    pub clusters: BTreeMap<String, u64>,
    /// Snapshots by day since 1970-01-01.
    pub days: BTreeMap<u64, u64>,
}

/// One snapshot, by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Mark {
    /// In seconds since 1970-01-01 UTC.
    pub time: u64,
    /// `<cluster>/<id>`.
    pub name: String,
}

impl Need {
    fn add(&mut self, known: &CatalogueEntry, time: u64, rows: u64) {
        self.snapshots += 1;
        self.rows = self.rows.saturating_add(rows);
        let is_older = self.oldest.as_ref().is_none_or(|mark| time < mark.time);
        if is_older {
            self.oldest = Some(mark(known, time));
        }
        let is_newer = self.newest.as_ref().is_none_or(|mark| time > mark.time);
        if is_newer {
            self.newest = Some(mark(known, time));
        }
        if let Some(count) = self.clusters.get_mut(&known.entry.cluster) {
            *count += 1;
        } else if self.clusters.len() < MAX_PER_KEY {
            self.clusters.insert(known.entry.cluster.clone(), 1);
        }
        if self.days.len() < MAX_PER_KEY || self.days.contains_key(&(time / DAY)) {
            *self.days.entry(time / DAY).or_default() += 1;
        }
    }
}

/// Entries in one state.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// Of their data.
    pub bytes: u64,
    /// Names of some of them, with what is wrong.
    pub examples: Vec<String>,
}

/// What the snapshots of a store need, and in which states they are.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct KeyNeeds {
    /// Entries by state.
    pub states: BTreeMap<State, Tally>,
    /// Keys that wrap the DEKs of snapshots.
    pub outer: BTreeMap<OuterKey, Need>,
    /// Keys that encrypt rows inside of snapshots.
    pub inner: BTreeMap<InnerKey, Need>,
    /// Snapshots whose outer key cannot be told: any key may be needed.
    pub outer_unknown: Need,
    /// Snapshots whose rows were not counted: any key may be needed.
    pub inner_unknown: Need,
    /// Snapshots with keys beyond the number that is told apart.
    pub truncated: u64,
    /// Snapshots that tell their outer key.
    reported: u64,
    /// What does not.
    unknowns: Unknowns,
}

impl KeyNeeds {
    /// Adds an entry of the store.
    pub fn add(&mut self, known: &CatalogueEntry) {
        let tally = self.states.entry(known.state).or_default();
        tally.count += 1;
        tally.bytes += known.entry.data.map_or(0, |data| data.len);
        if tally.examples.len() < EXAMPLES {
            tally.examples.push(example(known));
        }
        self.unknowns.add(known);
        let time = known.created();
        self.add_outer(known, time);
        match InnerKeys::of(known) {
            InnerKeys::NotNeeded => {}
            InnerKeys::Unknown => self.inner_unknown.add(known, time, 0),
            InnerKeys::Counted { groups, unnamed } => {
                let mut is_truncated = false;
                for group in groups {
                    let inner = InnerKey::from(group);
                    is_truncated |= !add_to(&mut self.inner, inner, known, time, group.rows);
                }
                self.truncated += u64::from(is_truncated);
                if let Some(rows) = unnamed {
                    self.inner_unknown.add(known, time, rows);
                }
            }
        }
    }

    fn add_outer(&mut self, known: &CatalogueEntry, time: u64) {
        // No key opens plaintext or what is not there.
        if matches!(
            known.state,
            State::Foreign | State::Plaintext | State::DataMissing
        ) {
            return;
        }
        let Some(metadata) = &known.metadata else {
            return self.outer_unknown.add(known, time, 0);
        };
        self.reported += 1;
        let outer = OuterKey::from(metadata.wrapped_dek());
        self.truncated += u64::from(!add_to(&mut self.outer, outer, known, time, 0));
    }

    /// For the statement that the outer keys are all that the snapshots in `place` need.
    #[must_use]
    pub fn evidence_of_outer(&self, place: &str) -> Evidence {
        let mut evidence = self.evidence(place);
        self.unknowns.report(&mut evidence);
        evidence
    }

    /// The same for the inner keys.
    #[must_use]
    pub fn evidence_of_inner(&self, place: &str) -> Evidence {
        let mut evidence = self.evidence(place);
        let unknown = &self.inner_unknown;
        if let Some(oldest) = &unknown.oldest {
            let gap = Gap::new(GapKind::NotLookedAt, unknown.snapshots, &oldest.name);
            evidence.add_gap(gap);
        }
        evidence
    }

    fn evidence(&self, place: &str) -> Evidence {
        let mut evidence = Evidence::new();
        evidence.agrees(self.reported);
        if self.reported + self.unknowns.count() == 0 {
            evidence.add_gap(nothing_in(place));
        }
        if self.truncated > 0 {
            evidence.add_gap(Gap::new(GapKind::TooMany, self.truncated, place));
        }
        evidence
    }

    /// How many entries are in one of these states.
    pub fn count(&self, is_meant: impl Fn(State) -> bool) -> u64 {
        let tallies = self.states.iter().filter(|(state, _)| is_meant(**state));
        tallies.map(|(_, tally)| tally.count).sum()
    }
}

/// What an entry of a store tells about the keys of the rows inside: the one rule for all who ask.
pub(super) enum InnerKeys<'e> {
    /// It holds no rows that a key could open.
    NotNeeded,
    /// Any key may be needed.
    Unknown,
    /// The rows were counted.
    Counted {
        /// Those that say which key they need, or that they need none.
        groups: Vec<&'e RowGroup>,
        /// How many rows the others are, if there are any: they may need any key.
        unnamed: Option<u64>,
    },
}

impl<'e> InnerKeys<'e> {
    pub(super) fn of(entry: &'e CatalogueEntry) -> Self {
        match entry.state {
            State::Foreign | State::DataMissing => return Self::NotNeeded,
            // No key opens it, but its rows may need any.
            State::Plaintext => return Self::Unknown,
            _ => {}
        }
        let metadata = entry.metadata.as_ref();
        let Some(rows) = metadata.and_then(|metadata| metadata.rows()) else {
            return Self::Unknown;
        };
        let (groups, unnamed): (Vec<_>, Vec<_>) =
            rows.groups.iter().partition(|group| tells_key(group));
        let is_complete = rows.ungrouped == 0 && unnamed.is_empty();
        let unnamed: u64 = unnamed.iter().map(|group| group.rows).sum();
        Self::Counted {
            groups,
            unnamed: (!is_complete).then_some(rows.ungrouped.saturating_add(unnamed)),
        }
    }
}

/// Whether rows say which key they need, or that they need none. Damaged ones may not.
fn tells_key(group: &RowGroup) -> bool {
    let is_plain = group.provider == Provider::Identity.as_str();
    is_plain || group.name.is_some() || group.key_id.is_some()
}

fn add_to<K: Ord>(
    needs: &mut BTreeMap<K, Need>,
    key: K,
    known: &CatalogueEntry,
    time: u64,
    rows: u64,
) -> bool {
    let has_room = needs.len() < MAX_KEYS || needs.contains_key(&key);
    if has_room {
        needs.entry(key).or_default().add(known, time, rows);
    }
    has_room
}

fn mark(known: &CatalogueEntry, time: u64) -> Mark {
    Mark {
        time,
        name: known.object().unwrap_or_else(|| known.name()),
    }
}

fn example(known: &CatalogueEntry) -> String {
    let foreign = known.entry.foreign.first().cloned();
    let name = known.object().or(foreign).unwrap_or_else(|| known.name());
    match &known.detail {
        Some(detail) => format!("{name}: {detail}"),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use kdc_testbed::fixtures::SnapshotSample;

    use super::*;
    use crate::catalogue::judge;
    use crate::catalogue::state::tests::{NOW, entry, known};

    #[test]
    fn damaged_rows_that_name_no_key_may_need_any() {
        let sample = SnapshotSample::default();
        let mut json = sample.metadata();
        json["rows"] = serde_json::json!({"total": 6, "groups": [
            {"provider": "identity", "rows": 3},
            {"provider": "kms-v2", "rows": 2},
            {"provider": "aesgcm", "name": "key1", "rows": 1},
        ]});
        let mut needs = KeyNeeds::default();
        needs.add(&judge(
            entry(&sample),
            Some(json.to_string().as_bytes()),
            NOW,
        ));
        assert_eq!(needs.inner_unknown.rows, 2);
        let named: Vec<_> = needs
            .inner
            .keys()
            .map(|key| key.provider.as_str())
            .collect();
        assert_eq!(named, ["aesgcm", "identity"]);
    }

    #[test]
    fn memory_does_not_grow_with_hostile_names() {
        let mut needs = KeyNeeds::default();
        for number in 0..6000_u32 {
            needs.add(&known(&SnapshotSample {
                version: number + 1,
                cluster: &format!("c{number}"),
                created: u64::from(number) * DAY,
                inner: Some(vec![("same", 1)]),
                ..SnapshotSample::default()
            }));
        }
        assert_eq!(needs.outer.len(), 4096);
        assert_eq!(needs.truncated, 6000 - 4096);
        let (_, need) = needs.inner.first_key_value().unwrap();
        assert_eq!(
            (need.snapshots, need.days.len(), need.clusters.len()),
            (6000, 2048, 2048)
        );
    }
}
