//! How counted rows are shown, wherever they come from.

use kdc_envelope::key_usage::{KeyUsage, RowGroup};
use serde::Serialize;

use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone};

/// All rows under a prefix, counted.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rows {
    /// Empty: everything.
    prefix: String,
    /// Those of API servers, as far as the rows that were looked at tell.
    prefixes: Vec<String>,
    /// Rows outside of the prefix, if they could be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_looked_at: Option<u64>,
    rows: u64,
    groups: Vec<Group>,
    /// Rows that are in no group because there were too many.
    #[serde(rename = "others", skip_serializing_if = "is_zero")]
    ungrouped: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_damaged: Option<String>,
}

/// Rows that are encrypted alike.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    provider: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    /// Of the KEK, where the rows tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    /// Of plain rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    damaged: bool,
    rows: u64,
    /// Sum of the lengths of the values.
    bytes: u64,
}

impl Rows {
    /// `elsewhere`: how many rows there are outside of the prefix; `None` if that cannot be counted.
    pub(crate) fn of(usage: &KeyUsage, elsewhere: Option<u64>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            prefix: text(usage.prefix()),
            prefixes: usage
                .prefixes()
                .found()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            not_looked_at: elsewhere,
            rows: usage.rows(),
            groups: usage.groups().iter().map(Group::of).collect(),
            ungrouped: usage.ungrouped(),
            first_damaged: usage.first_damaged().map(text),
        }
    }

    pub(crate) fn show(&self, out: &mut Output) -> Result<(), Failure> {
        let headings = ["PROVIDER", "NAME", "KEY ID", "VERSION", "ROWS", "BYTES"];
        let mut table = vec![headings.map(str::to_owned).to_vec()];
        table.extend(self.groups.iter().map(Group::cells));
        out.table(&table, |row| {
            let group = self.groups.get(row)?;
            match group.provider {
                _ if group.damaged => Some(Tone::Bad),
                "identity" => Some(Tone::Warning),
                _ => None,
            }
        })?;
        if self.ungrouped > 0 {
            out.line(format_args!("{} rows of further keys", self.ungrouped))?;
        }
        out.line(crate::failure::escaped(&self.summary()))
    }

    fn summary(&self) -> String {
        let found = match self.prefixes.is_empty() {
            true => "no prefix of an API server among them".to_owned(),
            false => format!("of API servers under {}", self.prefixes.join(", ")),
        };
        match (self.prefix.as_str(), self.not_looked_at) {
            ("", _) => format!("{} rows in all, {found}", self.rows),
            (prefix, Some(0)) => format!("{} rows under {prefix}, and no others", self.rows),
            (prefix, Some(more)) => format!(
                "{} rows under {prefix}; {more} rows elsewhere were not read",
                self.rows
            ),
            (prefix, None) => format!("{} rows under {prefix}; others were not read", self.rows),
        }
    }

    /// Fails if there is a row that kube-apiserver would refuse whatever keys it has.
    pub(crate) fn verdict(&self, hint: &str) -> Result<Exit, Failure> {
        match &self.first_damaged {
            None => Ok(Exit::Ok),
            Some(key) => Err(Failure::new(
                Exit::Data,
                format_args!("at least one row is damaged, first the one at `{key}`"),
            )
            .hint(hint)),
        }
    }
}

impl Group {
    fn of(group: &RowGroup) -> Self {
        Self {
            provider: group.provider.as_str(),
            name: group.name.clone(),
            key_id: group.key_id.clone(),
            version: group.version,
            resource: group.resource.clone(),
            damaged: group.damaged,
            rows: group.rows,
            bytes: group.bytes,
        }
    }

    fn cells(&self) -> Vec<String> {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let provider = match (&self.resource, self.damaged) {
            (_, true) => format!("{} (damaged)", self.provider),
            (Some(resource), false) => format!("{} ({resource})", self.provider),
            (None, false) => self.provider.to_owned(),
        };
        vec![
            provider,
            or_dash(&self.name),
            or_dash(&self.key_id),
            or_dash(&self.version.map(|version| version.to_string())),
            self.rows.to_string(),
            self.bytes.to_string(),
        ]
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out references"
)]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}
