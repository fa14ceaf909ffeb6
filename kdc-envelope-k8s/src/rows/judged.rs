//! The rows of a resource, held against who should have written them.

use kdc_envelope::evidence::{Evidence, Gap, GapKind};
use kdc_envelope::key_usage::{KeyUsage, Provider, RowGroup};
use serde::Serialize;

use super::ExpectedRows;

/// The rows of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::exhaustive_structs, reason = "plain data that pages show")]
pub struct ResourceRows {
    /// Its name, with its group.
    pub resource: String,
    /// The provider and key that should have written them.
    pub writer: String,
    /// How many there are.
    pub rows: u64,
    /// Those of this writer, and of its newest key.
    pub current: u64,
    /// The least etcd key of a row that is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_not_current: Option<String>,
    /// All of them by how they were written.
    pub groups: Vec<GroupRows>,
}

/// Rows that were written alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::exhaustive_structs, reason = "plain data that pages show")]
pub struct GroupRows {
    /// The provider, with the name of the KMS plugin or of the key.
    pub by: String,
    /// The key id of KMS v2 rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// How many there are.
    pub rows: u64,
    /// Whether they are of the expected writer and its newest key.
    pub current: bool,
    /// Whether kube-apiserver would refuse them whatever keys it has.
    pub damaged: bool,
}

impl ExpectedRows {
    /// Holds the rows of this resource, and of no other, against the expected writer: all of them as a table, and what they
    /// say about the statement that every one is on the newest key. An empty usage says nothing.
    #[must_use]
    pub fn judge(&self, usage: &KeyUsage) -> (ResourceRows, Evidence) {
        let rows = ResourceRows::of(self, usage);
        let evidence = rows.evidence(self, usage);
        (rows, evidence)
    }
}

impl ResourceRows {
    fn of(expected: &ExpectedRows, usage: &KeyUsage) -> Self {
        let groups: Vec<_> = usage
            .groups()
            .iter()
            .map(|group| GroupRows::of(expected, group))
            .collect();
        let current = groups.iter().filter(|group| group.current);
        let current = current.map(|group| group.rows).sum();
        let stale = usage.groups().iter().zip(&groups);
        let stale = stale.filter(|(_, shown)| !shown.current);
        let first = stale.map(|(group, _)| &group.first_key).min();
        Self {
            resource: expected.resource.to_string(),
            writer: expected.writer.to_string(),
            rows: usage.rows(),
            current,
            first_not_current: first.map(|key| String::from_utf8_lossy(key).into_owned()),
            groups,
        }
    }

    fn evidence(&self, expected: &ExpectedRows, usage: &KeyUsage) -> Evidence {
        let mut evidence = Evidence::new();
        evidence.agrees(self.current);
        let others = usage.ungrouped();
        if others > 0 {
            let place = String::from_utf8_lossy(usage.prefix());
            evidence.add_gap(Gap::new(GapKind::TooMany, others, place));
        }
        let damaged: Vec<_> = usage
            .groups()
            .iter()
            .filter(|group| group.damaged)
            .collect();
        let unreadable: u64 = damaged.iter().map(|group| group.rows).sum();
        if let Some(first) = damaged.iter().map(|group| &group.first_key).min() {
            let first = String::from_utf8_lossy(first);
            evidence.add_gap(Gap::new(GapKind::Unreadable, unreadable, first));
        }
        let undecided = usage.groups().iter();
        let undecided = undecided.filter(|group| expected.is_undecided(group));
        let undecided: u64 = undecided.map(|group| group.rows).sum();
        let judged = self.current + others + unreadable + undecided;
        evidence.contradicts(self.rows.saturating_sub(judged));
        if let Some(name) = expected.undecided_plugin().filter(|_| undecided > 0) {
            let what = format!("newest key id of the KMS plugin {name}");
            evidence.add_gap(Gap::new(GapKind::Unreadable, 0, what));
        }
        evidence
    }
}

impl GroupRows {
    fn of(expected: &ExpectedRows, group: &RowGroup) -> Self {
        let name = group.name.as_deref().unwrap_or_default();
        let by = match group.provider {
            Provider::Identity => "identity".to_owned(),
            provider => format!("{} `{name}`", provider.as_str()),
        };
        Self {
            by,
            key_id: group.key_id.clone(),
            rows: group.rows,
            current: expected.is_current(group),
            damaged: group.damaged,
        }
    }
}
