//! `kdc encryption plan`: what a change would do, without doing it.

use std::time::Duration;

use clap::{Args, Subcommand};
use kdc_envelope_k8s::GroupResource;
use kdc_envelope_k8s::control_plane::ControlPlane;
use kdc_envelope_k8s::rewrite::{Count, Skipped, count};
use kdc_envelope_k8s::rotation::change::ChangeKind;
use kdc_envelope_k8s::rotation::dry_run::DryRun;
use kdc_envelope_k8s::rotation::request::ChangeRequest;
use kdc_envelope_k8s::rotation::{Action, Change};
use serde::Serialize;

use super::backups::BackupFlags;
use super::flags::{ClusterFlags, NodeFlags};
use super::request::{EnableFlags, SubsetFlags, prepare};
use super::{lacking, phase, refusal};
use crate::failure::{Exit, Failure};
use crate::output::{Format, Output, Tone};
use crate::runtime;

/// How long a reload of all API servers takes: they look at their files once a minute.
const RELOAD: Duration = Duration::from_secs(65);
/// Rows per second of one pass, for the estimate; small clusters on small machines do more.
const ROWS_PER_SECOND: u64 = 300;

/// Show what a change would do, and change nothing.
///
/// The steps come from the same planner that carries the change out. A key that would be made is shown by its name; it is
/// not made.
#[derive(Debug, Args)]
pub(crate) struct PlanCommand {
    #[command(subcommand)]
    change: PlanChange,
}

#[derive(Debug, Subcommand)]
enum PlanChange {
    /// Encrypt resources, or let another provider encrypt them.
    Enable {
        #[command(flatten)]
        wanted: Box<EnableFlags>,
        #[command(flatten)]
        common: Common,
    },
    /// Write with a new key.
    Rotate {
        #[command(flatten)]
        subset: SubsetFlags,
        #[command(flatten)]
        common: Common,
    },
    /// Store resources unencrypted again.
    Disable {
        #[command(flatten)]
        subset: SubsetFlags,
        #[command(flatten)]
        common: Common,
    },
    /// Abort the change in progress.
    Abort {
        #[command(flatten)]
        common: Common,
    },
    /// Continue the change in progress.
    Resume {
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Args)]
struct Common {
    /// How to show it.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    cluster: ClusterFlags,
    #[command(flatten)]
    nodes: NodeFlags,
    #[command(flatten)]
    backups: BackupFlags,
}

/// The plan for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    change: &'static str,
    complete: bool,
    steps: Vec<StepReport>,
    /// Why it would not get to its end, or what would be put off.
    blockers: Vec<String>,
    /// What configuration files lack of what rows may lie under; the first step puts it back.
    lacking: Vec<String>,
    /// Whether retained backups were asked which keys they need.
    backups_asked: bool,
    /// About how many rows would be looked at in each of the two passes.
    objects: Option<u64>,
    /// Resources whose rows would not be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    skipped: Vec<Skipped>,
    /// How often every API server would load another file.
    reloads: usize,
    /// About how long it would take with reloads of once a minute.
    estimated_seconds: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StepReport {
    phase: &'static str,
    actions: Vec<String>,
    differences: Vec<String>,
}

impl PlanChange {
    fn parts(&self) -> Result<(ChangeRequest, &Common), Failure> {
        Ok(match self {
            Self::Enable { wanted, common } => (wanted.request()?, common),
            Self::Rotate { subset, common } => (subset.rotate(), common),
            Self::Disable { subset, common } => (subset.disable(), common),
            Self::Abort { common } => (ChangeRequest::Abort, common),
            Self::Resume { common } => (ChangeRequest::Resume, common),
        })
    }
}

pub(super) fn run(arguments: &PlanCommand, out: &mut Output) -> Result<Exit, Failure> {
    let (request, common) = arguments.change.parts()?;
    let runtime = runtime::start_few()?;
    let report = runtime.block_on(report(&request, common))?;
    match common.output {
        Format::Json => out.json(&report)?,
        Format::Text => show(&report, out)?,
    }
    Ok(if report.complete && report.lacking.is_empty() {
        Exit::Ok
    } else {
        Exit::Negative
    })
}

async fn report(request: &ChangeRequest, common: &Common) -> Result<Report, Failure> {
    let backups = common.backups.open()?;
    common.nodes.check()?;
    let (mut control_plane, mut observation) = common.nodes.observe(&common.cluster).await?;
    control_plane.backups = backups;
    let asked = control_plane.ask_backups(&mut observation).await;
    asked.map_err(|error| refusal::of_port(&error))?;
    let prepared = prepare(request, &observation)?;
    let dry_run = observation.dry_run(&prepared);
    let dry_run = dry_run.map_err(|error| refusal::of_change(&error.into()))?;
    let count = counted(&control_plane, &dry_run).await?;
    Ok(Report {
        lacking: lacking::lines(&observation),
        backups_asked: observation.observed.retained.is_asked(),
        ..Report::of(&prepared.change, &dry_run, count)
    })
}

/// How many rows the passes would look at; `None` if there is no pass.
async fn counted(control_plane: &ControlPlane, dry_run: &DryRun) -> Result<Option<Count>, Failure> {
    let actions = dry_run.steps.iter().flat_map(|step| &step.actions);
    let rewritten = |action: &Action| match action {
        Action::Rewrite { resources, .. } => Some(resources.clone()),
        _ => None,
    };
    let resources: Vec<GroupResource> = actions.filter_map(rewritten).flatten().collect();
    if resources.is_empty() {
        return Ok(None);
    }
    let count = count(&control_plane.client, &resources).await;
    count.map(Some).map_err(|error| refusal::of_rewrite(&error))
}

impl Report {
    fn of(change: &Change, dry_run: &DryRun, count: Option<Count>) -> Self {
        let objects = count.as_ref().map(Count::objects);
        let reloads = dry_run.reloads();
        let waiting = RELOAD.as_secs().saturating_mul(reloads as u64);
        let rows = objects.map(|objects| objects.saturating_mul(2) / ROWS_PER_SECOND);
        let steps = dry_run.steps.iter().map(|step| StepReport {
            phase: phase::word(step.phase),
            actions: step.actions.iter().map(ToString::to_string).collect(),
            differences: step.differences.iter().map(ToString::to_string).collect(),
        });
        Self {
            change: change.kind.as_str(),
            complete: dry_run.is_complete,
            steps: steps.collect(),
            blockers: dry_run.blockers.iter().map(ToString::to_string).collect(),
            lacking: Vec::new(),
            backups_asked: false,
            objects,
            skipped: count.map(|count| count.skipped).unwrap_or_default(),
            reloads,
            estimated_seconds: dry_run
                .is_complete
                .then(|| waiting.saturating_add(rows.unwrap_or(0))),
        }
    }
}

fn show(report: &Report, out: &mut Output) -> Result<(), Failure> {
    if report.steps.is_empty() && report.complete {
        return out.line("nothing to do: everything is as prepared");
    }
    for line in &report.lacking {
        let line = out.paint(Tone::Bad, line);
        out.line(line)?;
    }
    for (number, step) in report.steps.iter().enumerate() {
        let heading = out.paint(Tone::Strong, step.phase);
        out.line(format_args!("{}. {heading}", number + 1))?;
        for action in &step.actions {
            out.line(format_args!("   {}", crate::failure::escaped(action)))?;
        }
        for difference in &step.differences {
            let difference = out.paint(Tone::Faint, &format!("     {difference}"));
            out.line(difference)?;
        }
    }
    for blocker in &report.blockers {
        let blocker = out.paint(Tone::Warning, blocker);
        out.line(format_args!(
            "{}: {blocker}",
            if report.complete { "remark" } else { "blocked" }
        ))?;
    }
    if !report.backups_asked {
        out.line(super::backups::NOT_ASKED)?;
    }
    for skipped in &report.skipped {
        let line = format!("not covered: {skipped}");
        let line = out.paint(Tone::Warning, &line);
        out.line(line)?;
    }
    if let Some(objects) = report.objects {
        out.line(format_args!("rows: about {objects}, each read twice"))?;
    }
    if let Some(seconds) = report.estimated_seconds {
        let time = humantime::format_duration(Duration::from_secs(seconds));
        let reloads = report.reloads;
        out.line(format_args!(
            "time: about {time}, with {reloads} reloads of every API server"
        ))?;
    }
    Ok(())
}

/// The question before a change begins.
pub(super) fn question(change: &Change) -> String {
    let writers: Vec<_> = change
        .writers
        .iter()
        .map(|(resource, writer)| format!("{resource} with {writer}"))
        .collect();
    let consequence = match change.kind {
        ChangeKind::Disable => "Rows will be stored in etcd unencrypted.",
        ChangeKind::Abort => "The change in progress is aborted.",
        _ => {
            "Every row is rewritten; keys that nothing needs then leave the configuration and stay in the keyring."
        }
    };
    format!("{consequence} To be written: {}.", writers.join(", "))
}
