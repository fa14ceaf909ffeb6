//! `kdc encryption rewrite`: a pass over the rows of any cluster.

use clap::Args;
use kdc_envelope_k8s::GroupResource;
use kdc_envelope_k8s::rewrite::{
    Migrated, Progress, RewriteReport, Waiting, hand_over, resolve, rewrite,
};
use kube::Client;
use serde::Serialize;

use super::drive::{refusals, summary};
use super::flags::{ClusterFlags, RewriteFlags};
use super::pass_bar::PassBar;
use super::refusal;
use crate::failure::{Exit, Failure};
use crate::output::{Format, Output, Tone, step};
use crate::runtime;

const EXAMPLES: &str = "\
Examples:
  kdc encryption rewrite secrets configmaps
  kdc encryption rewrite '*.*' --rate 200 --output json
  kdc encryption rewrite secrets --hand-over";

/// Rewrite every stale row of resources, through the API server.
///
/// A row is stale if another provider or key comes first by now, or if the key behind a KMS plugin was rotated. Others are
/// not written. Objects do not travel, only their metadata. May be interrupted and begun again. Make sure that all API
/// servers have loaded the same configuration; the commands `enable`, `rotate` and `resume` see to that by themselves.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Rewrite {
    /// Resources and wildcards, as in an EncryptionConfiguration.
    #[arg(value_name = "RESOURCE", required = true)]
    resources: Vec<GroupResource>,
    /// Let kube-controller-manager rewrite the rows first, by storagemigration.k8s.io/v1 (Kubernetes 1.37 and newer). The
    /// pass after it proves that it has.
    #[arg(long)]
    hand_over: bool,
    /// How to show the outcome.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    cluster: ClusterFlags,
    #[command(flatten)]
    rewrite: RewriteFlags,
}

pub(super) fn run(arguments: &Rewrite, out: &mut Output) -> Result<Exit, Failure> {
    let runtime = runtime::start_few()?;
    let resources = &arguments.resources;
    let outcome = runtime.block_on(async {
        let client = arguments.cluster.client().await?;
        require(&client, resources).await?;
        let handed_over = match arguments.hand_over {
            true => migrate(&client, resources, &arguments.rewrite).await?,
            false => Vec::new(),
        };
        let pass = pass(&client, resources, &arguments.rewrite).await?;
        Ok::<_, Failure>(Outcome { handed_over, pass })
    })?;
    match arguments.output {
        Format::Json => out.json(&outcome)?,
        Format::Text => show(&outcome.pass, out)?,
    }
    Ok(if outcome.pass.is_complete() {
        Exit::Ok
    } else {
        Exit::Negative
    })
}

/// Refuses names that the operator typed and under which there is nothing to rewrite.
pub(super) async fn require(client: &Client, typed: &[GroupResource]) -> Result<(), Failure> {
    let found = resolve(client, typed).await;
    let required = found.and_then(|found| found.require(typed));
    required.map_err(|error| refusal::of_rewrite(&error))
}

/// What is told of it as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    handed_over: Vec<Migrated>,
    #[serde(flatten)]
    pass: RewriteReport,
}

/// Leaves the rows to kube-controller-manager.
async fn migrate(
    client: &Client,
    resources: &[GroupResource],
    flags: &RewriteFlags,
) -> Result<Vec<Migrated>, Failure> {
    let tell = |resource: &GroupResource| {
        step(
            "migrating",
            &format!("kube-controller-manager rewrites {resource}"),
        );
    };
    let wait = |waiting: Waiting| step("waiting", &waiting.to_string());
    let options = flags.options();
    tokio::select! {
        migrated = hand_over(client, resources, &options, &tell, &wait) => migrated.map_err(|error| refusal::of_rewrite(&error)),
        _ = tokio::signal::ctrl_c() => {
            let line = "stopped by Ctrl-C; what kube-controller-manager has begun goes on there";
            Err(Failure::new(Exit::Negative, line))
        }
    }
}

/// One pass, with a bar.
pub(super) async fn pass(
    client: &Client,
    resources: &[GroupResource],
    flags: &RewriteFlags,
) -> Result<RewriteReport, Failure> {
    let bar = PassBar::default();
    let tell = |progress: &Progress| bar.show(progress);
    let options = flags.options();
    let report = tokio::select! {
        report = rewrite(client, resources, &options, &tell) => report,
        _ = tokio::signal::ctrl_c() => {
            let line = "stopped by Ctrl-C; rows that were rewritten stay so, and the same command does the others";
            return Err(Failure::new(Exit::Negative, line));
        }
    };
    bar.end();
    report.map_err(|error| refusal::of_rewrite(&error))
}

pub(super) fn show(report: &RewriteReport, out: &mut Output) -> Result<(), Failure> {
    let headings = [
        "RESOURCE",
        "OBJECTS",
        "REWRITTEN",
        "CURRENT",
        "BY OTHERS",
        "REFUSED",
    ];
    let mut table = vec![headings.map(str::to_owned).to_vec()];
    table.extend(report.resources.iter().map(|resource| {
        let counts = [
            resource.objects,
            resource.rewritten,
            resource.current,
            resource.changed_concurrently,
            resource.refused,
        ];
        let counts = counts.iter().map(ToString::to_string);
        core::iter::once(resource.resource.to_string())
            .chain(counts)
            .collect()
    }));
    out.table(&table, |row| {
        let refused = report.resources.get(row).is_some_and(|row| row.refused > 0);
        refused.then_some(Tone::Bad)
    })?;
    for line in refusals(report) {
        let line = out.paint(Tone::Bad, &line);
        out.line(line)?;
    }
    out.line(summary(report))
}
