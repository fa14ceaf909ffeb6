//! kill -9 at any moment of a seal, a run, a rewrap or a prune, in a folder and in S3: what looks like a snapshot is one, nothing that
//! retention keeps is lost, and what is left behind goes with the next prune.
//!
//! `KDC_BACKUP_KILLS` sets how often (default 16 for each place), `KDC_BACKUP_SEED` repeats a run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use kdc_testbed::Etcd;

use crate::backup_fixture::{BackupFixture, Place};

const CLUSTER: [&str; 2] = ["--cluster", "prod"];
const KEY: [&str; 2] = ["--keyring", "keyring"];
/// How many snapshots retention keeps.
const KEPT: usize = 3;
const KEEP: [&str; 2] = ["--keep-last", "3"];
/// Orphans of this age are no longer those of a run that goes on.
const LONG_AGO: Duration = Duration::from_secs(3 * 86_400);

/// A generator for choices (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let micros = u64::try_from(limit.as_micros()).unwrap().max(1);
        Duration::from_micros(self.0 % micros)
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verb {
    Seal,
    Run,
    Rewrap,
    Prune,
}

const VERBS: [Verb; 4] = [Verb::Seal, Verb::Run, Verb::Rewrap, Verb::Prune];

struct Killer {
    backups: BackupFixture,
    etcd: Etcd,
    next_id: u32,
    killed: BTreeMap<Verb, u32>,
}

impl Killer {
    fn new(place: Place) -> Self {
        let backups = BackupFixture::new(place);
        let etcd = backups.etcd_with_rows();
        // Longer than a part of an upload, and than what a pipe takes at once.
        let runtime = &backups.runtime;
        for number in 0_u8..10 {
            let value = vec![number; 1 << 20];
            let key = format!("/registry/configmaps/default/large-{number}");
            runtime.block_on(etcd.put(&key, &value)).unwrap();
        }
        etcd.save_snapshot(&backups.fixture.path("saved.db"))
            .unwrap();
        Self {
            backups,
            etcd,
            next_id: 0,
            killed: BTreeMap::new(),
        }
    }

    /// The words of a verb that has something to do.
    fn prepared(&mut self, verb: Verb) -> Vec<String> {
        match verb {
            Verb::Seal => self.seal(),
            Verb::Run => {
                let endpoint = self.etcd.endpoint().to_owned();
                let run = ["--etcd-endpoints", &endpoint];
                self.deposit("run", &run)
            }
            Verb::Rewrap => {
                self.backups.rotate();
                self.rewrap()
            }
            Verb::Prune => {
                let seal = self.seal();
                self.complete_run(&seal);
                self.prune()
            }
        }
    }

    fn seal(&mut self) -> Vec<String> {
        self.deposit("seal", &["saved.db"])
    }

    /// Ids sort as times do.
    fn deposit(&mut self, verb: &str, more: &[&str]) -> Vec<String> {
        self.next_id += 1;
        let id = format!("s{:06}", self.next_id);
        let more = [more, &["--snapshot", &id], &CLUSTER, &KEY].concat();
        self.backups.words(verb, &more)
    }

    fn rewrap(&self) -> Vec<String> {
        self.backups.words("rewrap", &[CLUSTER, KEY].concat())
    }

    fn prune(&self) -> Vec<String> {
        let more = [&CLUSTER[..], &KEEP, &["--orphans", "--yes"]].concat();
        self.backups.words("prune", &more)
    }

    fn complete_run(&self, words: &[String]) -> Duration {
        let begin = Instant::now();
        self.backups.run_words(words).succeeds();
        begin.elapsed()
    }

    /// Runs the verb, and kills it after `pause` unless it has ended.
    fn kill(&mut self, verb: Verb, words: &[String], pause: Duration) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = self.backups.fixture.command(&words);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(pause);
        child.kill().unwrap();
        if !child.wait().unwrap().success() {
            *self.killed.entry(verb).or_default() += 1;
        }
    }

    /// Everything in the cluster's folder.
    fn folders(&self) -> Vec<(String, PathBuf)> {
        let entries = fs::read_dir(self.backups.file("prod")).unwrap();
        let folders = entries.map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), entry.path())
        });
        folders
            .filter(|(name, path)| name != ".lock" && self.backups.has(path.to_str().unwrap()))
            .collect()
    }

    /// Snapshots that look complete.
    fn complete(&self) -> BTreeSet<String> {
        let folders = self.folders().into_iter();
        let complete = folders.filter(|(_, path)| path.join("metadata.json").exists());
        complete.map(|(name, _)| name).collect()
    }

    /// Everything that looks complete opens, to its last byte. A server may still be doing what a client that was killed asked for.
    fn verify(&self, what: &str) -> BTreeSet<String> {
        loop {
            let before = self.complete();
            let verify = ["--all", "--full", "--output", "json"];
            let run = self.backups.on_prod("verify", &verify);
            let complete = self.complete();
            if before != complete {
                continue;
            }
            assert_eq!(run.code, 0, "after {what}: {}{}", run.text(), run.stderr);
            let verified: BTreeSet<String> = run
                .json()
                .as_array()
                .unwrap()
                .iter()
                .map(|verdict| verdict["snapshot"].as_str().unwrap().to_owned())
                .collect();
            assert_eq!(verified, complete, "after {what}");
            return complete;
        }
    }

    /// Makes all that is no complete snapshot look as old as what no run is at work on.
    fn age_orphans(&self) {
        for (_, path) in self.folders() {
            if !path.join("metadata.json").exists() {
                age(&path);
            }
        }
    }
}

fn age(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let file = fs::File::options().write(true).open(entry.unwrap().path());
        file.unwrap().set_modified(now() - LONG_AGO).unwrap();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "files have ages by the real clock"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

#[test]
fn killed_at_any_moment_in_a_folder_nothing_is_lost_and_nothing_half_done_looks_whole() {
    kill_again_and_again(Place::Folder);
}

#[test]
fn killed_at_any_moment_in_s3_nothing_is_lost_and_nothing_half_done_looks_whole() {
    kill_again_and_again(Place::S3);
}

#[expect(clippy::print_stdout, reason = "to repeat a run that failed")]
fn kill_again_and_again(place: Place) {
    let kills = setting("KDC_BACKUP_KILLS", 16);
    let seed = setting("KDC_BACKUP_SEED", 0x5eed_2026_1124_0001);
    println!("{place:?}: KDC_BACKUP_SEED={seed} KDC_BACKUP_KILLS={kills}");
    let mut dice = Dice(seed);
    let mut killer = Killer::new(place);
    for _ in 1..KEPT {
        let seal = killer.seal();
        killer.complete_run(&seal);
    }
    // How long each takes if it is not killed: the moments are drawn from that.
    let mut lasts = BTreeMap::new();
    for verb in VERBS {
        let words = killer.prepared(verb);
        lasts.insert(verb, killer.complete_run(&words));
    }
    for (round, verb) in (0..kills).zip(VERBS.into_iter().cycle()) {
        let words = killer.prepared(verb);
        let before = killer.complete();
        let pause = dice.below(lasts[&verb]);
        killer.kill(verb, &words, pause);
        let after = killer.verify(&format!("{verb:?} in round {round}"));
        let must_stay: BTreeSet<String> = match verb {
            Verb::Prune => before.iter().rev().take(KEPT).cloned().collect(),
            _ => before,
        };
        assert!(
            must_stay.is_subset(&after),
            "round {round}, {verb:?}: {must_stay:?} {after:?}"
        );
    }
    println!("killed in the middle: {:?} of {kills}", killer.killed);
    assert!(!killer.killed.is_empty(), "some runs were in the middle");
    // A run that goes on may yet commit what looks like an orphan: nothing is proven before they are gone.
    killer.age_orphans();
    killer.complete_run(&killer.prune());
    killer.complete_run(&killer.rewrap());
    let kept = killer.verify("all of it ran to the end");
    assert_eq!(kept.len(), KEPT);
    let folders: BTreeSet<String> = killer.folders().into_iter().map(|(name, _)| name).collect();
    assert_eq!(folders, kept, "prune left nothing of what was killed");
}
