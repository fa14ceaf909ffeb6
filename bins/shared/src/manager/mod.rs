//! What the managers share: programs that run controllers under a Lease.
//!
//! A manager has settings of its own beside [these](ManagerArgs), and says what its controllers are; [`run`] does the rest: logs, probes,
//! metrics, the Lease, and a stop in good order.

mod run;
mod settings;

pub use run::{ManagerError, Program, Setup, Work, run};
pub use settings::{
    ConfigArgs, ManagerArgs, ManagerOptions, ManagerSettings, ManagerSettingsError,
};
