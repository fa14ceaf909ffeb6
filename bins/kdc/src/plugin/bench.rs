//! `kdc plugin bench`.

use std::time::Duration;

use clap::ValueEnum;
use kdc_envelope_kms::client::load::{
    self, ColdStartOptions, LoadError, LoadOptions, Measured, Progress, Rpc, Stop, WrappedSeeds,
};
use kdc_envelope_kms::server::SocketAddress;

use crate::failure::{Exit, Failure, escaped};
use crate::output::{Format, Output, Tone};
use crate::{progress, runtime};

const EXAMPLES: &str = "\
Examples:
  kdc plugin bench --socket unix:///run/kms-plugin/kms.sock --rpc decrypt \\
      --concurrency 32 --duration 30s
  # 1000 wrapped seeds, each asked for 4 times at once, as after a restart of an API server
  kdc plugin bench --socket unix:///run/kms-plugin/kms.sock --cold-start \\
      --seeds 1000 --duplicates 4

Latencies are those of good answers. Exit code 1 if any call failed.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Bench {
    /// The plugin's socket, spelled as in an EncryptionConfiguration, or a path.
    #[arg(long, value_name = "ENDPOINT")]
    socket: SocketAddress,
    /// What to call.
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "RPC",
        conflicts_with = "cold_start"
    )]
    rpc: Calls,
    /// How long.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration,
        conflicts_with_all = ["cold_start", "calls"])]
    duration: Duration,
    /// Stop after this number of calls instead.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "cold_start")]
    calls: Option<u64>,
    /// Calls in flight.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// Connections that share them; kube-apiserver has one.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Distinct wrapped seeds for Decrypt to ask for.
    #[arg(long, value_name = "K", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    seeds: u32,
    /// Ask for every seed several times at once, as kube-apiserver does after a restart.
    #[arg(long)]
    cold_start: bool,
    /// How often each seed is asked for then.
    #[arg(long, value_name = "D", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..), requires = "cold_start")]
    duplicates: u16,
    /// How long each call may take.
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// How to show it.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Calls {
    /// Status only.
    Status,
    /// Encrypt only.
    Encrypt,
    /// Decrypt only.
    Decrypt,
    /// The three in turn.
    #[default]
    Mixed,
}

impl From<Calls> for Rpc {
    fn from(calls: Calls) -> Self {
        match calls {
            Calls::Status => Self::Status,
            Calls::Encrypt => Self::Encrypt,
            Calls::Decrypt => Self::Decrypt,
            Calls::Mixed => Self::Mixed,
        }
    }
}

pub(super) fn run(arguments: &Bench, out: &mut Output) -> Result<Exit, Failure> {
    if arguments.cold_start {
        cold_start(arguments, out)
    } else {
        steady(arguments, out)
    }
}

fn steady(arguments: &Bench, out: &mut Output) -> Result<Exit, Failure> {
    let stop = arguments
        .calls
        .map_or(Stop::After(arguments.duration), Stop::Calls);
    let mut options = LoadOptions::new(arguments.rpc.into(), stop);
    options.concurrency = arguments.concurrency.into();
    options.connections = arguments.connections.into();
    options.seeds = seeds(arguments);
    options.timeout = arguments.timeout;
    let bar = match stop {
        Stop::Calls(calls) => progress::count(calls, "calls"),
        _ => progress::count(
            arguments
                .duration
                .as_millis()
                .try_into()
                .unwrap_or(u64::MAX),
            "ms",
        ),
    };
    let on_progress = |progress: Progress| match stop {
        Stop::Calls(_) => bar.set_position(progress.calls),
        _ => bar.set_position(progress.elapsed.as_millis().try_into().unwrap_or(u64::MAX)),
    };
    let measuring = load::run(&arguments.socket, &options, on_progress);
    let report = runtime::start_parallel()?.block_on(measuring);
    bar.finish_and_clear();
    let report = report.map_err(|error| failure(&error))?;
    match arguments.output {
        Format::Json => out.json(&report)?,
        Format::Text => {
            let calls = arguments.rpc.to_possible_value();
            let calls = calls.as_ref().map_or("", |value| value.get_name());
            out.line(format_args!(
                "{calls}, {} in flight over {} connection(s)",
                report.concurrency, report.connections
            ))?;
            show(&report.measured, out)?;
        }
    }
    Ok(exit_of(&report.measured))
}

fn cold_start(arguments: &Bench, out: &mut Output) -> Result<Exit, Failure> {
    let mut options = ColdStartOptions::default();
    options.duplicates = arguments.duplicates.into();
    options.concurrency = arguments.concurrency.into();
    options.connections = arguments.connections.into();
    options.timeout = arguments.timeout;
    let count = seeds(arguments);
    let bar = progress::count(
        u64::from(arguments.seeds) * u64::from(arguments.duplicates),
        "calls",
    );
    let measuring = async {
        let seeds = WrappedSeeds::prepare(&arguments.socket, count, arguments.timeout).await?;
        let on_progress = |progress: Progress| bar.set_position(progress.calls);
        load::cold_start(&arguments.socket, seeds, &options, on_progress).await
    };
    let report = runtime::start_parallel()?.block_on(measuring);
    bar.finish_and_clear();
    let report = report.map_err(|error| failure(&error))?;
    match arguments.output {
        Format::Json => out.json(&report)?,
        Format::Text => {
            out.line(format_args!(
                "decrypt of {} seeds, {} times each, {} in flight over {} connection(s)",
                report.seeds, report.duplicates, report.concurrency, report.connections
            ))?;
            show(&report.measured, out)?;
        }
    }
    Ok(exit_of(&report.measured))
}

fn seeds(arguments: &Bench) -> usize {
    usize::try_from(arguments.seeds).unwrap_or(usize::MAX)
}

fn show(measured: &Measured, out: &mut Output) -> Result<(), Failure> {
    let rate = out.paint(
        Tone::Strong,
        &format!("{:.0} calls/s", measured.calls_per_second),
    );
    out.line(format_args!(
        "{rate}: {} good answers in {:.3} s",
        measured.calls,
        measured.elapsed.as_secs_f64()
    ))?;
    if let Some(latency) = &measured.latency_seconds {
        let columns = [
            ("p50", latency.p50),
            ("p90", latency.p90),
            ("p99", latency.p99),
            ("p99.9", latency.p999),
            ("max", latency.max),
        ];
        let headings = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let cells = columns
            .iter()
            .map(|(_, time)| milliseconds(*time))
            .collect();
        out.table(&[headings, cells], |_| None)?;
    }
    for (code, count) in &measured.errors {
        let word = out.paint(Tone::Bad, "failed");
        out.line(format_args!("{word}: {count} calls with {}", escaped(code)))?;
    }
    Ok(())
}

fn milliseconds(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

fn exit_of(measured: &Measured) -> Exit {
    if measured.errors.is_empty() {
        Exit::Ok
    } else {
        Exit::Negative
    }
}

fn failure(error: &LoadError) -> Failure {
    let exit = match error {
        LoadError::Zero(_) => Exit::Usage,
        LoadError::Prepare(_) => Exit::Unavailable,
        _ => Exit::Io,
    };
    Failure::at(exit, "--socket", error)
}
