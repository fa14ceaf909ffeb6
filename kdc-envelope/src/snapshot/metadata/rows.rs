//! What rows a snapshot holds, by the key that is needed to read them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::MetadataError;
use crate::key_usage::{self, KeyUsage};

/// The most groups that metadata holds; the rows of further ones are counted together.
pub const MAX_ROW_GROUPS: usize = key_usage::MAX_GROUPS;

/// Rows of one key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RowGroup {
    /// The kind of provider, such as `kms-v2`, `aesgcm` or `identity`.
    pub provider: String,
    /// Its name in the EncryptionConfiguration, or the key's name of local providers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The KMS key id in the rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The KEK version behind it, where it can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// How many.
    pub rows: u64,
}

impl RowGroup {
    /// `rows` rows of `provider`.
    #[must_use]
    pub fn new(provider: &str, rows: u64) -> Self {
        Self {
            provider: provider.to_owned(),
            name: None,
            key_id: None,
            version: None,
            rows,
        }
    }
}

/// All rows of a snapshot, whoever wrote them. Early releases counted those under `/registry/` alone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RowsInside {
    /// How many there are.
    pub total: u64,
    /// By key, ordered, at most [`MAX_ROW_GROUPS`].
    pub groups: Vec<RowGroup>,
    /// Rows of groups beyond that.
    #[serde(default, rename = "others")]
    pub ungrouped: u64,
}

impl RowsInside {
    /// `groups` in order, the largest kept if there are too many.
    #[must_use]
    pub fn new(mut groups: Vec<RowGroup>) -> Self {
        let total = groups.iter().map(|group| group.rows).sum();
        groups.sort_by_key(|group| core::cmp::Reverse(group.rows));
        let ungrouped = groups
            .drain(MAX_ROW_GROUPS.min(groups.len())..)
            .map(|group| group.rows)
            .sum();
        groups.sort();
        Self {
            total,
            groups,
            ungrouped,
        }
    }

    pub(super) fn check(&self) -> Result<(), MetadataError> {
        let refuse = |reason| Err(MetadataError::field("rows", reason));
        if self.groups.len() > MAX_ROW_GROUPS {
            return refuse("has more than 1,024 groups");
        }
        let sum = self
            .groups
            .iter()
            .try_fold(self.ungrouped, |sum, group| sum.checked_add(group.rows));
        match sum == Some(self.total) {
            true => Ok(()),
            false => refuse("does not add up to its total"),
        }
    }
}

/// What metadata of a snapshot says of its rows: plain rows without their resource, damaged rows with the others of their key.
impl From<&KeyUsage> for RowsInside {
    fn from(usage: &KeyUsage) -> Self {
        let mut sums = BTreeMap::new();
        for group in usage.groups() {
            let key = (group.provider, &group.name, &group.key_id, group.version);
            *sums.entry(key).or_insert(0) += group.rows;
        }
        let groups = sums.into_iter();
        let groups = groups.map(|((provider, name, key_id, version), rows)| {
            let mut group = RowGroup::new(provider.as_str(), rows);
            group.name.clone_from(name);
            group.key_id.clone_from(key_id);
            group.version = version;
            group
        });
        let groups = groups.collect();
        let mut inside = Self::new(groups);
        inside.total += usage.ungrouped();
        inside.ungrouped += usage.ungrouped();
        inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_leaves_out_resources_and_damage() {
        let v2 = |data: &str| {
            let message = format!(
                "\n{}{data}\x12\x0alocal-v7-a\x1a\x01w",
                char::from(u8::try_from(data.len()).unwrap())
            );
            [b"k8s:enc:kms:v2:p:", message.as_bytes()].concat()
        };
        let mut usage = KeyUsage::new("/registry/");
        usage.count(b"/registry/secrets/a", &v2("too short"));
        usage.count(b"/registry/secrets/b", &v2(&"x".repeat(60)));
        usage.count(b"/registry/secrets/c", b"{}");
        usage.count(b"/registry/pods/d", b"{}");
        assert_eq!(usage.groups().len(), 4);
        assert_eq!(usage.rows_under("local-v7-a"), 2);
        let inside = RowsInside::from(&usage);
        let groups: Vec<_> = inside
            .groups
            .iter()
            .map(|group| {
                (
                    group.provider.as_str(),
                    group.key_id.as_deref(),
                    group.version,
                    group.rows,
                )
            })
            .collect();
        assert_eq!(
            groups,
            [
                ("identity", None, None, 2),
                ("kms-v2", Some("local-v7-a"), Some(7), 2)
            ]
        );
        assert_eq!((inside.total, inside.ungrouped), (4, 0));
    }

    #[test]
    fn rows_that_are_in_no_group_count_in_the_total() {
        let mut usage = KeyUsage::new("");
        for number in 0..2000 {
            let value = format!("k8s:enc:aesgcm:v1:{number}:{}", "x".repeat(40));
            usage.count(b"a", value.as_bytes());
        }
        let inside = RowsInside::from(&usage);
        assert_eq!((inside.total, inside.ungrouped), (2000, 976));
    }
}
