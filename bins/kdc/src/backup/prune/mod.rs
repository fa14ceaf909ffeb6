//! `kdc backup prune`: deletes what retention does not keep.

mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::bucket::{Bucket, BucketArguments};
use super::list::check_cluster;
use super::pass;
use super::state::{Known, State};
use crate::clock::{self, rfc3339};
use crate::failure::{Exit, Failure};
use crate::output::{Format, Output, Tone, note};
use crate::progress;
use plan::{Candidate, Decision, Retention, plan};

const EXAMPLES: &str = "\
Examples:
  # what would go
  kdc backup prune --bucket s3://backups/etcd --keep-last 7 --keep-within 30d
  # do it, and delete what runs left that did not end
  kdc backup prune --bucket s3://backups/etcd --keep-last 7 --keep-within 30d --orphans --yes

A snapshot goes only if no rule keeps it. The newest complete snapshot of a cluster always stays, and so does whatever is damaged,
of a later release, or not of kdc. Uploads to S3 that were cut off are not seen here: let a lifecycle rule
of the bucket abort incomplete multipart uploads.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Prune {
    #[command(flatten)]
    bucket: BucketArguments,
    /// Only the snapshots of this cluster.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Keep so many of the newest complete snapshots of each cluster.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..), required_unless_present_any = ["keep_within", "orphans"])]
    keep_last: Option<u64>,
    /// Keep the complete snapshots that are not older than this.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    keep_within: Option<Duration>,
    /// Also delete snapshots without metadata that are older than a day: their runs did not end.
    #[arg(long)]
    orphans: bool,
    /// Delete. Without this, only tell what would be deleted.
    #[arg(long)]
    yes: bool,
    /// How to show it.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// What was done, or would be.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    dry_run: bool,
    /// Deleted, or to be deleted, oldest first.
    delete: Vec<Line>,
    delete_bytes: u64,
    /// Snapshots that stay, by reason.
    keep: BTreeMap<Decision, u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    cluster: String,
    snapshot: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    bytes: u64,
    reason: Decision,
}

pub(super) fn run(arguments: &Prune, out: &mut Output) -> Result<Exit, Failure> {
    check_cluster(arguments.cluster.as_deref())?;
    let bucket = Bucket::open(&arguments.bucket)?;
    let candidates = candidates(&bucket, arguments.cluster.as_deref())?;
    let retention = Retention {
        last: arguments.keep_last,
        within: arguments.keep_within,
        orphans: arguments.orphans,
    };
    let decisions = plan(&candidates, &retention, clock::now());
    let mut deletions = Vec::new();
    let mut keep = BTreeMap::new();
    for (candidate, decision) in candidates.into_iter().zip(decisions) {
        match decision.is_delete() {
            true => deletions.push((candidate, decision)),
            false => *keep.entry(decision).or_default() += 1,
        }
    }
    deletions.sort_by_key(|(candidate, _)| candidate.created);
    if arguments.yes {
        deletions = delete(&bucket, deletions)?;
    }
    let report = Report {
        dry_run: !arguments.yes,
        delete_bytes: deletions.iter().map(|(candidate, _)| candidate.bytes).sum(),
        delete: deletions
            .into_iter()
            .map(|(candidate, reason)| line(candidate, reason))
            .collect(),
        keep,
    };
    match arguments.output {
        Format::Json => out.json(&report)?,
        Format::Text => show(&report, out)?,
    }
    Ok(Exit::Ok)
}

fn candidates(bucket: &Bucket, cluster: Option<&str>) -> Result<Vec<Candidate>, Failure> {
    let mut candidates = Vec::new();
    pass::examine(bucket, cluster, |known: Known| {
        if !known.entry.is_snapshot() {
            return;
        }
        candidates.push(Candidate {
            created: known.created(),
            modified: known.entry.modified,
            bytes: known.entry.data.map_or(0, |data| data.len),
            state: known.state,
            cluster: known.entry.cluster,
            id: known.entry.id,
        });
    })?;
    candidates.sort_by(|a, b| (&a.cluster, &a.id).cmp(&(&b.cluster, &b.id)));
    Ok(candidates)
}

/// Deletes several at once, the oldest first, and gives what is gone. What fails ends it, with how far it came.
fn delete(
    bucket: &Bucket,
    deletions: Vec<(Candidate, Decision)>,
) -> Result<Vec<(Candidate, Decision)>, Failure> {
    let count = deletions.len();
    let bar = progress::count(count as u64, "snapshots");
    let mut gone = Vec::with_capacity(count);
    let delete = |(candidate, decision): (Candidate, Decision)| {
        let is_gone = delete_one(bucket, &candidate)?;
        Ok((candidate, decision, is_gone))
    };
    let deletions = deletions.into_iter().map(Ok);
    let outcome = pass::in_parallel(deletions, delete, |(candidate, decision, is_gone)| {
        bar.inc(1);
        if is_gone {
            gone.push((candidate, decision));
        } else {
            let Candidate { cluster, id, .. } = &candidate;
            bar.suspend(|| note(&format!("{cluster}/{id} was completed meanwhile and stays")));
        }
        Ok(())
    });
    bar.finish_and_clear();
    outcome.map_err(|failure| match gone.len() {
        0 => failure,
        done => failure.hint(&format!("{done} of {count} were deleted before this")),
    })?;
    gone.sort_by_key(|(candidate, _)| candidate.created);
    Ok(gone)
}

/// Whether it was deleted: what has become a snapshot meanwhile is not.
fn delete_one(bucket: &Bucket, candidate: &Candidate) -> Result<bool, Failure> {
    let files = bucket.snapshot(&candidate.cluster, &candidate.id);
    if is_committed_by_now(&files, candidate.state)? {
        return Ok(false);
    }
    files.delete().map(|()| true)
}

/// A run that took longer than a day.
fn is_committed_by_now(
    files: &super::bucket::SnapshotFiles,
    state: State,
) -> Result<bool, Failure> {
    Ok(state == State::Orphan && files.read_metadata()?.is_some())
}

fn line(candidate: Candidate, reason: Decision) -> Line {
    Line {
        created: rfc3339(candidate.created),
        cluster: candidate.cluster,
        snapshot: candidate.id,
        bytes: candidate.bytes,
        reason,
    }
}

fn show(report: &Report, out: &mut Output) -> Result<(), Failure> {
    let (done, todo) = ("deleted", "would be deleted; add --yes to delete");
    if !report.delete.is_empty() {
        let headings = ["CLUSTER", "SNAPSHOT", "CREATED", "BYTES", "WHY"];
        let mut rows = vec![headings.map(str::to_owned).to_vec()];
        for line in &report.delete {
            rows.push(vec![
                line.cluster.clone(),
                line.snapshot.clone(),
                line.created.clone().unwrap_or_else(|| "-".to_owned()),
                line.bytes.to_string(),
                line.reason.word().to_owned(),
            ]);
        }
        out.table(&rows, |_| Some(Tone::Faint))?;
        out.line("")?;
    }
    for (decision, count) in &report.keep {
        out.line(format_args!("{count} kept: {}", decision.word()))?;
    }
    let what = if report.dry_run { todo } else { done };
    let (count, bytes) = (report.delete.len(), report.delete_bytes);
    out.line(format_args!("{count} snapshots ({bytes} bytes) {what}"))
}
