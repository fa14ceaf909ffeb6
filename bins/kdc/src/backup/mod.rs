//! `kdc backup`: encrypted snapshots of etcd, and the bucket that holds them.
//!
//! | module | holds |
//! |---|---|
//! | `bucket`, `keys` | the flags of a store, and of a key |
//! | `destination` | a snapshot into the bucket: `run`, `seal` |
//! | `origin` | a snapshot out of it: `open`, `restore`, `verify` |
//! | `list`, `inventory`, `prune`, `rewrap` | all that is in it, as tables and pages |
//! | `proof` | from what was seen to an exit code |
//! | `scan`, `file` | which keys the rows of a file need |
//! | `recognise` | files that are something else than a snapshot |
//! | `private_file`, `interrupt` | plaintext on disk, and signals that end the program meanwhile |
//! | `failure` | errors of the library, as lines and exit codes |
//!
//! What is done with snapshots is in the library `kdc-envelope-backup`; here are flags, tables and progress.

pub(crate) mod bucket;
mod destination;
mod failure;
mod file;
mod interrupt;
mod inventory;
mod keys;
mod list;
mod open;
mod origin;
mod private_file;
mod proof;
mod prune;
mod recognise;
mod restore;
mod rewrap;
mod run;
mod scan;
mod seal;
mod verify;

pub(crate) use list::check_cluster;

use clap::Subcommand;

use crate::failure::{Exit, Failure};
use crate::output::Output;

/// A bucket is a folder, or one of S3; a cluster's snapshots lie in it as `<cluster>/<id>/`.
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true)]
pub(crate) enum Command {
    Run(Box<run::Run>),
    Seal(Box<seal::Seal>),
    Open(Box<open::Open>),
    Restore(Box<restore::Restore>),
    /// List the snapshots in a bucket, and the keys that they need.
    List(list::List),
    /// Show which key versions the snapshots in a bucket need, and what is wrong with it.
    Inventory(inventory::Inventory),
    Verify(Box<verify::Verify>),
    Rewrap(Box<rewrap::RewrapCommand>),
    /// Delete the snapshots that retention does not keep.
    Prune(prune::Prune),
    /// Count the rows in a snapshot by provider, key id and key version; needs no key and no server.
    Scan(scan::Scan),
}

pub(crate) fn run(command: Command, out: &mut Output) -> Result<Exit, Failure> {
    match command {
        Command::Run(arguments) => run::run(&arguments, out).map(|()| Exit::Ok),
        Command::Seal(arguments) => seal::run(&arguments, out).map(|()| Exit::Ok),
        Command::Open(arguments) => open::run(&arguments, out).map(|()| Exit::Ok),
        Command::Restore(arguments) => restore::run(&arguments, out).map(|()| Exit::Ok),
        Command::List(arguments) => list::run(&arguments, out),
        Command::Inventory(arguments) => inventory::run(&arguments, out),
        Command::Verify(arguments) => verify::run(&arguments, out),
        Command::Rewrap(arguments) => rewrap::run(&arguments, out),
        Command::Prune(arguments) => prune::run(&arguments, out),
        Command::Scan(arguments) => scan::run(&arguments, out),
    }
}
