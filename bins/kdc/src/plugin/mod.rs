//! `kdc plugin`: any KMS v2 plugin, seen from kube-apiserver's side of the socket; and ours, seen with its settings.

mod bench;
mod check;
mod doctor;

use clap::Subcommand;

use crate::failure::{Exit, Failure};
use crate::output::Output;

/// `check` and `bench` call any plugin as kube-apiserver does; `doctor` checks what kms-plugin needs.
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true)]
pub(crate) enum Command {
    /// Check whether a plugin does everything that kube-apiserver expects.
    Check(check::Check),
    /// Check everything between a kube-apiserver and its key in OpenBao, and say what to fix.
    Doctor(Box<doctor::Doctor>),
    /// Measure the throughput and latency of a plugin.
    Bench(bench::Bench),
}

pub(crate) fn run(command: Command, out: &mut Output) -> Result<Exit, Failure> {
    match command {
        Command::Check(arguments) => check::run(&arguments, out),
        Command::Doctor(arguments) => doctor::run(*arguments, out),
        Command::Bench(arguments) => bench::run(&arguments, out),
    }
}
