//! `kdc plugin`: any KMS v2 plugin, seen from kube-apiserver's side of the socket.

mod bench;
mod check;

use clap::Subcommand;

use crate::failure::{Exit, Failure};
use crate::output::Output;

/// The plugin may be anybody's: it is only called, as kube-apiserver calls it.
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true)]
pub(crate) enum Command {
    /// Find out whether a plugin does all that kube-apiserver expects of it.
    Check(check::Check),
    /// Measure how many calls a plugin answers, and how fast.
    Bench(bench::Bench),
}

pub(crate) fn run(command: Command, out: &mut Output) -> Result<Exit, Failure> {
    match command {
        Command::Check(arguments) => check::run(&arguments, out),
        Command::Bench(arguments) => bench::run(&arguments, out),
    }
}
