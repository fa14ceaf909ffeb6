//! `kdc backup rewrap`: data keys of all snapshots to the newest version of their key.
//!
//! A snapshot is touched in its metadata alone. With OpenBao the data key never leaves it. Each replacement is a compare-and-swap, so another
//! rewrap at the same time, or a crash at any point, leaves every snapshot with a wrapped key that works; running it again goes on.

use clap::Args;
use indicatif::ProgressBar;
use kdc_envelope::evidence::{Evidence, Gap, GapKind};
use kdc_envelope::snapshot::check_name;
use kdc_envelope::snapshot::metadata::{Metadata, WrappedDek};
use kdc_envelope_bao::TransitSnapshotDeks;
use serde::Serialize;

use super::bucket::{
    Bucket, BucketArguments, Entry, Replaced, SnapshotFiles, StoredMetadata, Version,
};
use super::kek::{Kek, KekArguments};
use super::pass;
use super::proof::{self, Unknowns};
use super::refusal::of_metadata;
use super::state::{Known, judge};
use crate::failure::{Exit, Failure};
use crate::output::{Format, Output, note};
use crate::progress;

/// How often a snapshot is tried again that somebody else changed meanwhile.
const MAX_ROUNDS: u32 = 5;

const EXAMPLES: &str = "\
Examples:
  kdc backup rewrap --bucket s3://backups --dry-run --bao-address https://openbao.example.com:8200 --bao-key etcd-prod
  kdc backup rewrap --bucket /var/backups/etcd --cluster prod --keyring /etc/kdc/keyring";

/// Move the data keys of snapshots to the newest version of their key, without touching the snapshots.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RewrapCommand {
    #[command(flatten)]
    bucket: BucketArguments,
    /// Only this cluster [default: all in the bucket]
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    #[command(flatten)]
    kek: KekArguments,
    /// Ask for the new wrapped keys, but write nothing.
    #[arg(long)]
    dry_run: bool,
    /// How to show the result.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// How many snapshots had which fate.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    is_dry_run: bool,
    rewrapped: u64,
    /// Were under the newest version.
    already_newest: u64,
    /// Are under another key.
    other_keys: u64,
    /// Could not be read, or not be moved.
    failed: u64,
    /// Have no metadata, or were not looked at: nothing tells which key they need.
    unknown: u64,
}

struct Candidate {
    files: SnapshotFiles,
    name: String,
    metadata: Metadata,
    version: Version,
    rounds: u32,
}

struct Rewrap<'r> {
    kek: &'r Kek,
    is_dry_run: bool,
    newest: Option<u32>,
    waiting: Vec<Candidate>,
    report: Report,
    unknowns: Unknowns,
    bar: ProgressBar,
}

pub(super) fn run(arguments: &RewrapCommand, out: &mut Output) -> Result<Exit, Failure> {
    if let Some(cluster) = &arguments.cluster {
        check_name("--cluster", cluster).map_err(|error| Failure::of(Exit::Usage, &error))?;
    }
    let kek = arguments.kek.open()?;
    let bucket = Bucket::open(&arguments.bucket)?;
    let mut rewrap = Rewrap {
        kek: &kek,
        is_dry_run: arguments.dry_run,
        newest: None,
        waiting: Vec::new(),
        report: Report {
            is_dry_run: arguments.dry_run,
            ..Report::default()
        },
        unknowns: Unknowns::default(),
        bar: progress::looked_at(),
    };
    let outcome = rewrap.all(&bucket, arguments.cluster.as_deref());
    rewrap.bar.finish_and_clear();
    outcome.map_err(|failure| match rewrap.report.rewrapped {
        0 => failure,
        done => failure.hint(&format!("{done} were moved before this, and stay so")),
    })?;
    rewrap.report.unknown = rewrap.unknowns.count();
    show(arguments, &rewrap.report, out)?;
    let place = proof::place(&bucket.name(), arguments.cluster.as_deref());
    proof::verdict(
        &rewrap.evidence(&place),
        "that no snapshot needs an older version of the key",
    )
}

/// A snapshot whose metadata was read.
struct Found {
    files: SnapshotFiles,
    name: String,
    stored: Option<StoredMetadata>,
    rounds: u32,
}

/// What an entry is good for here.
enum Visited {
    Snapshot(Found),
    /// Nothing can be read that would tell its key.
    Other(Box<Known>),
}

impl Rewrap<'_> {
    /// For the statement that no snapshot needs an older version of the key.
    fn evidence(&self, place: &str) -> Evidence {
        let report = &self.report;
        let mut evidence = Evidence::new();
        let own = report.rewrapped + report.already_newest;
        match (own + report.failed + report.unknown, report.other_keys) {
            (0, 0) => evidence.add_gap(proof::nothing_in(place)),
            // Whose keyring is this?
            (0, others) => evidence.add_gap(Gap::new(GapKind::Unrelated, others, place)),
            _ => evidence.agrees(own + report.other_keys),
        }
        evidence.contradicts(report.failed);
        self.unknowns.tell(&mut evidence);
        evidence
    }

    fn all(&mut self, bucket: &Bucket, cluster: Option<&str>) -> Result<(), Failure> {
        let visit = |entry: Entry| {
            if entry.metadata.is_none() || entry.obstacle.is_some() {
                return Ok(Visited::Other(Box::new(judge(entry, None))));
            }
            let name = format!("{}/{}", entry.cluster, entry.id);
            let found = read(bucket.snapshot(&entry.cluster, &entry.id), name, 0);
            found.map(Visited::Snapshot)
        };
        pass::in_parallel(bucket.entries(cluster), visit, |visited| match visited {
            Visited::Snapshot(found) => self.take_in(found),
            Visited::Other(known) => {
                self.unknowns.add(&known);
                Ok(())
            }
        })?;
        while !self.waiting.is_empty() {
            self.move_waiting()?;
        }
        Ok(())
    }

    /// Keeps a snapshot that may have to move, and moves all that wait when there are enough of them.
    fn take_in(&mut self, found: Found) -> Result<(), Failure> {
        self.bar.inc(1);
        // Pruned since it was listed.
        let Some(stored) = found.stored else {
            return Ok(());
        };
        let metadata = match Metadata::parse(&stored.json) {
            Ok(metadata) => metadata,
            Err(error) => {
                self.fail(&found.name, &crate::failure::chain(&error));
                return Ok(());
            }
        };
        if !self.kek.is_own(metadata.wrapped_dek()) {
            self.report.other_keys += 1;
            return Ok(());
        }
        if self.newest.is_some() && metadata.wrapped_dek().version() == self.newest {
            self.report.already_newest += 1;
            return Ok(());
        }
        self.waiting.push(Candidate {
            files: found.files,
            name: found.name,
            metadata,
            version: stored.version,
            rounds: found.rounds,
        });
        match self.waiting.len() {
            TransitSnapshotDeks::MAX_REWRAP.. => self.move_waiting(),
            _ => Ok(()),
        }
    }

    /// Moves all that wait, with one question to the key.
    fn move_waiting(&mut self) -> Result<(), Failure> {
        let candidates = std::mem::take(&mut self.waiting);
        let deks: Vec<&WrappedDek> = candidates
            .iter()
            .map(|candidate| candidate.metadata.wrapped_dek())
            .collect();
        let answers = self.kek.rewrap(&deks)?;
        let mut moves = Vec::new();
        for (candidate, answer) in candidates.into_iter().zip(answers) {
            match answer {
                Ok(Some(wrapped)) => {
                    self.newest = self.newest.max(wrapped.version());
                    moves.push((candidate, wrapped));
                }
                Ok(None) => {
                    self.newest = self.newest.max(candidate.metadata.wrapped_dek().version());
                    self.report.already_newest += 1;
                }
                Err(failure) => self.fail(&candidate.name, failure.line().unwrap_or_default()),
            }
        }
        if self.is_dry_run {
            self.report.rewrapped += moves.len() as u64;
            return Ok(());
        }
        let mut again = Vec::new();
        let moves = moves.into_iter().map(Ok);
        pass::in_parallel(moves, replace, |(candidate, outcome)| {
            match outcome {
                Ok(Replaced::Yes) => self.report.rewrapped += 1,
                Ok(Replaced::Conflict) if candidate.rounds < MAX_ROUNDS => again.push(candidate),
                Ok(Replaced::Conflict) => self.fail(&candidate.name, "it is changed all the time"),
                // The next one would wait as long, and fail as well.
                Err(failure) if failure.exit() == Exit::Unavailable => return Err(failure),
                Err(failure) => self.fail(&candidate.name, failure.line().unwrap_or_default()),
            }
            Ok(())
        })?;
        for candidate in again {
            let found = read(candidate.files, candidate.name, candidate.rounds + 1)?;
            self.take_in(found)?;
        }
        Ok(())
    }

    fn fail(&mut self, name: &str, why: &str) {
        self.report.failed += 1;
        self.bar.suspend(|| note(&format!("{name}: {why}")));
    }
}

fn read(files: SnapshotFiles, name: String, rounds: u32) -> Result<Found, Failure> {
    let stored = files.read_metadata()?;
    Ok(Found {
        files,
        name,
        stored,
        rounds,
    })
}

fn replace(
    (candidate, wrapped): (Candidate, WrappedDek),
) -> Result<(Candidate, Result<Replaced, Failure>), Failure> {
    let wrapped_dek = wrapped.text();
    let metadata = candidate.metadata.clone().with_wrapped_dek(wrapped);
    let files = &candidate.files;
    let outcome = metadata
        .map_err(|error| of_metadata(&candidate.name, &error))
        .and_then(|metadata| {
            files.replace_metadata(&metadata.to_json(), &wrapped_dek, &candidate.version)
        });
    Ok((candidate, outcome))
}

fn show(arguments: &RewrapCommand, report: &Report, out: &mut Output) -> Result<(), Failure> {
    if arguments.output == Format::Json {
        return out.json(report);
    }
    let done = match report.is_dry_run {
        true => "would be rewrapped",
        false => "rewrapped",
    };
    out.line(format_args!("{:>8}  {done}", report.rewrapped))?;
    out.line(format_args!(
        "{:>8}  already under the newest version",
        report.already_newest
    ))?;
    out.line(format_args!("{:>8}  under other keys", report.other_keys))?;
    out.line(format_args!("{:>8}  failed", report.failed))?;
    match report.unknown {
        0 => Ok(()),
        unknown => out.line(format_args!("{unknown:>8}  unknown")),
    }
}
