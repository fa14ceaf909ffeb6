//! Plugins over their sockets: in each round every server gets the same load, one after the other.

use std::path::Path;
use std::process::Command;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use kdc_envelope::local::{Keyring, keyring_file};
use kdc_envelope_kms::client::load::{LoadOptions, Measured, Rpc, Stop, run};
use kdc_envelope_kms::server::SocketAddress;
use kdc_testbed::{Process, oracle};

use crate::{median, print};

const ROUND: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 5;
const SERVERS: [&str; 3] = ["kms-plugin", "noop", "go"];

pub(crate) async fn compare(kms_plugin: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let _servers = start_all(kms_plugin, folder.path()).await?;
    print(format_args!(
        "KMS v2 plugins over a Unix socket, load generator on the same cores\n"
    ));
    print(format_args!(
        "| RPC | in flight | kms-plugin, RPC/s | p99, ms | same server, no-op key | ratio | Go server, same work | p99, ms | ratio |"
    ));
    print(format_args!("|---|---|---|---|---|---|---|---|---|"));
    for rpc in [Rpc::Encrypt, Rpc::Decrypt, Rpc::Status] {
        for in_flight in [1, 32] {
            row(folder.path(), rpc, in_flight)?;
        }
    }
    print(format_args!(""));
    Ok(())
}

fn row(folder: &Path, rpc: Rpc, in_flight: usize) -> Result<()> {
    let mut rates = [const { Vec::new() }; SERVERS.len()];
    let mut tails = [const { Vec::new() }; SERVERS.len()];
    for _ in 0..ROUNDS {
        for (at, server) in SERVERS.iter().enumerate() {
            let (rate, p99) = load(&socket(folder, server)?, rpc, in_flight)?;
            if let (Some(rates), Some(tails)) = (rates.get_mut(at), tails.get_mut(at)) {
                rates.push(rate);
                tails.push(p99 * 1e3);
            }
        }
    }
    let [ours, noop, go] = rates.map(median);
    let [tail, _, go_tail] = tails.map(median);
    print(format_args!(
        "| {rpc:?} | {in_flight} | {ours:.0} | {tail:.2} | {noop:.0} | {:.2} | {go:.0} | {go_tail:.2} | {:.2} |",
        ours / noop,
        ours / go
    ));
    Ok(())
}

/// Calls per second and the worst p99 in seconds. The load comes from two clients with a connection each, as from two
/// API servers: a single one would be busier than the plugin and hide it.
fn load(socket: &SocketAddress, rpc: Rpc, in_flight: usize) -> Result<(f64, f64)> {
    let clients = if in_flight == 1 { 1 } else { 2 };
    let reports = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|_| scope.spawn(|| client(socket, rpc, in_flight / clients)))
            .collect();
        let join = |thread: ScopedJoinHandle<'_, _>| {
            thread.join().map_err(|_| anyhow!("a client panicked"))?
        };
        threads.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    let mut total = (0.0, 0.0f64);
    for report in reports {
        ensure!(report.errors.is_empty(), "{socket}: {:?}", report.errors);
        let latency = report.latency_seconds.context("a load of no calls")?;
        total = (
            total.0 + report.calls_per_second,
            total.1.max(latency.p99.as_secs_f64()),
        );
    }
    Ok(total)
}

fn client(socket: &SocketAddress, rpc: Rpc, in_flight: usize) -> Result<Measured> {
    let mut options = LoadOptions::new(rpc, Stop::After(ROUND));
    options.concurrency = in_flight;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(run(socket, &options, |_| ()))?.measured)
}

fn socket(folder: &Path, server: &str) -> Result<SocketAddress> {
    Ok(folder.join(server).to_string_lossy().parse()?)
}

async fn start_all(kms_plugin: &Path, folder: &Path) -> Result<[Process; 3]> {
    let log = |name: &str| folder.join(format!("{name}.log"));
    let plugin = start_plugin(kms_plugin, folder)?;
    let mut command = Command::new(std::env::current_exe()?.with_file_name("noop-plugin"));
    command.arg(folder.join("noop"));
    let noop = Process::start("noop-plugin", &command, &log("noop"))?;
    let go = oracle::serve(&folder.join("go"), false, &log("go")).await?;
    Ok([plugin, noop, go])
}

/// `kms-plugin` on a fresh keyring; its socket is named after it.
pub(crate) fn start_plugin(kms_plugin: &Path, folder: &Path) -> Result<Process> {
    let keyring = folder.join("keyring");
    if !keyring.exists() {
        keyring_file::create(&keyring, &Keyring::generate(1)?)?;
    }
    let mut command = Command::new(kms_plugin);
    command.arg("--socket").arg(folder.join("kms-plugin"));
    command.arg("--keyring").arg(keyring);
    Ok(Process::start(
        "kms-plugin",
        &command,
        &folder.join("kms-plugin.log"),
    )?)
}
