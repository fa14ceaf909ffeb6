//! How long to go on, with which choices, and what was seen.

use std::fmt::Write as _;
use std::fs;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kdc_testbed::Random;

/// The variable that says how long each part with random attacks runs, in seconds.
const SECONDS: &str = "KDC_ATTACK_SECONDS";
/// The variable with the seed of the random choices.
const SEED: &str = "KDC_ATTACK_SEED";
/// The variable that names the folder for the tables.
const TABLES: &str = "KDC_ATTACK_TABLES";
const DEFAULT_SECONDS: u64 = 8;

/// One part of the attack: its clock, its choices, its lines in the table.
pub(crate) struct Report {
    part: &'static str,
    begin: Instant,
    lasts: Duration,
    pub(crate) random: Random,
    lines: Vec<[String; 3]>,
}

impl Report {
    pub(crate) fn begin(part: &'static str) -> Self {
        let number = |name| {
            let text = std::env::var(name).ok()?;
            Some(text.parse().unwrap_or_else(|_| panic!("{name}: no number")))
        };
        let seed = number(SEED).unwrap_or_else(|| RandomState::new().build_hasher().finish());
        say(&format!("{part}: {SEED}={seed}"));
        Self {
            part,
            begin: Instant::now(),
            lasts: Duration::from_secs(number(SECONDS).unwrap_or(DEFAULT_SECONDS)),
            random: Random::new(seed),
            lines: Vec::new(),
        }
    }

    /// Whether there is time for another one.
    pub(crate) fn goes_on(&self) -> bool {
        self.begin.elapsed() < self.lasts
    }

    /// Whether the run is longer than the one among the other tests.
    pub(crate) fn is_long(&self) -> bool {
        self.lasts > Duration::from_secs(DEFAULT_SECONDS)
    }

    /// A line of the table: what was done, how often, and what came of it.
    pub(crate) fn line(&mut self, attack: &str, count: usize, outcome: &str) {
        say(&format!("{}: {attack}: {count}, {outcome}", self.part));
        self.lines
            .push([attack.to_owned(), count.to_string(), outcome.to_owned()]);
    }

    /// Writes the lines, if the environment names a folder for them.
    pub(crate) fn write(&self) {
        let Some(folder) = std::env::var_os(TABLES) else {
            return;
        };
        let mut text = String::new();
        for [attack, count, outcome] in &self.lines {
            let _ = writeln!(text, "| {} | {attack} | {count} | {outcome} |", self.part);
        }
        fs::write(PathBuf::from(folder).join(self.part), text).unwrap();
    }
}

/// Progress for a run by hand; cargo shows it with `--nocapture`.
#[expect(clippy::print_stderr, reason = "an attack is watched")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}
