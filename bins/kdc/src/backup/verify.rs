//! `kdc backup verify`: whether snapshots can be restored.

use std::io;

use clap::Args;
use kdc_envelope::evidence::{Evidence, GapKind};
use kdc_envelope::snapshot::metadata::Metadata;
use kdc_envelope_backup::catalogue::{CatalogueEntry, State, Unjudged, nothing_in};
use serde::Serialize;

use super::origin::{Origin, Refused, Source};
use super::proof;
use crate::failure::{Exit, Failure};
use crate::output::{Format, Output, Tone, note};
use crate::runtime;

const EXAMPLES: &str = "\
Examples:
  kdc backup verify --bucket /var/backups/etcd --cluster prod --keyring /etc/kdc/keyring
  kdc backup verify --bucket s3://backups --cluster prod --all --full --bao-address https://openbao.example.com:8200 \\
      --bao-key etcd-prod --output json";

/// Check that snapshots open with the key: their headers and metadata, or with --full every byte.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Verify {
    #[command(flatten)]
    origin: Origin,
    /// Check every snapshot of the cluster.
    #[arg(long, conflicts_with = "snapshot")]
    all: bool,
    /// Read and open everything, and throw it away. Nothing less proves a snapshot of version 1.
    #[arg(long)]
    full: bool,
    /// How to show the result.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    snapshot: String,
    is_good: bool,
    /// What was checked, or what is wrong.
    finding: String,
}

pub(super) fn run(arguments: &Verify, out: &mut Output) -> Result<Exit, Failure> {
    let source = arguments.origin.open()?;
    let is_full = arguments.full;
    if !arguments.all {
        let verdict = runtime::wait(async {
            let id = source.id().await?;
            verdict(&source, is_full, id).await
        })?;
        let exit = if verdict.is_good {
            Exit::Ok
        } else {
            Exit::Negative
        };
        show(arguments, &[verdict], out)?;
        return Ok(exit);
    }
    let (verdicts, mut evidence) = runtime::wait(all(&source, is_full))?;
    if verdicts.is_empty() {
        evidence.add_gap(nothing_in(&source.place));
    } else {
        show(arguments, &verdicts, out)?;
    }
    proof::verdict(&evidence, "that all snapshots are good")
}

/// On every snapshot, and what was seen for the statement that these are all.
async fn all(source: &Source<'_>, is_full: bool) -> Result<(Vec<Verdict>, Evidence), Failure> {
    let mut verdicts = Vec::new();
    let mut evidence = Evidence::new();
    let mut not_looked_at = Unjudged::default();
    for found in source.all().await? {
        let Some(verdict) = of_entry(source, is_full, &found).await? else {
            continue;
        };
        match (verdict.is_good, found.state) {
            (true, _) => evidence.agrees(1),
            (false, State::NotLookedAt) => not_looked_at.add(found.name()),
            (false, _) => evidence.contradicts(1),
        }
        verdicts.push(verdict);
    }
    if let Some(gap) = not_looked_at.gap(GapKind::NotLookedAt) {
        evidence.add_gap(gap);
    }
    Ok((verdicts, evidence))
}

/// `None` if it was deleted since it was listed.
async fn of_entry(
    source: &Source<'_>,
    is_full: bool,
    found: &CatalogueEntry,
) -> Result<Option<Verdict>, Failure> {
    let id = &found.entry.id;
    if found.state == State::NotLookedAt {
        return Ok(Some(Verdict {
            snapshot: id.clone(),
            is_good: false,
            finding: found.detail.clone().unwrap_or_default(),
        }));
    }
    let checked = verdict(source, is_full, id.clone()).await;
    let is_good = checked.as_ref().is_ok_and(|verdict| verdict.is_good);
    if !is_good && source.is_gone(id).await {
        note(&format!("{id} was deleted meanwhile"));
        return Ok(None);
    }
    checked.map(Some)
}

/// A snapshot that is bad is a finding; a key or bucket that cannot be asked ends the command.
async fn verdict(source: &Source<'_>, is_full: bool, snapshot: String) -> Result<Verdict, Failure> {
    let (is_good, finding) = match check(source, is_full, &snapshot).await {
        Ok(finding) => (true, finding),
        Err(Refused::Bad(failure)) => (false, failure.line().unwrap_or_default().to_owned()),
        Err(Refused::Unknown(failure)) => return Err(failure),
    };
    Ok(Verdict {
        snapshot,
        is_good,
        finding,
    })
}

async fn check(source: &Source<'_>, is_full: bool, id: &str) -> Result<String, Refused> {
    let opened = source.fetch_one(id).await?;
    if is_full {
        let content = source.open_content(&opened, io::sink()).await?;
        return Ok(format!("all {} bytes are authentic", content.len));
    }
    source.check_header(&opened).await?;
    let finding = match opened.metadata() {
        Metadata::V1(_) => "the data key opens; version 1 shows no more without --full",
        _ => "data key, header, metadata and length belong together",
    };
    Ok(finding.to_owned())
}

fn show(arguments: &Verify, verdicts: &[Verdict], out: &mut Output) -> Result<(), Failure> {
    if arguments.output == Format::Json {
        return out.json(&verdicts);
    }
    let mut rows = vec![vec![
        "SNAPSHOT".to_owned(),
        "STATE".into(),
        "FINDING".into(),
    ]];
    rows.extend(verdicts.iter().map(|verdict| {
        let state = if verdict.is_good { "good" } else { "bad" };
        vec![
            verdict.snapshot.clone(),
            state.into(),
            verdict.finding.clone(),
        ]
    }));
    let tone = |row: usize| {
        let is_bad = verdicts.get(row).is_some_and(|verdict| !verdict.is_good);
        is_bad.then_some(Tone::Bad)
    };
    out.table(&rows, tone)
}
