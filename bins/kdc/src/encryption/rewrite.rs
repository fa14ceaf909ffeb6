//! `kdc encryption rewrite`: a pass over the rows of any cluster.

use std::sync::{Mutex, PoisonError};

use clap::Args;
use indicatif::ProgressBar;
use kdc_envelope_k8s::GroupResource;
use kdc_envelope_k8s::rewrite::{Progress, RewriteReport, rewrite};
use kube::Client;

use super::drive::{refusals, summary};
use super::flags::{ClusterFlags, RewriteFlags};
use super::refusal;
use crate::failure::{Exit, Failure};
use crate::output::{Format, Output, Tone};
use crate::{progress, runtime};

const EXAMPLES: &str = "\
Examples:
  kdc encryption rewrite secrets configmaps
  kdc encryption rewrite '*.*' --rate 200 --output json";

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
    resources: Vec<String>,
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
    let names = arguments.resources.iter();
    let resources: Vec<_> = names.map(|name| GroupResource::from_text(name)).collect();
    let report = runtime.block_on(async {
        let client = arguments.cluster.client().await?;
        pass(&client, &resources, &arguments.rewrite).await
    })?;
    match arguments.output {
        Format::Json => out.json(&report)?,
        Format::Text => show(&report, out)?,
    }
    Ok(if report.is_complete() {
        Exit::Ok
    } else {
        Exit::Negative
    })
}

/// One pass, with a bar.
pub(super) async fn pass(
    client: &Client,
    resources: &[GroupResource],
    flags: &RewriteFlags,
) -> Result<RewriteReport, Failure> {
    let bar: Mutex<Option<ProgressBar>> = Mutex::default();
    let tell = |progress: &Progress| {
        let mut bar = bar.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = bar.get_or_insert_with(|| progress::count(0, "objects"));
        bar.set_length(progress.total.unwrap_or(progress.done));
        bar.set_position(progress.done);
    };
    let options = flags.options();
    let report = tokio::select! {
        report = rewrite(client, resources, &options, &tell) => report,
        _ = tokio::signal::ctrl_c() => {
            let line = "stopped by Ctrl-C; rows that were rewritten stay so, and the same command does the others";
            return Err(Failure::new(Exit::Negative, line));
        }
    };
    if let Some(bar) = bar.lock().unwrap_or_else(PoisonError::into_inner).take() {
        bar.finish_and_clear();
    }
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
            resource.overtaken,
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
