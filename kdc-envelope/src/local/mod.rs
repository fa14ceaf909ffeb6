//! A key encryption key made of secrets on this machine: the embedded default.
//!
//! A [`Keyring`] holds versions. A version is *added* (readable), later *promoted* (it wraps), in the end
//! *retired* (its key is gone, its number never comes back). Between adding and promoting lies the time to
//! bring every replica along, so that no one writes what another cannot read.
//!
//! [`keyring_file`] keeps a keyring on disk, by way of [`private_file`], [`root_secret`] reads a single bare secret, and [`LocalKek`] wraps and
//! unwraps with either. [`private_process`] keeps the keys of a program out of core dumps.

mod kek;
mod keyring;
pub mod keyring_file;
mod keyring_text;
mod nonce;
pub mod private_file;
pub mod private_process;
pub mod root_secret;
mod schedule;
mod self_test;
mod wrapped;

pub use kek::{LocalKek, MAX_WRAPS_PER_KEY, ReplaceError};
pub use keyring::{EditError, Keyring, MAX_LIVING_VERSIONS, Version, VersionState};
pub use keyring_text::ParseKeyringError;
