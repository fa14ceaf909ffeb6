//! Settings of OpenBao by flag, environment variable and file, the same for every program that has them.
//!
//! * [`ConnectionArgs`]: addresses, TLS, namespace and login as they are given; they come to a [`BaoConnection`].
//! * [`TransitArgs`]: the key, and how its versions are followed; they come to [`TransitSettings`]. Of these, [`KeyArgs`] are for programs
//!   that follow no key.
//! * [`FromEnvironment`]: puts environment variables under them, with the prefix of the program.
//! * [`section`]: reads them from a file, under the names of the flags.
//!
//! Flatten them into a clap command. A program that needs no single key takes the connection alone.
//!
//! ```
//! use clap::Parser;
//! use kdc_envelope_bao::settings::{ConnectionArgs, FromEnvironment, VariablePrefix};
//!
//! struct Manager;
//!
//! impl VariablePrefix for Manager {
//!     const PREFIX: &'static str = "MANAGER_";
//! }
//!
//! #[derive(Parser)]
//! struct Cli {
//!     #[command(flatten)]
//!     bao: FromEnvironment<Manager, ConnectionArgs>,
//! }
//!
//! let cli = Cli::parse_from(["manager", "--bao-address", "https://bao.example.com:8200", "--bao-role", "manager"]);
//! let connection = cli.bao.into_inner().resolve().map_err(|mut faults| faults.remove(0))?;
//! assert_eq!(connection.login_method().role(), "manager");
//! # Ok::<(), kdc_envelope_bao::settings::BaoSettingsError>(())
//! ```

mod args;
mod connection;
mod environment;
mod error;
mod login;
mod secrecy;
pub mod section;
mod transit;

pub use args::{AddressGiven, AuthMethod, ConnectionArgs, KeyArgs, RotationArgs, TransitArgs};
pub use connection::BaoConnection;
pub use environment::{FromEnvironment, VariablePrefix};
pub use error::BaoSettingsError;
pub use login::{DEFAULT_JWT_FILE, DEFAULT_KUBERNETES_MOUNT};
pub use transit::TransitSettings;
