//! The settings of a key in OpenBao, for every program that reaches it as the plugin does.
//!
//! * [`BaoGiven`]: the flags, environment variables and names in the file; flatten it into a clap command.
//! * [`BaoSettings`]: what they come to, checked; gives the parts of `kdc-envelope-bao`.

mod given;
mod login;
mod secrecy;
mod settings;

pub use given::{AddressGiven, AuthMethod, BaoGiven};
pub use login::{DEFAULT_JWT_FILE, DEFAULT_KUBERNETES_MOUNT};
pub use settings::{BaoSettings, BaoSettingsError};
