//! Plugins over their sockets: in each round every server gets the same load, one after the other.

use std::fmt;
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
    let servers = start_all(kms_plugin, folder.path()).await?;
    print(format_args!(
        "KMS v2 plugins over a Unix socket, load generator on the same cores\n"
    ));
    print(format_args!(
        "| RPC | in flight | kms-plugin, RPC/s | p99, ms | CPU, µs | same server, no-op key, RPC/s | ratio | CPU, µs | Go server, same work, RPC/s | p99, ms | ratio | CPU, µs | ratio of CPU |"
    ));
    print(format_args!(
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    ));
    for rpc in [Rpc::Encrypt, Rpc::Decrypt, Rpc::Status] {
        for in_flight in [1, 32] {
            row(folder.path(), &servers, rpc, in_flight)?;
        }
    }
    print(format_args!(""));
    Ok(())
}

fn row(folder: &Path, servers: &[Process; 3], rpc: Rpc, in_flight: usize) -> Result<()> {
    let mut rates = [const { Vec::new() }; SERVERS.len()];
    let mut tails = [const { Vec::new() }; SERVERS.len()];
    let mut costs = [const { Vec::new() }; SERVERS.len()];
    for _ in 0..ROUNDS {
        for (at, (server, process)) in SERVERS.iter().zip(servers).enumerate() {
            let before = processor_time(process.pid())?;
            let load = load(&socket(folder, server)?, rpc, in_flight, 1)?;
            let used = processor_time(process.pid())?.saturating_sub(before);
            if let (Some(rates), Some(tails), Some(costs)) =
                (rates.get_mut(at), tails.get_mut(at), costs.get_mut(at))
            {
                rates.push(load.rate);
                tails.push(load.p99 * 1e3);
                costs.push(used.as_secs_f64() * 1e6 / (load.rate * load.elapsed));
            }
        }
    }
    let [ours, noop, go] = rates.map(median);
    let [tail, _, go_tail] = tails.map(median);
    let [cost, noop_cost, go_cost] = costs.map(median);
    print(format_args!(
        "| {rpc:?} | {in_flight} | {ours:.0} | {tail:.2} | {cost:.1} | {noop:.0} | {:.2} | {noop_cost:.1} | {go:.0} | {go_tail:.2} | {:.2} | {go_cost:.1} | {:.2} |",
        ours / noop,
        ours / go,
        go_cost / cost
    ));
    Ok(())
}

/// What all threads of a process have used of a processor so far, in user and kernel mode: fields 14 and 15 of proc_pid_stat(5), in ticks
/// of 10 ms (`USER_HZ` is 100 on every Linux platform that this runs on).
fn processor_time(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold spaces; field 3 is the first behind it.
    let (_, fields) = stat.rsplit_once(')').context("no name in /proc/PID/stat")?;
    let ticks = fields.split_whitespace().skip(14 - 3).take(2);
    let ticks = ticks.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// What a load came to; times in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Calls per second.
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) elapsed: f64,
}

impl Load {
    /// Of calls that took so long each; none without a call.
    pub(crate) fn new(mut took: Vec<f64>, elapsed: Duration) -> Option<Self> {
        took.sort_by(f64::total_cmp);
        let calls = u32::try_from(took.len()).ok()?;
        let elapsed = elapsed.as_secs_f64();
        Some(Self {
            rate: f64::from(calls) / elapsed,
            p50: *took.get(took.len() / 2)?,
            p99: *took.get(took.len() * 99 / 100)?,
            elapsed,
        })
    }

    /// Each figure's middle.
    pub(crate) fn median(rounds: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(rounds.iter().map(figure).collect());
        Self {
            rate: of(|load| load.rate),
            p50: of(|load| load.p50),
            p99: of(|load| load.p99),
            elapsed: of(|load| load.elapsed),
        }
    }
}

/// Three cells of a table: rate, and p50 and p99 in milliseconds.
impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, p50, p99, .. } = self;
        write!(f, "{rate:.0} | {:.2} | {:.2}", p50 * 1e3, p99 * 1e3)
    }
}

/// The worst percentiles of all clients. The load comes from two with a connection each, as from two
/// API servers: a single one would be busier than the plugin and hide it.
pub(crate) fn load(
    socket: &SocketAddress,
    rpc: Rpc,
    in_flight: usize,
    seeds: usize,
) -> Result<Load> {
    let clients = if in_flight == 1 { 1 } else { 2 };
    let reports = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|_| scope.spawn(|| client(socket, rpc, in_flight / clients, seeds)))
            .collect();
        let join = |thread: ScopedJoinHandle<'_, _>| {
            thread.join().map_err(|_| anyhow!("a client panicked"))?
        };
        threads.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    let mut total = Load {
        rate: 0.0,
        p50: 0.0,
        p99: 0.0,
        elapsed: 0.0,
    };
    for report in reports {
        ensure!(report.errors.is_empty(), "{socket}: {:?}", report.errors);
        let latency = report.latency_seconds.context("a load of no calls")?;
        total = Load {
            rate: total.rate + report.calls_per_second,
            p50: total.p50.max(latency.p50.as_secs_f64()),
            p99: total.p99.max(latency.p99.as_secs_f64()),
            elapsed: total.elapsed.max(report.elapsed.as_secs_f64()),
        };
    }
    Ok(total)
}

fn client(socket: &SocketAddress, rpc: Rpc, in_flight: usize, seeds: usize) -> Result<Measured> {
    let mut options = LoadOptions::new(rpc, Stop::After(ROUND));
    options.concurrency = in_flight;
    options.seeds = seeds;
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
