//! What the process of kms-plugin costs: start, memory, size.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kdc_envelope_kms::client::load::{LoadOptions, Rpc, Stop, run};

use crate::plugin::start_plugin;
use crate::{median, print};

const STARTS: usize = 21;
const CALLS: u64 = 100_000;

pub(crate) async fn measure(kms_plugin: &Path) -> Result<()> {
    let size = fs::metadata(kms_plugin)
        .with_context(|| format!("{}: build it with `cargo xtask dist`", kms_plugin.display()))?
        .len();
    let folder = tempfile::tempdir()?;
    let plugin = start_plugin(kms_plugin, folder.path())?;
    let socket = folder.path().join("kms-plugin");
    await_socket(&socket)?;
    let idle = resident(plugin.pid())?;
    let mut options = LoadOptions::new(Rpc::Mixed, Stop::Calls(CALLS));
    options.concurrency = 32;
    options.seeds = 1000;
    let report = run(&socket.to_string_lossy().parse()?, &options, |_| ()).await?;
    ensure!(
        report.measured.errors.is_empty(),
        "{:?}",
        report.measured.errors
    );
    let loaded = resident(plugin.pid())?;
    drop(plugin);
    let starts = (0..STARTS)
        .map(|_| time_to_listening(kms_plugin, folder.path()))
        .collect::<Result<Vec<_>>>()?;

    print(format_args!("| kms-plugin | |"));
    print(format_args!("|---|---|"));
    print(format_args!("| binary, MiB | {:.1} |", mib(size)));
    print(format_args!(
        "| exec to listening, ms (median of {STARTS}) | {:.1} |",
        median(starts)
    ));
    print(format_args!(
        "| resident when idle, MiB | {:.1} |",
        mib(idle)
    ));
    print(format_args!(
        "| resident after {CALLS} RPCs, MiB | {:.1} |",
        mib(loaded)
    ));
    Ok(())
}

/// Milliseconds from just before exec to the first connection.
fn time_to_listening(kms_plugin: &Path, folder: &Path) -> Result<f64> {
    let socket = folder.join("start");
    let mut command = Command::new(kms_plugin);
    command.arg("--socket").arg(&socket);
    command.arg("--keyring").arg(folder.join("keyring"));
    command.args(["--log-level", "error"]);
    let begin = Instant::now();
    let mut child = Ended(command.spawn()?);
    await_socket(&socket)?;
    let elapsed = begin.elapsed();
    child.0.kill()?;
    child.0.wait()?;
    fs::remove_file(&socket)?;
    Ok(elapsed.as_secs_f64() * 1e3)
}

/// A child that does not outlive an error.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn await_socket(socket: &Path) -> Result<()> {
    let begin = Instant::now();
    while UnixStream::connect(socket).is_err() {
        ensure!(
            begin.elapsed() < Duration::from_secs(10),
            "kms-plugin does not listen"
        );
        // Not a busy loop: the plugin needs the core, too.
        std::thread::sleep(Duration::from_micros(50));
    }
    Ok(())
}

/// For people.
pub(crate) fn mib(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes >> 10).unwrap_or(u32::MAX)) / 1024.0
}

/// Resident memory of a process in bytes.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    Ok(kib.context("no VmRSS in /proc")? << 10)
}
