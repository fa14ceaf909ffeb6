//! `kdc encryption status`: what is configured, what each API server has loaded, what rows there are, and what is under way.

mod page;
mod report;

use std::path::PathBuf;

use super::backups::BackupFlags;
use super::flags::{ClusterFlags, NodeFlags};
use super::rows::{self, RowFlags};
use super::{lacking, refusal, verify};
use crate::failure::{Exit, Failure};
use crate::output::{Format, Output, Tone, note};
use crate::runtime;
use clap::Args;
use kdc_envelope_k8s::control_plane::{ControlPlane, Observation};
use kdc_envelope_k8s::rewrite::resolve;
use report::{Report, ServerReport};

const EXAMPLES: &str = "\
Examples:
  kdc encryption status
  kdc encryption status --html status.html --etcd-endpoints https://127.0.0.1:2379 --etcd-cacert ca.crt \\
      --etcd-cert client.crt --etcd-keyfile client.key
  kdc encryption status --output json | jq '.servers[] | select(.loaded != \"its file\")'";

/// Show which provider writes each resource, what each API server has loaded, and the change in progress.
///
/// With --etcd-endpoints also what the rows were written with. Changes nothing. The exit code is 1 if a configuration file
/// lacks a key under which rows may lie, because it was removed or an earlier version was put in its place.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Status {
    /// Also write a page for the browser, with a picture, into this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// How to show it.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    cluster: ClusterFlags,
    #[command(flatten)]
    nodes: NodeFlags,
    #[command(flatten)]
    rows: RowFlags,
    #[command(flatten)]
    backups: BackupFlags,
}

pub(super) fn run(arguments: &Status, out: &mut Output) -> Result<Exit, Failure> {
    let backups = arguments.backups.open()?;
    let runtime = runtime::start_few()?;
    let (mut report, told) = runtime.block_on(async {
        let (mut control_plane, mut observation) =
            arguments.nodes.observe(&arguments.cluster).await?;
        control_plane.backups = backups;
        let asked = control_plane.ask_backups(&mut observation).await;
        asked.map_err(|error| refusal::of_port(&error))?;
        let change = observation.stored.change.as_ref();
        let mut report = Report::new(&observation, change, lacking::lines(&observation));
        tell_of_served(&mut report, &control_plane, &observation).await;
        let told = match arguments.rows.etcd.is_given() {
            true => Some(rows::ask(&control_plane, &observation).await?),
            false => None,
        };
        Ok::<_, Failure>((report, told))
    })?;
    if let Some(told) = told {
        let rows = rows::read(&arguments.rows, &told, &runtime)?;
        report.rows = Some(rows.resources);
        report.rows_from = Some(rows.origin);
    }
    if let Some(path) = &arguments.html {
        crate::page::write(path, &page::render(&report))?;
        note(&format!("wrote `{}`", path.display()));
    }
    match arguments.output {
        Format::Json => out.json(&report)?,
        Format::Text => show(&report, out)?,
    }
    Ok(match report.lacking.is_empty() {
        true => Exit::Ok,
        false => Exit::Negative,
    })
}

/// Looks up whether something is served under every name of the configuration. Not to know it is no reason to show nothing.
async fn tell_of_served(
    report: &mut Report,
    control_plane: &ControlPlane,
    observation: &Observation,
) {
    let layouts = observation.layouts();
    let rules = layouts
        .first()
        .into_iter()
        .flat_map(|layout| layout.rules());
    let names: Vec<_> = rules.map(|(name, _)| name.clone()).collect();
    match resolve(&control_plane.client, &names).await {
        Ok(found) => report.skip(&found),
        Err(error) => note(&format!(
            "whether every resource of the configuration is served is not known: {error}"
        )),
    }
}

fn show(report: &Report, out: &mut Output) -> Result<(), Failure> {
    show_resources(report, out)?;
    out.line("")?;
    let headings = ["API SERVER", "VERSION", "LOADED", "SINCE", "KMS KEY IDS"];
    let mut table = vec![headings.map(str::to_owned).to_vec()];
    table.extend(report.servers.iter().map(ServerReport::cells));
    out.table(&table, |row| {
        let server = report.servers.get(row)?;
        (!server.is_well()).then_some(Tone::Bad)
    })?;
    show_rows(report, out)?;
    out.line("")?;
    for line in &report.lacking {
        let line = out.paint(Tone::Bad, line);
        out.line(format_args!("{line}; {}", lacking::CURE))?;
    }
    match &report.change {
        None => out.line("no change was asked for here"),
        Some(change) => {
            let phase = out.paint(Tone::Strong, &change.phase);
            out.line(format_args!("{}: {phase}", change.heading()))?;
            for blocker in &change.blockers {
                let blocker = out.paint(Tone::Warning, blocker);
                out.line(format_args!("  {blocker}"))?;
            }
            Ok(())
        }
    }
}

fn show_resources(report: &Report, out: &mut Output) -> Result<(), Failure> {
    let mut table = vec![
        ["RESOURCE", "WRITTEN WITH", "ALSO READ"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for resource in &report.resources {
        let readers = match resource.readers.is_empty() {
            true => "-".to_owned(),
            false => resource.readers.join(", "),
        };
        table.push(vec![
            resource.resource.clone(),
            resource.writer.clone(),
            readers,
        ]);
    }
    if report.resources.is_empty() {
        out.line("no resource is encrypted: no configuration names one")?;
    } else {
        let is_plain = |row: usize| {
            report
                .resources
                .get(row)
                .is_some_and(|row| row.writer == "identity")
        };
        out.table(&table, |row| is_plain(row).then_some(Tone::Warning))?;
    }
    for resource in &report.resources {
        if let Some(reason) = resource.skipped {
            let line = format!("{}: {reason}; is it spelt right?", resource.resource);
            let line = out.paint(Tone::Warning, &line);
            out.line(line)?;
        }
    }
    Ok(())
}

/// What etcd holds, if it was asked, and what is not known of it.
fn show_rows(report: &Report, out: &mut Output) -> Result<(), Failure> {
    let (Some(rows), Some(origin)) = (&report.rows, &report.rows_from) else {
        return Ok(());
    };
    out.line("")?;
    verify::show_rows(rows, origin, out)?;
    for gap in &origin.unknown {
        let gap = out.paint(Tone::Warning, gap);
        out.line(format_args!("  {gap}"))?;
    }
    Ok(())
}
