//! `kdc encryption verify`: whether every row is on the newest key.

use clap::Args;
use kdc_envelope::evidence::Conclusion;
use kdc_envelope_k8s::GroupResource;
use kdc_envelope_k8s::rewrite::RewriteReport;
use serde::Serialize;

use super::flags::{ClusterFlags, NodeFlags, RewriteFlags};
use super::rewrite;
use super::rows::{self, Origin, ResourceRows, RowFlags, Rows};
use crate::failure::{Exit, Failure};
use crate::output::{Format, Output, Tone};
use crate::runtime;

const EXAMPLES: &str = "\
Examples:
  kdc encryption verify --etcd-endpoints https://127.0.0.1:2379 --etcd-cacert ca.crt \\
      --etcd-cert client.crt --etcd-keyfile client.key
  kdc encryption verify --kubeconfig admin.conf --resources secrets";

/// Verify that every row is on the newest key; exit code 0 if so, 1 if not or unknown.
///
/// With --etcd-endpoints the rows themselves are read, and nothing is written: who wrote each of them, held against the
/// EncryptionConfiguration, and for KMS plugins against the key id that the API servers have. Where no row is found, nothing
/// is proven. Without, the API server is asked: a patch that changes nothing leaves a row alone if it is current, and rewrites it otherwise; rows that had to be
/// rewritten make the answer no.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Verify {
    /// Without etcd: these resources and wildcards [default: those of the configuration]
    #[arg(
        long,
        value_name = "RESOURCE",
        value_delimiter = ',',
        conflicts_with = "etcd_endpoints"
    )]
    resources: Vec<GroupResource>,
    /// How to show it.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    cluster: ClusterFlags,
    #[command(flatten)]
    nodes: NodeFlags,
    #[command(flatten)]
    rewrite: RewriteFlags,
    #[command(flatten)]
    rows: RowFlags,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RowReport {
    verified: bool,
    conclusion: &'static str,
    #[serde(flatten)]
    rows: Rows,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PassReport {
    verified: bool,
    conclusion: &'static str,
    /// What keeps it unknown, a clause each.
    unknown: Vec<String>,
    pass: RewriteReport,
}

pub(super) fn run(arguments: &Verify, out: &mut Output) -> Result<Exit, Failure> {
    let verified = match arguments.rows.etcd.is_given() {
        true => by_rows(arguments, out)?,
        false => by_pass(arguments, out)?,
    };
    Ok(if verified { Exit::Ok } else { Exit::Negative })
}

fn by_rows(arguments: &Verify, out: &mut Output) -> Result<bool, Failure> {
    let runtime = runtime::start_few()?;
    let told = runtime.block_on(async {
        let (control_plane, observation) = arguments.nodes.observe(&arguments.cluster).await?;
        rows::ask(&control_plane, &observation).await
    })?;
    let rows = rows::read(&arguments.rows, &told, &runtime)?;
    let report = RowReport {
        verified: matches!(rows.conclude(), Conclusion::Proven { .. }),
        conclusion: word(rows.conclude()),
        rows,
    };
    match arguments.output {
        Format::Json => out.json(&report)?,
        Format::Text => {
            let rows = &report.rows;
            show_rows(&rows.resources, &rows.origin, out)?;
            for skipped in &rows.skipped {
                let line = out.paint(Tone::Warning, &skipped.to_string());
                out.line(line)?;
            }
            verdict(rows.conclude(), rows.first_not_current(), out)?;
        }
    }
    Ok(report.verified)
}

fn by_pass(arguments: &Verify, out: &mut Output) -> Result<bool, Failure> {
    let runtime = runtime::start_few()?;
    let pass = runtime.block_on(async {
        let mut resources = arguments.resources.clone();
        let client = if resources.is_empty() {
            let (control_plane, observation) = arguments.nodes.observe(&arguments.cluster).await?;
            let layouts = observation.layouts();
            let rules = layouts
                .first()
                .into_iter()
                .flat_map(|layout| layout.rules());
            resources.extend(rules.map(|(name, _)| name.clone()));
            control_plane.client
        } else {
            let client = arguments.cluster.client().await?;
            rewrite::require(&client, &resources).await?;
            client
        };
        if resources.is_empty() {
            let line = "no EncryptionConfiguration names a resource; name some with --resources";
            return Err(Failure::new(Exit::Usage, line));
        }
        rewrite::pass(&client, &resources, &arguments.rewrite).await
    })?;
    let evidence = pass.evidence();
    let gaps = evidence.gaps().iter();
    let report = PassReport {
        verified: evidence.is_proof(),
        conclusion: word(evidence.conclude()),
        unknown: gaps.map(ToString::to_string).collect(),
        pass,
    };
    match arguments.output {
        Format::Json => out.json(&report)?,
        Format::Text => {
            rewrite::show(&report.pass, out)?;
            verdict(evidence.conclude(), None, out)?;
        }
    }
    Ok(report.verified)
}

const fn word(conclusion: Conclusion<'_>) -> &'static str {
    match conclusion {
        Conclusion::Proven { .. } => "proven",
        Conclusion::Refuted { .. } => "refuted",
        _ => "unknown",
    }
}

fn verdict(
    conclusion: Conclusion<'_>,
    first: Option<&str>,
    out: &mut Output,
) -> Result<(), Failure> {
    let line = match conclusion {
        Conclusion::Proven { .. } => out.paint(Tone::Good, "every row is on the newest key"),
        Conclusion::Refuted { .. } => {
            let first = first.map_or_else(String::new, |key| format!(", first the one at `{key}`"));
            let line = format!("not every row is on the newest key{first}");
            out.paint(Tone::Bad, &line)
        }
        Conclusion::Unknown([]) => out.paint(
            Tone::Warning,
            &format!("{UNKNOWN}: there is no row of these resources"),
        ),
        Conclusion::Unknown(gaps) => {
            let gaps: Vec<_> = gaps.iter().map(ToString::to_string).collect();
            out.paint(Tone::Warning, &format!("{UNKNOWN}: {}", gaps.join("; ")))
        }
        _ => out.paint(Tone::Warning, UNKNOWN),
    };
    out.line(line)
}

const UNKNOWN: &str = "it is not known whether every row is on the newest key";

/// A line for each way in which rows of a resource were written.
pub(super) fn show_rows(
    resources: &[ResourceRows],
    origin: &Origin,
    out: &mut Output,
) -> Result<(), Failure> {
    let headings = [
        "RESOURCE",
        "SHALL BE WRITTEN WITH",
        "WRITTEN WITH",
        "KEY ID",
        "ROWS",
    ];
    let mut table = vec![headings.map(str::to_owned).to_vec()];
    let mut tones = Vec::new();
    for resource in resources {
        let mut cells = |by: &str, key_id: &str, rows: u64, tone: Option<Tone>| {
            let cells = [
                &resource.resource,
                &resource.writer,
                by,
                key_id,
                &rows.to_string(),
            ];
            table.push(cells.map(str::to_owned).to_vec());
            tones.push(tone);
        };
        if resource.groups.is_empty() {
            cells("-", "-", 0, None);
        }
        for group in &resource.groups {
            let key_id = group.key_id.as_deref().unwrap_or("-");
            let tone = (!group.current).then_some(Tone::Bad);
            cells(&group.by, key_id, group.rows, tone);
        }
    }
    out.table(&table, |row| tones.get(row).copied().flatten())?;
    let prefix = crate::failure::escaped(&origin.etcd_prefix);
    let total: u64 = resources.iter().map(|resource| resource.rows).sum();
    out.line(format_args!(
        "{total} rows of these resources under {prefix} in etcd at {}",
        origin.etcd
    ))
}
