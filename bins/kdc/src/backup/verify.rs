//! `kdc backup verify`: whether snapshots can be restored.

use std::io;

use clap::Args;
use kdc_envelope::evidence::{Evidence, GapKind};
use kdc_envelope::snapshot::metadata::Metadata;
use serde::Serialize;

use super::bucket::Bucket;
use super::fetch::{Fetched, Origin};
use super::kek::Kek;
use super::proof::{self, Unjudged};
use super::state::{Known, State};
use crate::failure::{Exit, Failure};
use crate::output::{Format, Output, Tone, note};

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
    let (bucket, kek) = arguments.origin.open()?;
    if !arguments.all {
        let id = arguments.origin.id(&bucket)?;
        let fetched = arguments.origin.fetch_one(&bucket, &kek, &id);
        let verdict = verdict(arguments, id, fetched)?;
        let exit = if verdict.is_good {
            Exit::Ok
        } else {
            Exit::Negative
        };
        show(arguments, &[verdict], out)?;
        return Ok(exit);
    }
    let mut verdicts = Vec::new();
    let mut evidence = Evidence::new();
    let mut not_looked_at = Unjudged::default();
    for known in arguments.origin.all(&bucket)? {
        let Some(verdict) = of_known(arguments, &bucket, &kek, &known)? else {
            continue;
        };
        match (verdict.is_good, known.state) {
            (true, _) => evidence.agrees(1),
            (false, State::NotLookedAt) => not_looked_at.add(known.name()),
            (false, _) => evidence.contradicts(1),
        }
        verdicts.push(verdict);
    }
    if let Some(gap) = not_looked_at.gap(GapKind::NotLookedAt) {
        evidence.add_gap(gap);
    }
    if verdicts.is_empty() {
        evidence.add_gap(proof::nothing_in(&arguments.origin.place(&bucket)));
    } else {
        show(arguments, &verdicts, out)?;
    }
    proof::verdict(&evidence, "that all snapshots are good")
}

/// `None` if it was deleted since it was listed.
fn of_known(
    arguments: &Verify,
    bucket: &Bucket,
    kek: &Kek,
    known: &Known,
) -> Result<Option<Verdict>, Failure> {
    let (origin, id) = (&arguments.origin, &known.entry.id);
    if known.state == State::NotLookedAt {
        return Ok(Some(Verdict {
            snapshot: id.clone(),
            is_good: false,
            finding: known.detail.clone().unwrap_or_default(),
        }));
    }
    let checked = verdict(arguments, id.clone(), origin.fetch_one(bucket, kek, id));
    let is_good = checked.as_ref().is_ok_and(|verdict| verdict.is_good);
    if !is_good && origin.is_gone(bucket, id) {
        note(&format!("{id} was deleted meanwhile"));
        return Ok(None);
    }
    checked.map(Some)
}

/// A snapshot that is bad is a finding; a key or bucket that cannot be asked ends the command.
fn verdict(
    arguments: &Verify,
    snapshot: String,
    fetched: Result<Fetched, Failure>,
) -> Result<Verdict, Failure> {
    let checked = fetched.and_then(|fetched| check(&fetched, arguments.full));
    let (is_good, finding) = match checked {
        Ok(finding) => (true, finding),
        Err(failure) if matches!(failure.exit(), Exit::Data | Exit::Negative) => {
            (false, failure.line().unwrap_or_default().to_owned())
        }
        Err(failure) => return Err(failure),
    };
    Ok(Verdict {
        snapshot,
        is_good,
        finding,
    })
}

fn check(fetched: &Fetched, is_full: bool) -> Result<String, Failure> {
    if is_full {
        let content = fetched.open_content(io::sink())?;
        return Ok(format!("all {} bytes are authentic", content.len));
    }
    fetched.check_header()?;
    let finding = match &fetched.metadata {
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
