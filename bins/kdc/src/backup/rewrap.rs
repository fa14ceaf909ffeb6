//! `kdc backup rewrap`: data keys of all snapshots to the newest version of their key.
//!
//! A snapshot is touched in its metadata alone. With OpenBao the data key never leaves it. Each replacement is a compare-and-swap, so another
//! rewrap at the same time, or a crash at any point, leaves every snapshot with a wrapped key that works; running it again goes on.

use std::num::NonZeroUsize;
use std::thread;

use clap::Args;
use indicatif::ProgressBar;
use kdc_envelope::snapshot::check_name;
use kdc_envelope::snapshot::metadata::{Metadata, WrappedDek};
use kdc_envelope_bao::TransitSnapshotDeks;
use serde::Serialize;

use super::bucket::{Bucket, BucketArguments, Replaced, SnapshotFiles, Version};
use super::kek::{Kek, KekArguments};
use super::pass;
use super::refusal::of_metadata;
use crate::failure::{Exit, Failure};
use crate::output::{Format, Output, note};

/// Metadata objects that are read or written at a time.
const IN_FLIGHT: usize = 16;
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
        bar: pass::progress(),
    };
    rewrap.all(&bucket, arguments.cluster.as_deref())?;
    rewrap.bar.finish_and_clear();
    show(arguments, &rewrap.report, out)?;
    Ok(match rewrap.report.failed {
        0 => Exit::Ok,
        _ => Exit::Negative,
    })
}

impl Rewrap<'_> {
    fn all(&mut self, bucket: &Bucket, cluster: Option<&str>) -> Result<(), Failure> {
        let mut window = Vec::new();
        for entry in bucket.entries(cluster) {
            let entry = entry?;
            if entry.metadata.is_none() {
                continue;
            }
            let name = format!("{}/{}", entry.cluster, entry.id);
            window.push((bucket.snapshot(&entry.cluster, &entry.id), name));
            if window.len() == TransitSnapshotDeks::MAX_REWRAP {
                self.take_in(std::mem::take(&mut window), 0)?;
            }
        }
        self.take_in(window, 0)?;
        while !self.waiting.is_empty() {
            self.move_waiting()?;
        }
        Ok(())
    }

    /// Reads the metadata of some snapshots and keeps those that may have to move.
    fn take_in(
        &mut self,
        window: Vec<(SnapshotFiles, String)>,
        rounds: u32,
    ) -> Result<(), Failure> {
        let read = in_parallel(window, |(files, name)| {
            let stored = files.read_metadata();
            (files, name, stored)
        });
        for (files, name, stored) in read {
            self.bar.inc(1);
            // Pruned since it was listed.
            let Some(stored) = stored? else { continue };
            let metadata = match Metadata::parse(&stored.json) {
                Ok(metadata) => metadata,
                Err(error) => {
                    self.fail(&name, &crate::failure::chain(&error));
                    continue;
                }
            };
            if !self.kek.is_own(metadata.wrapped_dek()) {
                self.report.other_keys += 1;
                continue;
            }
            if self.newest.is_some() && metadata.wrapped_dek().version() == self.newest {
                self.report.already_newest += 1;
                continue;
            }
            self.waiting.push(Candidate {
                files,
                name,
                metadata,
                version: stored.version,
                rounds,
            });
            if self.waiting.len() >= TransitSnapshotDeks::MAX_REWRAP {
                self.move_waiting()?;
            }
        }
        Ok(())
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
        for (candidate, outcome) in in_parallel(moves, replace) {
            match outcome {
                Ok(Replaced::Yes) => self.report.rewrapped += 1,
                Ok(Replaced::Conflict) if candidate.rounds < MAX_ROUNDS => again.push(candidate),
                Ok(Replaced::Conflict) => self.fail(&candidate.name, "it is changed all the time"),
                Err(failure) => self.fail(&candidate.name, failure.line().unwrap_or_default()),
            }
        }
        for candidate in again {
            let window = vec![(candidate.files, candidate.name)];
            self.take_in(window, candidate.rounds + 1)?;
        }
        Ok(())
    }

    fn fail(&mut self, name: &str, why: &str) {
        self.report.failed += 1;
        self.bar.suspend(|| note(&format!("{name}: {why}")));
    }
}

/// The copy beside the metadata goes first: whichever of the two a reader takes, it works.
fn replace(
    (candidate, wrapped): (Candidate, WrappedDek),
) -> (Candidate, Result<Replaced, Failure>) {
    let text = wrapped.text();
    let metadata = candidate.metadata.clone().with_wrapped_dek(wrapped);
    let files = &candidate.files;
    let outcome = metadata
        .map_err(|error| of_metadata(&candidate.name, &error))
        .and_then(|metadata| {
            files.write_wrapped_dek(&text)?;
            files.replace_metadata(&metadata.to_json(), &candidate.version)
        });
    (candidate, outcome)
}

/// Does `work` with every item on up to [`IN_FLIGHT`] threads; results come in order.
fn in_parallel<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let share = items.len().div_ceil(IN_FLIGHT);
    let Some(share) = NonZeroUsize::new(share) else {
        return Vec::new();
    };
    let mut shares: Vec<Vec<T>> = Vec::new();
    for item in items {
        match shares.last_mut() {
            Some(last) if last.len() < share.get() => last.push(item),
            _ => shares.push(vec![item]),
        }
    }
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = shares
            .into_iter()
            .map(|share| scope.spawn(move || share.into_iter().map(work).collect::<Vec<R>>()))
            .collect();
        let results = threads.into_iter().map(|thread| match thread.join() {
            Ok(results) => results,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        results.flatten().collect()
    })
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
    out.line(format_args!("{:>8}  failed", report.failed))
}
