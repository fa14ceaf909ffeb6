//! What a change of keys leaves on disk: the files of each node, and the state of the cluster's changes.
//!
//! Every file is private and is replaced as a whole, so that a crash leaves the old one or the new one. No key is ever taken
//! out of a file of this module but out of the configuration itself.

mod error;
mod node;
mod state;

pub use error::FilesError;
pub use node::{EarlierVersion, EarlierVersions, NodeFolder, OpenToOthers};
#[cfg(feature = "client")]
pub(crate) use state::NamedRowWriters;
pub use state::{Passes, StateFolder};
