//! What the programs of this workspace share, and no library should have.
//!
//! * [`exit`]: exit codes and their table; [`console`]: the last words of a program; [`usage`]: a mistake on the command line, in one line;
//! * `backups` (feature `backups`): what retained snapshots need of an EncryptionConfiguration;
//! * [`plugin`]: the settings of kms-plugin, which `kdc plugin doctor` reads too;
//! * [`config_file`]: a YAML file with settings; [`checks`]: what `validate` prints;
//! * `manager` (feature `manager`): programs that run controllers;
//! * [`logging`], [`notify`], [`signals`], and `telemetry` (feature `otel`): a program that serves, and its surroundings.
#![forbid(unsafe_code)]
#![expect(
    clippy::exhaustive_enums,
    clippy::exhaustive_structs,
    reason = "every user of these types is in this workspace"
)]

#[cfg(feature = "backups")]
pub mod backups;
pub mod checks;
pub mod config_file;
pub mod console;
pub mod exit;
pub mod logging;
#[cfg(feature = "manager")]
pub mod manager;
pub mod notify;
pub mod plugin;
pub mod signals;
#[cfg(feature = "otel")]
pub mod telemetry;
pub mod usage;
