//! `kdc backup prune`: deletes what retention does not keep.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kdc_envelope_backup::catalogue::{self, Candidate, Decision, Retention, plan};
use kdc_envelope_backup::{BackupError, BackupErrorKind, Deleted, SnapshotStore};
use serde::Serialize;

use super::bucket::BucketArguments;
use super::list::check_cluster;
use super::proof;
use crate::clock::{self, rfc3339};
use crate::failure::{Exit, Failure};
use crate::output::{Format, Output, Tone, note};
use crate::{progress, runtime};

const EXAMPLES: &str = "\
Examples:
  # what would go
  kdc backup prune --bucket s3://backups/etcd --keep-last 7 --keep-within 30d
  # do it, and delete what runs left that did not end
  kdc backup prune --bucket s3://backups/etcd --keep-last 7 --keep-within 30d --orphans --yes

A snapshot goes only if no rule keeps it. The newest complete snapshot of a cluster always stays, and so does whatever is damaged,
of a later release, of an unknown time, or not of kdc; none of these counts as one that is kept. Uploads to S3 that were cut off are not seen here: let a lifecycle rule
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
    /// Delete. Without this, only show what would be deleted.
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
    /// Snapshots that were to go, and could not be deleted.
    refused: Vec<Refused>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Refused {
    cluster: String,
    snapshot: String,
    why: String,
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
    let store = arguments.bucket.open()?;
    let cluster = arguments.cluster.as_deref();
    let now = clock::now();
    let bar = progress::looked_at();
    let seen = runtime::wait(async {
        let seen = catalogue::candidates(&store, cluster, now, || bar.inc(1));
        Ok(seen.await?)
    });
    bar.finish_and_clear();
    let (candidates, mut evidence) = seen?;
    let mut retention = Retention::default();
    retention.last = arguments.keep_last;
    retention.within = arguments.keep_within;
    retention.orphans = arguments.orphans;
    let decisions = plan(&candidates, &retention, now);
    let mut deletions = Vec::new();
    let mut keep = BTreeMap::new();
    for (candidate, decision) in candidates.into_iter().zip(decisions) {
        match decision.is_delete() {
            true => deletions.push((candidate, decision)),
            false => *keep.entry(decision).or_default() += 1,
        }
    }
    deletions.sort_by_key(|(candidate, _)| candidate.created);
    let mut outcome = Outcome::default();
    if arguments.yes {
        outcome = delete(&store, deletions)?;
    } else {
        outcome.gone = deletions;
    }
    let Outcome {
        gone,
        refused,
        is_denied,
    } = outcome;
    evidence.contradicts(refused.len() as u64);
    let report = Report {
        dry_run: !arguments.yes,
        delete_bytes: gone.iter().map(|(candidate, _)| candidate.bytes).sum(),
        delete: gone
            .into_iter()
            .map(|(candidate, reason)| line(candidate, reason))
            .collect(),
        keep,
        refused,
    };
    match arguments.output {
        Format::Json => out.json(&report)?,
        Format::Text => show(&report, out)?,
    }
    match (report.refused.is_empty(), is_denied) {
        (true, _) => proof::verdict(&evidence, "that retention was applied to all snapshots"),
        (false, true) => Ok(Exit::Denied),
        (false, false) => Ok(Exit::Io),
    }
}

/// What came of deleting.
#[derive(Default)]
struct Outcome {
    gone: Vec<(Candidate, Decision)>,
    refused: Vec<Refused>,
    /// Whether rights or a lock were the reason for some of these.
    is_denied: bool,
}

/// Deletes several at once, the oldest first, and gives what is gone. What is refused is told, and the others go nevertheless; a server
/// that does not answer ends it, with how far it came.
fn delete(
    store: &Arc<dyn SnapshotStore>,
    deletions: Vec<(Candidate, Decision)>,
) -> Result<Outcome, Failure> {
    let count = deletions.len();
    let bar = progress::count(count as u64, "snapshots");
    let mut outcome = Outcome::default();
    let each = |candidate: Candidate, decision, deleted: Result<Deleted, BackupError>| {
        bar.inc(1);
        let name = format!("{}/{}", candidate.cluster, candidate.id);
        match deleted {
            Ok(Deleted::Yes) => outcome.gone.push((candidate, decision)),
            Ok(Deleted::Changed) => {
                bar.suspend(|| note(&format!("{name} was changed meanwhile and stays")));
            }
            Ok(_) => {}
            Err(error) => {
                outcome.is_denied |= error.kind() == BackupErrorKind::Denied;
                let failure = Failure::from(error);
                let why = failure.line().unwrap_or_default().to_owned();
                bar.suspend(|| note(&format!("{name} stays: {why}")));
                outcome.refused.push(Refused {
                    cluster: candidate.cluster,
                    snapshot: candidate.id,
                    why,
                });
            }
        }
    };
    let ended: Result<(), Failure> =
        runtime::wait(async { Ok(catalogue::delete(store, deletions, each).await?) });
    bar.finish_and_clear();
    ended.map_err(|failure| match outcome.gone.len() {
        0 => failure,
        done => failure.hint(&format!("{done} of {count} were deleted before this")),
    })?;
    let Outcome { gone, refused, .. } = &mut outcome;
    gone.sort_by_key(|(candidate, _)| candidate.created);
    refused.sort_by(|a, b| (&a.cluster, &a.snapshot).cmp(&(&b.cluster, &b.snapshot)));
    Ok(outcome)
}

/// Why, for people.
const fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::DeleteOld => "no rule keeps it",
        Decision::DeleteOrphan => "its run did not end",
        Decision::KeepNewest => "the newest complete one of its cluster",
        Decision::KeepLast => "--keep-last",
        Decision::KeepWithin => "--keep-within",
        Decision::KeepNoRule => "no rule for complete ones",
        Decision::KeepYoung => "not complete, but younger than a day",
        Decision::KeepOrphan => "not complete; --orphans deletes it",
        _ => "damaged or unknown; see `kdc backup list`",
    }
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
                word(line.reason).to_owned(),
            ]);
        }
        out.table(&rows, |_| Some(Tone::Faint))?;
        out.line("")?;
    }
    for (decision, count) in &report.keep {
        out.line(format_args!("{count} kept: {}", word(*decision)))?;
    }
    if !report.refused.is_empty() {
        let count = report.refused.len();
        out.line(format_args!("{count} stay, although they were to go"))?;
    }
    let what = if report.dry_run { todo } else { done };
    let (count, bytes) = (report.delete.len(), report.delete_bytes);
    out.line(format_args!("{count} snapshots ({bytes} bytes) {what}"))
}
