//! Changing keys under a running control plane, as one pure planner.
//!
//! Enabling, rotating a key, changing provider or resources, moving rows to a new KEK version, disabling and aborting are
//! one thing here: for each resource, another transformer shall write. [`plan`] takes what is observed and says what to do
//! next. Its caller does that, observes again, and asks again, until the phase is [`Phase::Done`]. It stores no phase, so a
//! caller may crash at any point and go on, or turn around.
//!
//! The steps, each of which needs proof that the one before is complete on every API server:
//!
//! 1. stored: every key is in the keyring, then in the history of every node;
//! 2. readable: the new writer stands second in every file;
//! 3. promoted: a revision is recorded, then the new writer stands first in every file;
//! 4. rewritten, under this revision and under one key id of each KMS provider that writes;
//! 5. verified, likewise;
//! 6. pruned: what no row and no retained backup needs leaves the files, but for the most recent keys.
//!
//! Whatever the files say, each of them reads what rows may be under by the keyring: one that was removed, or that is an
//! earlier version again, gets that back before anything else, and keeps its writer while it does.
//!
//! A server that cannot be asked stops everything after step 1. What a server may load in a moment counts as much as what
//! it has loaded. There must be one caller at a time, and no other program that writes the files.

mod action;
mod blocker;
pub mod change;
mod desired;
pub mod dry_run;
pub mod history;
pub mod key_source;
mod lost;
pub mod metrics;
mod observed;
mod planner;
pub mod request;
mod row_writers;
mod server_view;
mod target;
mod writer;

use core::time::Duration;

pub use action::{Action, Phase, Plan};
pub use blocker::Blocker;
pub use change::Change;
pub use desired::Desired;
pub use lost::lacking;
pub use observed::{
    ApiServer, BackupNeeds, Binding, ConfigHash, Kept, Keyring, KmsKeyId, LoadedConfig, NodeFile,
    Observed, Pass, Retained, Revision, RowWriters, SETTLE, Timestamp,
};
pub use planner::plan;
pub use writer::{UnknownWriter, Writer};

/// How long all API servers must have had one KMS key id before rows are rewritten to it (KEP-3299 says at least 5 minutes).
pub const HOLD: Duration = Duration::from_secs(300);
