//! Programs that are run to their end while their memory is watched.

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// What a process took, and what it said.
pub(crate) struct Taken {
    pub(crate) seconds: f64,
    pub(crate) resident_mib: f64,
    pub(crate) stdout: String,
}

/// Runs a program to its end. What it prints must fit into a pipe. Pages of files that it maps count as its memory, too.
pub(crate) fn run(command: &mut Command) -> Result<Taken> {
    let begin = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut resident_kib = 0u32;
    let exit = loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let most = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = most.and_then(|most| most.trim().trim_end_matches(" kB").parse().ok());
        resident_kib = resident_kib.max(kib.unwrap_or_default());
        if let Some(exit) = child.try_wait().context("cannot wait")? {
            break exit;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let seconds = begin.elapsed().as_secs_f64();
    ensure!(exit.success(), "{command:?}: {exit}");
    let mut stdout = String::new();
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_string(&mut stdout)?;
    }
    Ok(Taken {
        seconds,
        resident_mib: f64::from(resident_kib) / 1024.0,
        stdout,
    })
}
