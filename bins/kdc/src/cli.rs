//! The command line as a whole.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};
use kdc_envelope::local::private_process::keep_private;
use kdc_shared::usage;

use crate::failure::{Exit, Failure, exit_codes};
use crate::output::{Output, note, write_failure};
use crate::{backup, encryption, generate, keyring, plugin, quickstart, value};

const EXAMPLES: &str = "\
Examples:
  kdc quickstart
  kdc keyring init /etc/kms-plugin/keyring
  kdc plugin check --socket unix:///run/kms-plugin/kms.sock
  kdc plugin doctor --config /etc/kms-plugin/kms-plugin.yaml
  kdc value inspect --etcd-endpoints https://127.0.0.1:2379 --etcd-cacert ca.crt \\
      --etcd-cert client.crt --etcd-keyfile client.key --etcd-key /registry/secrets/default/demo
  kdc value open --file row.json --format etcdctl-json --keyring /etc/kms-plugin/keyring --decode
  kdc backup scan etcd.db
  kdc encryption plan rotate";

/// Keys, encrypted values in etcd, KMS v2 plugins of Kubernetes, and snapshots of etcd.
#[derive(Debug, Parser)]
#[command(
    name = "kdc",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{}", exit_codes())
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create, rotate and check the keyring file of a local key encryption key.
    #[command(subcommand)]
    Keyring(keyring::Command),
    /// Inspect and decrypt values as etcd stores them.
    #[command(subcommand)]
    Value(value::Command),
    /// Check, benchmark and diagnose any KMS v2 plugin.
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// Manage encrypted snapshots of etcd, in a folder or in S3.
    #[command(subcommand)]
    Backup(backup::Command),
    /// Show which keys a running cluster writes with, change them, and verify the result.
    #[command(subcommand)]
    Encryption(encryption::Command),
    /// Demonstrate the whole path: a key, a plugin, encrypted Secrets, a rotation. Needs no server.
    Quickstart(quickstart::Quickstart),
    /// Print a completion script for a shell.
    Completions(generate::Completions),
    /// Write the manual pages into a folder.
    #[command(hide = true)]
    Man(generate::Man),
}

/// Runs the program with its arguments, the first of which is its own name.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return end_of_parsing(&error),
    };
    if let Err(error) = keep_private() {
        let what = "cannot keep the memory of this process from core dumps and other processes";
        note(&format!("{what}: {error}"));
    }
    let mut out = Output::new();
    let outcome = dispatch(cli.command, &mut out).and_then(|exit| out.flush().map(|()| exit));
    match outcome {
        Ok(exit) => exit_code(exit),
        Err(failure) => report(&failure),
    }
}

fn dispatch(command: Command, out: &mut Output) -> Result<Exit, Failure> {
    match command {
        Command::Keyring(command) => keyring::run(command, out),
        Command::Value(command) => value::run(command, out),
        Command::Plugin(command) => plugin::run(command, out),
        Command::Backup(command) => backup::run(command, out),
        Command::Encryption(command) => encryption::run(command, out),
        Command::Quickstart(arguments) => quickstart::run(&arguments, out),
        Command::Completions(arguments) => generate::completions(&arguments, Cli::command(), out),
        Command::Man(arguments) => generate::man(&arguments, Cli::command()),
    }
}

fn report(failure: &Failure) -> ExitCode {
    if let Some(line) = failure.line() {
        // Nothing is left to do if standard error is closed.
        let _ = writeln!(std::io::stderr(), "kdc: error: {line}");
    }
    exit_code(failure.exit())
}

fn exit_code(exit: Exit) -> ExitCode {
    exit.into()
}

/// Help and version go to standard output; a mistake becomes one line.
fn end_of_parsing(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let printed = error.print().and_then(|()| std::io::stdout().flush());
            printed.map_or_else(
                |error| report(&write_failure(&error)),
                |()| exit_code(Exit::Ok),
            )
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            exit_code(Exit::Usage)
        }
        _ => {
            let line = format!("{}; `--help` shows how", usage::line(error));
            report(&Failure::new(Exit::Usage, line))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
