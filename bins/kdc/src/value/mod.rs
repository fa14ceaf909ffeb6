//! `kdc value`: what etcd stores, with and without keys.

mod describe;
mod form;
mod input;
mod inspect;
mod key_usage;
mod keys;
mod open;
mod printed;
mod source;

use clap::Subcommand;

use crate::failure::{Exit, Failure};
use crate::output::Output;

/// A value comes from a file, from standard input, or straight from etcd.
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true)]
pub(crate) enum Command {
    /// Show provider, key id and sizes of a value; needs no key.
    Inspect(inspect::Inspect),
    /// Decrypt a value and write exactly what the API server stored.
    Open(open::Open),
}

pub(crate) fn run(command: Command, out: &mut Output) -> Result<Exit, Failure> {
    match command {
        Command::Inspect(arguments) => inspect::run(&arguments, out),
        Command::Open(arguments) => open::run(&arguments, out),
    }
}
