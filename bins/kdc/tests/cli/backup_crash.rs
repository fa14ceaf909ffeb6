//! kill -9 at any moment of a seal, a rewrap or a prune: what looks like a snapshot is one, and nothing that retention keeps is lost.
//!
//! `KDC_BACKUP_KILLS` sets how often (default 20), `KDC_BACKUP_SEED` repeats a run.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

use crate::backup_round_trip::{etcd_with_rows, save};
use crate::support::{Scene, runtime};

const BUCKET: [&str; 4] = ["--bucket", "bucket", "--cluster", "prod"];
const KEY: [&str; 2] = ["--keyring", "keyring"];
/// How many snapshots retention keeps.
const KEPT: usize = 3;

/// A generator for choices (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

struct Stand {
    scene: Scene,
    next_id: u32,
    killed: u32,
}

impl Stand {
    fn new() -> Self {
        let (runtime, scene) = (runtime(), Scene::with_keyring());
        let etcd = etcd_with_rows(&runtime, &scene);
        save(&etcd, &scene, "saved.db");
        let mut stand = Self {
            scene,
            next_id: 0,
            killed: 0,
        };
        for _ in 0..KEPT {
            let seal = stand.seal();
            stand.run(&seal);
        }
        stand
    }

    /// The verb that seals the next snapshot. Ids sort as times do.
    fn seal(&mut self) -> Vec<String> {
        self.next_id += 1;
        let id = format!("s{:06}", self.next_id);
        let words = [
            &["backup", "seal", "saved.db", "--snapshot", &id],
            &BUCKET[..],
            &KEY,
        ];
        owned(&words.concat())
    }

    fn run(&self, words: &[String]) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.scene.kdc(&words).succeeds();
    }

    /// Runs the verb, and kills it after `pause` unless it has ended.
    fn kill(&mut self, words: &[String], pause: Duration) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = self.scene.command(&words);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(pause);
        child.kill().unwrap();
        if !child.wait().unwrap().success() {
            self.killed += 1;
        }
    }

    /// Snapshots that look complete.
    fn complete(&self) -> BTreeSet<String> {
        fs::read_dir(self.scene.path("bucket/prod"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().join("metadata.json").exists())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect()
    }

    /// Everything that looks complete opens, to its last byte.
    fn verify(&self, what: &str) -> BTreeSet<String> {
        let complete = self.complete();
        let verify = ["backup", "verify", "--all", "--full", "--output", "json"];
        let run = self.scene.kdc(&[&verify[..], &BUCKET, &KEY].concat());
        assert_eq!(run.code, 0, "after {what}: {}{}", run.text(), run.stderr);
        let verified: BTreeSet<String> = run
            .json()
            .as_array()
            .unwrap()
            .iter()
            .map(|verdict| verdict["snapshot"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(verified, complete, "after {what}");
        complete
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn killed_at_any_moment_nothing_is_lost_and_nothing_half_done_looks_whole() {
    let kills = setting("KDC_BACKUP_KILLS", 20);
    let seed = setting("KDC_BACKUP_SEED", 0x5eed_2026_1124_0001);
    println!("KDC_BACKUP_SEED={seed} KDC_BACKUP_KILLS={kills}");
    let mut dice = Dice(seed);
    let mut stand = Stand::new();
    let rewrap = owned(&[&["backup", "rewrap"], &BUCKET[..], &KEY].concat());
    let keep = KEPT.to_string();
    let prune = owned(
        &[
            &["backup", "prune", "--keep-last", &keep, "--yes"],
            &BUCKET[..],
        ]
        .concat(),
    );
    for round in 0..kills {
        // Seals and rewraps must have something to do, and so must pruning.
        let (what, words) = match round % 3 {
            0 => ("seal", stand.seal()),
            1 => {
                stand.scene.kdc(&["keyring", "add", "keyring"]).succeeds();
                stand
                    .scene
                    .kdc(&["keyring", "promote", "keyring"])
                    .succeeds();
                ("rewrap", rewrap.clone())
            }
            _ => {
                let seal = stand.seal();
                stand.run(&seal);
                ("prune", prune.clone())
            }
        };
        let before = stand.complete();
        let pause = Duration::from_micros(dice.below(60_000));
        stand.kill(&words, pause);
        let after = stand.verify(what);
        let must_stay: BTreeSet<String> = match what {
            "prune" => before.iter().rev().take(KEPT).cloned().collect(),
            _ => before,
        };
        assert!(
            must_stay.is_subset(&after),
            "round {round}, {what}: {must_stay:?} {after:?}"
        );
    }
    println!("killed {} of {kills} runs in the middle", stand.killed);
    assert!(stand.killed > 0, "some runs were in the middle");
    stand.run(&rewrap);
    stand.run(&prune);
    let kept = stand.verify("all of it ran to the end");
    assert_eq!(kept.len(), KEPT);
}
