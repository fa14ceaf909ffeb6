//! `kdc backup list`.

use std::sync::Arc;

use kdc_envelope::evidence::{Evidence, GapKind};
use kdc_envelope::snapshot::check_name;
use kdc_envelope_backup::SnapshotStore;
use kdc_envelope_backup::catalogue::{CatalogueEntry, Cost, State, Unknowns, scan};
use serde::Serialize;

use super::bucket::BucketArguments;
use super::proof;
use crate::clock::{now, rfc3339};
use crate::failure::{Exit, Failure, escaped};
use crate::output::{Format, Output, Tone};
use crate::{progress, runtime};

const EXAMPLES: &str = "\
Examples:
  kdc backup list --bucket /var/backups/etcd
  kdc backup list --bucket s3://backups/etcd --cluster prod --output json";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct List {
    #[command(flatten)]
    bucket: BucketArguments,
    /// Only the snapshots of this cluster.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// How to show it.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// A line of the listing.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    cluster: String,
    /// Absent for a plaintext snapshot outside of a snapshot's folder.
    #[serde(skip_serializing_if = "String::is_empty")]
    snapshot: String,
    /// Of what is not in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    /// Of the sealed data, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// The key that wraps the DEK.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_version: Option<u32>,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip)]
    time: u64,
}

impl Line {
    fn new(known: &CatalogueEntry) -> Self {
        let wrapped = known
            .metadata
            .as_ref()
            .map(|metadata| metadata.wrapped_dek());
        let time = known.created();
        Self {
            cluster: known.entry.cluster.clone(),
            snapshot: known.entry.id.clone(),
            object: known.object(),
            created: rfc3339(time),
            bytes: known.entry.data.map(|data| data.len),
            key: wrapped.map(ToString::to_string),
            key_version: wrapped.and_then(|wrapped| wrapped.version()),
            state: known.state,
            detail: known.detail.as_deref().map(escaped),
            time,
        }
    }

    fn cells(&self) -> Vec<String> {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let state = match &self.detail {
            Some(detail) => format!("{}: {detail}", self.state.word()),
            None => self.state.word().to_owned(),
        };
        let name = self.object.as_ref().unwrap_or(&self.snapshot);
        vec![
            self.cluster.clone(),
            name.clone(),
            or_dash(self.created.clone()),
            or_dash(self.bytes.map(|bytes| bytes.to_string())),
            or_dash(self.key.clone()),
            state,
        ]
    }
}

pub(super) fn run(arguments: &List, out: &mut Output) -> Result<Exit, Failure> {
    check_cluster(arguments.cluster.as_deref())?;
    let store = arguments.bucket.open()?;
    let mut lines = Vec::new();
    let mut unknowns = Unknowns::default();
    examine(&store, arguments.cluster.as_deref(), |known| {
        unknowns.add(&known);
        if known.state != State::Foreign {
            lines.push(Line::new(&known));
        }
    })?;
    lines.sort_by(|a, b| (&a.cluster, a.time, &a.snapshot).cmp(&(&b.cluster, b.time, &b.snapshot)));
    match arguments.output {
        Format::Json => out.json(&lines)?,
        Format::Text => show(&lines, &*store, out)?,
    }
    // An empty bucket is an answer, and so is a damaged snapshot; only what was not looked at is missing in the list.
    let Some(gap) = unknowns.not_looked_at.gap(GapKind::NotLookedAt) else {
        return Ok(Exit::Ok);
    };
    let mut evidence = Evidence::new();
    evidence.agrees(lines.len() as u64);
    evidence.add_gap(gap);
    proof::verdict(&evidence, "that this is all there is")
}

/// One pass over a bucket, or over one cluster in it.
pub(super) fn examine(
    store: &Arc<dyn SnapshotStore>,
    cluster: Option<&str>,
    mut each: impl FnMut(CatalogueEntry),
) -> Result<Cost, Failure> {
    let bar = progress::looked_at();
    let cost = runtime::wait(async {
        let scanned = scan(store, cluster, now(), |found| {
            bar.inc(1);
            each(found);
        });
        Ok(scanned.await?)
    });
    bar.finish_and_clear();
    cost
}

/// A cluster's name becomes part of keys.
pub(crate) fn check_cluster(cluster: Option<&str>) -> Result<(), Failure> {
    let checked = cluster.map_or(Ok(()), |cluster| check_name("the cluster name", cluster));
    checked.map_err(|error| Failure::at(Exit::Usage, "--cluster", &error))
}

fn show(lines: &[Line], store: &dyn SnapshotStore, out: &mut Output) -> Result<(), Failure> {
    if lines.is_empty() {
        return out.line(format_args!("no snapshots in {}", store.name()));
    }
    let headings = ["CLUSTER", "SNAPSHOT", "CREATED", "BYTES", "KEY", "STATE"];
    let mut rows = vec![headings.map(str::to_owned).to_vec()];
    rows.extend(lines.iter().map(Line::cells));
    out.table(&rows, |row| match lines.get(row)?.state {
        State::CompleteV1 | State::CompleteV2 => None,
        State::Orphan | State::UnknownSchema | State::TimeUnknown => Some(Tone::Warning),
        _ => Some(Tone::Bad),
    })
}
