//! `kdc encryption`: which keys a cluster writes with, proof of it, and every change of them under a running control plane.
//!
//! | module | holds |
//! |---|---|
//! | `flags` | where the cluster, its nodes and the state of changes are |
//! | `change` | `enable`, `rotate`, `disable`, `abort`, `resume` |
//! | `request` | what is asked for, as a change |
//! | `phase` | how phases are printed |
//! | `backups` | which keys the snapshots in a bucket need |
//! | `drive` | carrying a change out, with progress |
//! | `plan` | what a change would do |
//! | `lacking` | what configuration files lack of what rows need |
//! | `status` | what is loaded where, and what rows there are |
//! | `rewrite` | a pass over the rows of any cluster |
//! | `verify`, `rows`, `prefix` | whether every row is on the newest key |
//! | `refusal` | errors of the library |

mod backups;
mod change;
mod drive;
mod flags;
mod lacking;
mod pass_bar;
mod phase;
mod plan;
mod refusal;
mod request;
mod rewrite;
mod rows;
mod status;
mod verify;

use clap::Subcommand;

use crate::failure::{Exit, Failure};
use crate::output::Output;

/// Every change goes by the same steps, and each step waits for proof that the one before it is complete on every API
/// server: keys are kept safe, readable everywhere, first everywhere, rows rewritten, verified, old keys pruned. A run may
/// end at any point; `resume` goes on from what it finds.
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true)]
pub(crate) enum Command {
    Status(status::Status),
    Plan(plan::PlanCommand),
    Enable(change::Enable),
    Rotate(change::Rotate),
    Disable(change::Disable),
    Abort(change::Abort),
    Resume(change::Resume),
    Rewrite(rewrite::Rewrite),
    Verify(verify::Verify),
}

pub(crate) fn run(command: Command, out: &mut Output) -> Result<Exit, Failure> {
    match command {
        Command::Status(arguments) => status::run(&arguments, out),
        Command::Plan(arguments) => plan::run(&arguments, out),
        Command::Enable(arguments) => change::enable(&arguments, out),
        Command::Rotate(arguments) => change::rotate(&arguments, out),
        Command::Disable(arguments) => change::disable(&arguments, out),
        Command::Abort(arguments) => change::abort(&arguments, out),
        Command::Resume(arguments) => change::resume(&arguments, out),
        Command::Rewrite(arguments) => rewrite::run(&arguments, out),
        Command::Verify(arguments) => verify::run(&arguments, out),
    }
}
