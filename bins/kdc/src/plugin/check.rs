//! `kdc plugin check`.

use std::time::Duration;

use kdc_envelope_kms::client::KmsClient;
use kdc_envelope_kms::client::check::{self, CheckOptions, CheckResult, Outcome, Report, Verdict};
use kdc_envelope_kms::server::SocketAddress;

use crate::failure::{Exit, Failure, escaped};
use crate::output::{Format, Output, Tone};
use crate::runtime;

const EXAMPLES: &str = "\
Examples:
  kdc plugin check --socket unix:///run/kms-plugin/kms.sock
  kdc plugin check --socket @kms --output json | jq '.results[] | select(.outcome == \"fail\")'

Exit code 0 if no check fails, 1 if one does.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Check {
    /// The plugin's socket, spelled as in an EncryptionConfiguration, or a path.
    #[arg(long, value_name = "ENDPOINT")]
    socket: SocketAddress,
    /// Time limit for each call; use the `timeout` of your EncryptionConfiguration.
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Pairs of Encrypt and Decrypt made at once, as after a restart of an API server.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    pairs: u16,
    /// Also explain for passed checks what kube-apiserver would do if they failed.
    #[arg(long)]
    explain: bool,
    /// How to show it.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

pub(super) fn run(arguments: &Check, out: &mut Output) -> Result<Exit, Failure> {
    let mut options = CheckOptions::default();
    options.timeout = arguments.timeout;
    options.pairs = arguments.pairs.into();
    let is_text = arguments.output == Format::Text;
    let mut written = Ok(());
    let report = runtime::start()?.block_on(check::run(&arguments.socket, &options, |result| {
        if is_text && written.is_ok() {
            written = show(result, arguments.explain, out);
        }
    }));
    written?;
    match arguments.output {
        Format::Json => out.json(&report)?,
        Format::Text => conclude(&report, out)?,
    }
    Ok(match report.verdict {
        Verdict::Violates => Exit::Negative,
        _ => Exit::Ok,
    })
}

fn show(result: &CheckResult, explain: bool, out: &mut Output) -> Result<(), Failure> {
    let (word, tone) = match result.outcome {
        Outcome::Pass => ("pass", Tone::Good),
        Outcome::Skip => ("skip", Tone::Faint),
        Outcome::Warn => ("warn", Tone::Warning),
        _ => ("FAIL", Tone::Bad),
    };
    let word = out.paint(tone, word);
    let observed = escaped(&result.observed);
    out.line(format_args!(
        "{word}  {:<20}  {observed}",
        result.check.as_str()
    ))?;
    let is_bad = matches!(result.outcome, Outcome::Warn | Outcome::Fail);
    if is_bad {
        out.line(format_args!("{:28}expected: {}", "", result.verifies))?;
    }
    if is_bad || explain {
        out.line(format_args!(
            "{:28}else the API server: {}",
            "", result.on_failure
        ))?;
    }
    // One check may take seconds; a reader in a pipe need not wait for the last.
    out.flush()
}

fn conclude(report: &Report, out: &mut Output) -> Result<(), Failure> {
    let (verdict, tone) = match report.verdict {
        Verdict::Conforms => ("conforms to KMS v2", Tone::Good),
        Verdict::ConformsWithWarnings => ("conforms to KMS v2, with warnings", Tone::Warning),
        _ => ("violates KMS v2", Tone::Bad),
    };
    let verdict = out.paint(tone, verdict);
    let socket = escaped(&report.socket);
    let count = |outcome| report.count(outcome);
    out.line(format_args!(
        "{socket} {verdict}: {} passed, {} warned, {} failed, {} skipped",
        count(Outcome::Pass),
        count(Outcome::Warn),
        count(Outcome::Fail),
        count(Outcome::Skip)
    ))
}

const _: () = assert!(
    KmsClient::DEFAULT_TIMEOUT.as_secs() == 3,
    "the default of --timeout is kube-apiserver's"
);
