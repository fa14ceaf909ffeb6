//! Carrying a change out: every step on standard error as it is done, the outcome on standard output.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kdc_envelope_k8s::control_plane::{ChangeObserver, ControlPlane};
use kdc_envelope_k8s::rewrite::{Progress, RewriteReport};
use kdc_envelope_k8s::rotation::{Action, Blocker, Change, Plan};
use serde::Serialize;

use super::pass_bar::PassBar;
use super::{phase, refusal};
use crate::failure::{Exit, Failure};
use crate::output::{Format, Output, Tone, step};

/// Reports each step on standard error.
#[derive(Default)]
pub(super) struct ProgressReporter {
    reported: Mutex<Reported>,
    bar: PassBar,
}

#[derive(Default)]
struct Reported {
    phase: String,
    blockers: Vec<String>,
    passes: Vec<RewriteReport>,
}

/// How a change ended.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'r> {
    change: &'static str,
    done: bool,
    writers: Vec<WriterReport>,
    /// Whether retained backups were asked which keys they need.
    backups_asked: bool,
    /// What stays although nothing but a backup needs it, and the like.
    remarks: Vec<String>,
    passes: &'r [RewriteReport],
}

#[derive(Serialize)]
struct WriterReport {
    resource: String,
    writer: String,
}

impl ProgressReporter {
    fn with<T>(&self, tell: impl FnOnce(&mut Reported) -> T) -> T {
        tell(&mut self.reported.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ChangeObserver for ProgressReporter {
    fn planned(&self, plan: &Plan) {
        let lacks = |blocker: &&Blocker| matches!(blocker, Blocker::Lacks { .. });
        self.with(|reported| {
            phase::word(plan.phase).clone_into(&mut reported.phase);
            for blocker in plan.blockers.iter().filter(lacks) {
                step(&reported.phase, &format!("{blocker}; it is put back"));
            }
        });
    }

    fn doing(&self, action: &Action) {
        self.with(|reported| {
            reported.blockers.clear();
            step(&reported.phase, &action.to_string());
        });
    }

    fn waiting(&self, blockers: &[Blocker], _waited: Duration) {
        let words: Vec<_> = blockers.iter().map(ToString::to_string).collect();
        self.with(|reported| {
            if reported.blockers != words {
                for blocker in &words {
                    step(&reported.phase, &format!("waiting: {blocker}"));
                }
                reported.blockers = words;
            }
        });
    }

    fn rewriting(&self, progress: &Progress) {
        self.bar.show(progress);
    }

    fn passed(&self, report: &RewriteReport) {
        self.bar.end();
        self.with(|reported| {
            step(&reported.phase, &summary(report));
            for line in refusals(report) {
                step(&reported.phase, &line);
            }
            reported.passes.push(report.clone());
        });
    }
}

/// A pass in one line.
pub(super) fn summary(report: &RewriteReport) -> String {
    let seconds = report.elapsed.as_secs_f64();
    format!(
        "{} objects in {seconds:.1} s: {} rewritten, {} current, {} written or deleted by others, {} refused",
        report.objects(),
        report.rewritten(),
        report.current(),
        report.changed_concurrently(),
        report.refused()
    )
}

/// What a pass could not do, a line each.
pub(super) fn refusals(report: &RewriteReport) -> Vec<String> {
    let mut lines = Vec::new();
    for resource in &report.resources {
        for refusal in &resource.refusals {
            let (place, why) = (refusal.place(), &refusal.why);
            lines.push(format!("refused: {} {place}: {why}", resource.resource));
        }
    }
    for skipped in &report.skipped {
        lines.push(format!("not covered: {skipped}"));
    }
    lines
}

/// Carries `change` out. Ctrl-C ends it between two steps of a file, like any crash.
pub(super) async fn drive(
    control_plane: &ControlPlane,
    change: &Change,
    timeout: Duration,
    format: Format,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let reporter = ProgressReporter::default();
    let outcome = tokio::select! {
        outcome = control_plane.drive(change, timeout, &reporter) => outcome,
        _ = tokio::signal::ctrl_c() => {
            let line = "stopped by Ctrl-C; no row and no key is lost; `kdc encryption resume` continues";
            return Err(Failure::new(Exit::Negative, line));
        }
    };
    let outcome = outcome.map_err(|error| refusal::of_drive(&error))?;
    let passes = reporter.with(|reported| std::mem::take(&mut reported.passes));
    let report = Report {
        change: change.kind.as_str(),
        done: true,
        writers: writers(change),
        backups_asked: outcome.are_backups_asked,
        remarks: outcome.blockers.iter().map(ToString::to_string).collect(),
        passes: &passes,
    };
    match format {
        Format::Json => out.json(&report)?,
        Format::Text => show(&report, out)?,
    }
    Ok(Exit::Ok)
}

fn writers(change: &Change) -> Vec<WriterReport> {
    let writers = change.writers.iter();
    writers
        .map(|(resource, writer)| WriterReport {
            resource: resource.to_string(),
            writer: writer.to_string(),
        })
        .collect()
}

fn show(report: &Report<'_>, out: &mut Output) -> Result<(), Failure> {
    let verb = out.paint(Tone::Good, "done");
    out.line(format_args!(
        "{verb}: every row was rewritten and verified, on every API server"
    ))?;
    for line in &report.writers {
        out.line(format_args!(
            "  {} is written with {}",
            line.resource, line.writer
        ))?;
    }
    for remark in &report.remarks {
        out.line(format_args!("  {remark}"))?;
    }
    if !report.backups_asked {
        out.line(format_args!("  {}", super::backups::NOT_ASKED))?;
    }
    Ok(())
}
