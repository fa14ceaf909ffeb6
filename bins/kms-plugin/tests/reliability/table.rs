//! What was seen, one line for each fault.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use kdc_testbed::fixtures::{Tallies, Tally};

/// The variable that names the folder for the tables.
const FOLDER: &str = "KDC_RELIABILITY_TABLES";

pub(crate) struct Row {
    pub(crate) fault: &'static str,
    pub(crate) lasts: Duration,
    pub(crate) seen: Tallies,
    pub(crate) recovery: Duration,
}

pub(crate) struct Table {
    /// The file; none for what is not the same in each run.
    name: Option<&'static str>,
    rows: Vec<Row>,
}

impl Table {
    pub(crate) const fn unwritten() -> Self {
        Self {
            name: None,
            rows: Vec::new(),
        }
    }

    pub(crate) const fn new(name: &'static str) -> Self {
        Self {
            name: Some(name),
            rows: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Writes the table, if the environment names a folder for it.
    pub(crate) fn write(&self) {
        let (Some(folder), Some(name)) = (std::env::var_os(FOLDER), self.name) else {
            return;
        };
        let mut text = String::new();
        for row in &self.rows {
            let Row {
                fault,
                lasts,
                seen,
                recovery,
            } = row;
            let _ = writeln!(
                text,
                "| {fault} | {:.0} s | {} | {} | {} | {} | {} | {} | {:.1} s |",
                lasts.as_secs_f64(),
                share(seen.reads),
                share(seen.writes),
                share(seen.known_seeds),
                share(seen.new_seeds),
                share(seen.wraps),
                share(seen.status),
                recovery.as_secs_f64(),
            );
        }
        fs::write(PathBuf::from(folder).join(name), text).unwrap();
    }
}

/// How many of how many failed.
fn share(tally: Tally) -> String {
    let all = tally.ok + tally.failed;
    match (tally.failed, all) {
        (_, 0) => "–".to_owned(),
        (0, _) => "go on".to_owned(),
        (failed, all) if failed == all => "fail".to_owned(),
        (failed, all) => format!("{failed} of {all} fail"),
    }
}
