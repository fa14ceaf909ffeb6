//! Which keys are needed, for programs: names and numbers that JSON and the page show.

use kdc_envelope_backup::catalogue::{InnerKey, KeyNeeds, Mark, Need, OuterKey, State, Tally};
use serde::Serialize;

use crate::clock::rfc3339;
use crate::failure::escaped;

/// Clusters that are named for each key.
const NAMED_CLUSTERS: usize = 20;

/// The JSON of `kdc backup inventory`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) bucket: String,
    pub(super) taken: Option<String>,
    pub(super) states: Vec<StateReport>,
    pub(super) outer_keys: Vec<OuterReport>,
    pub(super) outer_key_unknown: NeedReport,
    pub(super) inner_keys: Vec<InnerReport>,
    /// Snapshots whose rows were not counted.
    pub(super) inner_keys_unknown: NeedReport,
    /// Snapshots of more keys than are told apart.
    pub(super) snapshots_beyond: u64,
    /// Reads of metadata.
    pub(super) reads: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StateReport {
    pub(super) state: State,
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) examples: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OuterReport {
    /// For people.
    pub(super) label: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mount: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    #[serde(flatten)]
    pub(super) need: NeedReport,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InnerReport {
    pub(super) label: String,
    provider: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    pub(super) rows: u64,
    #[serde(flatten)]
    pub(super) need: NeedReport,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NeedReport {
    pub(super) snapshots: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) oldest: Option<MarkReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) newest: Option<MarkReport>,
    pub(super) clusters: usize,
    /// The first of them by name.
    pub(super) cluster_names: Vec<String>,
    /// Day since 1970-01-01, and snapshots; for the picture.
    #[serde(skip)]
    pub(super) days: Vec<(u64, u64)>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MarkReport {
    pub(super) snapshot: String,
    pub(super) created: Option<String>,
}

impl Report {
    pub(super) fn new(needs: &KeyNeeds, bucket: String, reads: u64, now: u64) -> Self {
        Self {
            bucket,
            taken: rfc3339(now),
            states: State::ALL
                .iter()
                .filter_map(|state| Some(state_report(*state, needs.states.get(state)?)))
                .collect(),
            outer_keys: needs.outer.iter().map(outer_report).collect(),
            outer_key_unknown: NeedReport::from(&needs.outer_unknown),
            inner_keys: needs.inner.iter().map(inner_report).collect(),
            inner_keys_unknown: NeedReport::from(&needs.inner_unknown),
            snapshots_beyond: needs.truncated,
            reads,
        }
    }
}

fn state_report(state: State, tally: &Tally) -> StateReport {
    StateReport {
        state,
        count: tally.count,
        bytes: tally.bytes,
        examples: tally.examples.iter().map(|text| escaped(text)).collect(),
    }
}

fn outer_report((key, need): (&OuterKey, &Need)) -> OuterReport {
    let need = NeedReport::from(need);
    match key {
        OuterKey::Transit {
            mount,
            key,
            version,
        } => {
            let shown = mount
                .as_deref()
                .map_or(String::new(), |mount| format!("{mount}/"));
            OuterReport {
                label: format!("{shown}{key} v{version}"),
                mount: mount.clone(),
                key: Some(key.clone()),
                version: Some(*version),
                key_id: None,
                need,
            }
        }
        OuterKey::KeyId(key_id) => OuterReport {
            label: key_id.clone(),
            mount: None,
            key: None,
            version: None,
            key_id: Some(key_id.clone()),
            need,
        },
    }
}

fn inner_report((key, need): (&InnerKey, &Need)) -> InnerReport {
    let InnerKey {
        provider,
        name,
        key_id,
        version,
        ..
    } = key;
    let mut label = provider.clone();
    for part in [name, key_id].into_iter().flatten() {
        label.push(' ');
        label.push_str(part);
    }
    if let Some(version) = version {
        label.push_str(&format!(" v{version}"));
    }
    InnerReport {
        label,
        provider: provider.clone(),
        name: name.clone(),
        key_id: key_id.clone(),
        version: *version,
        rows: need.rows,
        need: NeedReport::from(need),
    }
}

impl From<&Need> for NeedReport {
    fn from(need: &Need) -> Self {
        let mark = |mark: &Mark| MarkReport {
            snapshot: mark.name.clone(),
            created: rfc3339(mark.time),
        };
        Self {
            snapshots: need.snapshots,
            oldest: need.oldest.as_ref().map(mark),
            newest: need.newest.as_ref().map(mark),
            clusters: need.clusters.len(),
            cluster_names: need.clusters.keys().take(NAMED_CLUSTERS).cloned().collect(),
            days: need
                .days
                .iter()
                .map(|(day, count)| (*day, *count))
                .collect(),
        }
    }
}

impl NeedReport {
    /// `since` and `until` for people.
    pub(super) fn since(&self) -> String {
        time(self.oldest.as_ref())
    }

    pub(super) fn until(&self) -> String {
        time(self.newest.as_ref())
    }

    /// Some clusters, and how many more.
    pub(super) fn by(&self) -> String {
        const SHOWN: usize = 3;
        let mut text = self
            .cluster_names
            .iter()
            .take(SHOWN)
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        if let Some(more) = self.clusters.checked_sub(SHOWN).filter(|more| *more > 0) {
            text.push_str(&format!(" and {more} more"));
        }
        text
    }
}

fn time(mark: Option<&MarkReport>) -> String {
    mark.and_then(|mark| mark.created.clone())
        .unwrap_or_else(|| "-".to_owned())
}
