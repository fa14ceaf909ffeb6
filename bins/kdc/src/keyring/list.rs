//! `kdc keyring list`.

use std::path::PathBuf;

use kdc_envelope::local::{Keyring, Version, VersionState, keyring_file};
use serde::Serialize;

use super::word;
use crate::clock::rfc3339;
use crate::failure::{Exit, Failure};
use crate::output::{Format, Output, Tone};

const EXAMPLES: &str = "\
Examples:
  kdc keyring list /etc/kms-plugin/keyring
  kdc keyring list /etc/kms-plugin/keyring --output json | jq -r '.versions[-1].keyId'";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct List {
    /// The keyring file.
    file: PathBuf,
    /// How to show it.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

#[derive(Debug, Serialize)]
struct Listing {
    current: u32,
    versions: Vec<Entry>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    version: u32,
    state: &'static str,
    /// RFC 3339; absent if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retired: Option<String>,
    key_id: String,
}

impl Entry {
    fn new(keyring: &Keyring, number: u32, version: &Version) -> Self {
        let state = keyring.state(number);
        Self {
            version: number,
            state: state.map_or("unknown", word),
            created: rfc3339(version.created()),
            retired: match state {
                Some(VersionState::Retired { at }) => rfc3339(at),
                _ => None,
            },
            key_id: version.key_id().to_string(),
        }
    }

    fn cells(&self) -> Vec<String> {
        let state = match &self.retired {
            Some(at) => format!("{} {at}", self.state),
            None => self.state.to_owned(),
        };
        let created = self.created.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            self.version.to_string(),
            state,
            created,
            self.key_id.clone(),
        ]
    }
}

pub(super) fn run(arguments: &List, out: &mut Output) -> Result<Exit, Failure> {
    let keyring = keyring_file::load(&arguments.file)?;
    let versions: Vec<Entry> = keyring
        .versions()
        .map(|(number, version)| Entry::new(&keyring, number, version))
        .collect();
    match arguments.output {
        Format::Json => out.json(&Listing {
            current: keyring.current(),
            versions,
        })?,
        Format::Text => {
            let mut rows = vec![
                ["VERSION", "STATE", "CREATED", "KEY ID"]
                    .map(str::to_owned)
                    .to_vec(),
            ];
            rows.extend(versions.iter().map(Entry::cells));
            out.table(&rows, |row| match versions.get(row)?.state {
                "current" => Some(Tone::Good),
                "retired" => Some(Tone::Faint),
                _ => None,
            })?;
        }
    }
    Ok(Exit::Ok)
}
