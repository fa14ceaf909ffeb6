//! `kdc backup`: encrypted snapshots of etcd, and the bucket that holds them.

#[expect(dead_code, reason = "what writes and opens snapshots uses the rest")]
pub(crate) mod bucket;
mod file;
mod inventory;
mod list;
mod pass;
mod prune;
mod scan;
mod state;

use clap::Subcommand;

use crate::failure::{Exit, Failure};
use crate::output::Output;

/// A bucket is a folder, or one of S3; a cluster's snapshots lie in it as `<cluster>/<id>/`.
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true)]
pub(crate) enum Command {
    /// List the snapshots in a bucket, and the keys that they need.
    List(list::List),
    /// Tell which versions of which keys the snapshots in a bucket need, and what is wrong in it.
    Inventory(inventory::Inventory),
    /// Delete the snapshots that retention does not keep.
    Prune(prune::Prune),
    /// Count the rows in a snapshot by provider, key id and key version; needs no key and no server.
    Scan(scan::Scan),
}

pub(crate) fn run(command: Command, out: &mut Output) -> Result<Exit, Failure> {
    match command {
        Command::List(arguments) => list::run(&arguments, out),
        Command::Inventory(arguments) => inventory::run(&arguments, out),
        Command::Prune(arguments) => prune::run(&arguments, out),
        Command::Scan(arguments) => scan::run(&arguments, out),
    }
}
