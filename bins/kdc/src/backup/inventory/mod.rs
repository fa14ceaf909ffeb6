//! `kdc backup inventory`: which versions of which keys the snapshots in a bucket need, by what, since when; and what is wrong in it.

mod page;
mod picture;
mod report;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use kdc_envelope_backup::catalogue::{KeyNeeds, State, place};

use super::bucket::BucketArguments;
use super::list::{check_cluster, examine};
use super::proof;
use crate::clock;
use crate::failure::{Exit, Failure};
use crate::output::{Format, Output, Tone, note};
use report::{NeedReport, Report};

const EXAMPLES: &str = "\
Examples:
  kdc backup inventory --bucket /var/backups/etcd
  kdc backup inventory --bucket s3://backups/etcd --html inventory.html
  kdc backup inventory --bucket s3://backups/etcd --output json \\
      | jq '[.outerKeys[] | select(.key == \"snapshots\").version] | min'

An outer key wraps the keys of snapshots; `kdc backup rewrap` moves snapshots to a newer version. An inner key encrypts rows inside of a
snapshot; its version is needed as long as the snapshot is kept.

Exit code 1 if snapshots do not state which keys they need, so that any key may be needed, and 66 if there is none.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Inventory {
    #[command(flatten)]
    bucket: BucketArguments,
    /// Only the snapshots of this cluster.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Also write a page for the browser, with a picture, into this file, which must not exist.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// How to show it.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

pub(super) fn run(arguments: &Inventory, out: &mut Output) -> Result<Exit, Failure> {
    check_cluster(arguments.cluster.as_deref())?;
    if let Some(path) = &arguments.html {
        crate::page::check_free(path)?;
    }
    let store = arguments.bucket.open()?;
    let mut needs = KeyNeeds::default();
    let cost = examine(&store, arguments.cluster.as_deref(), |found| {
        needs.add(&found);
    })?;
    let place = place(&store.name(), arguments.cluster.as_deref());
    let outer = needs.evidence_of_outer(&place);
    let inner = needs.evidence_of_inner(&place);
    let report = Report::new(&needs, store.name(), cost.reads, clock::now());
    if let Some(path) = &arguments.html {
        crate::page::write(path, &page::render(&report))?;
        note(&format!("wrote `{}`", path.display()));
    }
    match arguments.output {
        Format::Json => out.json(&report)?,
        Format::Text => show(&report, &needs, out)?,
    }
    proof::verdict(&outer, "that these are all outer keys")?;
    proof::verdict(&inner, "that these are all inner keys")
}

fn show(report: &Report, needs: &KeyNeeds, out: &mut Output) -> Result<(), Failure> {
    if report.states.is_empty() {
        return out.line(format_args!("nothing in {}", report.bucket));
    }
    show_states(report, out)?;
    let head = |first: &str| {
        [first, "SNAPSHOTS", "ROWS", "SINCE", "UNTIL", "CLUSTERS"]
            .map(str::to_owned)
            .to_vec()
    };
    let cells = |label: &str, rows: Option<u64>, need: &NeedReport| {
        let rows = rows.map_or_else(|| "-".to_owned(), |rows| rows.to_string());
        let count = need.snapshots.to_string();
        vec![
            label.to_owned(),
            count,
            rows,
            need.since(),
            need.until(),
            need.by(),
        ]
    };
    let mut outer = vec![head("OUTER KEY")];
    outer.extend(
        report
            .outer_keys
            .iter()
            .map(|key| cells(&key.label, None, &key.need)),
    );
    if report.outer_key_unknown.snapshots > 0 {
        outer.push(cells("unknown", None, &report.outer_key_unknown));
    }
    out.line("")?;
    out.table(&outer, |row| {
        (row >= report.outer_keys.len()).then_some(Tone::Warning)
    })?;
    let mut inner = vec![head("INNER KEY")];
    inner.extend(
        report
            .inner_keys
            .iter()
            .map(|key| cells(&key.label, Some(key.rows), &key.need)),
    );
    if report.inner_keys_unknown.snapshots > 0 {
        inner.push(cells("not counted", None, &report.inner_keys_unknown));
    }
    out.line("")?;
    out.table(&inner, |row| {
        (row >= report.inner_keys.len()).then_some(Tone::Warning)
    })?;
    let complete = needs.count(State::is_complete);
    out.line("")?;
    out.line(format_args!(
        "{complete} complete snapshots in {}",
        report.bucket
    ))?;
    if report.snapshots_beyond > 0 {
        let count = report.snapshots_beyond;
        note(&format!(
            "{count} snapshots have further keys, which are not in the tables"
        ));
    }
    Ok(())
}

fn show_states(report: &Report, out: &mut Output) -> Result<(), Failure> {
    let headings = ["STATE", "COUNT", "BYTES", "FOR EXAMPLE"];
    let mut rows = vec![headings.map(str::to_owned).to_vec()];
    for line in &report.states {
        rows.push(vec![
            line.state.word().to_owned(),
            line.count.to_string(),
            line.bytes.to_string(),
            line.examples.first().cloned().unwrap_or_default(),
        ]);
    }
    out.table(&rows, |row| match report.states.get(row)?.state {
        state if state.is_complete() => Some(Tone::Good),
        State::Plaintext => Some(Tone::Bad),
        state if state.is_damage() => Some(Tone::Bad),
        _ => Some(Tone::Warning),
    })
}
