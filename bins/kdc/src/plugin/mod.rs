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
    /// Find out whether a plugin does all that kube-apiserver expects of it.
    Check(check::Check),
    /// Look at everything between a kube-apiserver and its key in OpenBao, and say what to fix.
    Doctor(Box<doctor::Doctor>),
    /// Measure how many calls a plugin answers, and how fast.
    Bench(bench::Bench),
}

pub(crate) fn run(command: Command, out: &mut Output) -> Result<Exit, Failure> {
    match command {
        Command::Check(arguments) => check::run(&arguments, out),
        Command::Doctor(arguments) => doctor::run(*arguments, out),
        Command::Bench(arguments) => bench::run(&arguments, out),
    }
}
