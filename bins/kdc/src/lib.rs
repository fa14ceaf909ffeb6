//! The command line of kdc-envelope: keyrings, values in etcd, KMS v2 plugins, and snapshots of etcd.
//!
//! | module | holds |
//! |---|---|
//! | [`run`] | the whole program: arguments in, exit code out |
//! | `keyring` | `kdc keyring`: make, rotate, list and verify keyring files |
//! | `value` | `kdc value`: look into rows of etcd, and open them |
//! | `backup` | `kdc backup`: encrypted snapshots of etcd in a folder or in S3 |
//! | `plugin` | `kdc plugin`: check and measure a KMS v2 plugin, and find out what ours lacks |
//! | `encryption` | `kdc encryption`: change keys under a running control plane, and prove it |
//! | `quickstart` | `kdc quickstart`: the whole path at once |
//! | `etcd` | the one call of etcd that is needed, and its flags |
//! | `rows` | counted rows, as they are shown |
//! | `failure`, `output`, `progress` | one line or a bar on stderr, results on stdout |
//! | `page` | reports for the browser |
//! | `file_kind` | what a file is by its first bytes |
//!
//! The program is a library with a `main` of one line.

#![forbid(unsafe_code)]

mod backup;
mod cli;
mod clock;
mod encryption;
mod etcd;
mod failure;
mod file_kind;
mod generate;
mod hexdump;
mod keyring;
mod output;
mod page;
mod plugin;
mod progress;
mod quickstart;
mod rows;
mod runtime;
mod value;

pub use cli::run;
