//! Counting rows of etcd by what encrypts them: the proof that a key is in use, or no longer.

use std::collections::BTreeMap;

use serde::Serialize;

use super::describe::Description;
use crate::etcd::Connection;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone};

/// All rows under a prefix, counted.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Survey {
    prefix: String,
    rows: u64,
    groups: Vec<Group>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_damaged: Option<String>,
}

/// Rows that are encrypted alike.
#[derive(Debug, Serialize)]
struct Group {
    #[serde(flatten)]
    sealed_by: SealedBy,
    rows: u64,
    /// Sum of the lengths of the values.
    bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
struct SealedBy {
    provider: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transit_version: Option<u32>,
    damaged: bool,
}

/// Counts the rows under `prefix` as of one moment.
pub(crate) fn take(etcd: &Connection, prefix: &str) -> Result<Survey, Failure> {
    let mut groups: BTreeMap<SealedBy, (u64, u64)> = BTreeMap::new();
    let mut first_damaged = None;
    etcd.scan(prefix.as_bytes(), |row| {
        let description = Description::of(&row.value, None);
        let is_damaged = description.problem.is_some();
        if is_damaged && first_damaged.is_none() {
            first_damaged = Some(String::from_utf8_lossy(&row.key).into_owned());
        }
        let sealed_by = SealedBy {
            provider: description.provider,
            name: description.name,
            key_id: description.key_id,
            transit_version: description
                .dek_source
                .and_then(|source| source.transit_version),
            damaged: is_damaged,
        };
        let (rows, bytes) = groups.entry(sealed_by).or_default();
        *rows += 1;
        *bytes += row.value.len() as u64;
    })?;
    let groups: Vec<Group> = groups
        .into_iter()
        .map(|(sealed_by, (rows, bytes))| Group {
            sealed_by,
            rows,
            bytes,
        })
        .collect();
    let rows = groups.iter().map(|group| group.rows).sum();
    if rows == 0 {
        return Err(Failure::new(
            Exit::NoInput,
            format_args!(
                "--etcd-prefix: etcd has no row under `{prefix}`; is it the prefix that kube-apiserver uses?"
            ),
        ));
    }
    Ok(Survey {
        prefix: prefix.to_owned(),
        rows,
        groups,
        first_damaged,
    })
}

impl Survey {
    pub(crate) const fn rows(&self) -> u64 {
        self.rows
    }

    /// How many rows need the key with this id.
    pub(crate) fn rows_under(&self, key_id: &str) -> u64 {
        let needing = self
            .groups
            .iter()
            .filter(|group| group.sealed_by.key_id.as_deref() == Some(key_id));
        needing.map(|group| group.rows).sum()
    }

    /// The etcd key of the first row that kube-apiserver would refuse whatever keys it has.
    pub(crate) fn first_damaged(&self) -> Option<&str> {
        self.first_damaged.as_deref()
    }

    pub(super) fn show(&self, out: &mut Output) -> Result<(), Failure> {
        let mut table = vec![
            ["PROVIDER", "NAME", "KEY ID", "ROWS", "BYTES"]
                .map(str::to_owned)
                .to_vec(),
        ];
        for group in &self.groups {
            let SealedBy {
                provider,
                name,
                key_id,
                transit_version,
                damaged,
            } = &group.sealed_by;
            let provider = if *damaged {
                format!("{provider} (damaged)")
            } else {
                (*provider).to_owned()
            };
            let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            let key_id = match transit_version {
                Some(version) => format!("{} (transit v{version})", or_dash(key_id)),
                None => or_dash(key_id),
            };
            table.push(vec![
                provider,
                or_dash(name),
                key_id,
                group.rows.to_string(),
                group.bytes.to_string(),
            ]);
        }
        out.table(&table, |row| {
            let sealed_by = &self.groups.get(row)?.sealed_by;
            match sealed_by.provider {
                _ if sealed_by.damaged => Some(Tone::Bad),
                "identity" => Some(Tone::Warning),
                _ => None,
            }
        })?;
        out.line(format_args!("{} rows under {}", self.rows, self.prefix))
    }
}
