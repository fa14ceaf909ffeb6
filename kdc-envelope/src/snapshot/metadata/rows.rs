//! What rows a snapshot holds, by the key that is needed to read them.

use serde::{Deserialize, Serialize};

use super::MetadataError;

/// The most groups that metadata holds; the rows of further ones are counted together.
pub const MAX_ROW_GROUPS: usize = 1024;

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
