//! Encryption of hosted control planes: from `spec.encryption.etcd` of a KdcCluster to rows that are proven to be encrypted.
//!
//! [`plan()`] says what is to be done next, and is pure; [`HostedReconciler`] observes, does that one step, and writes the status.
//! What concerns the rows, and what may be in a configuration at which moment, is decided by the
//! [planner of changes](crate::rotation::plan), which is the same for every cluster; here is what is around it:
//!
//! 1. what the platform must provide, and what a spec may ask for ([`goal`]); what breaks a rule changes nothing ([`refused`]);
//! 2. KMSKey, ServiceAccount and Secrets of the cluster ([`ClusterNames`](crate::crd::ClusterNames));
//! 3. a configuration that stores rows plain and reads the plugin's, before there is a plugin;
//! 4. the plugin beside every API server, by one update of the control plane ([`attachment`]);
//! 5. the plugin writes, the rows are rewritten, and a second pass proves it. Each of these steps needs the proof that the exact
//!    set of pods ([`pods`]) has loaded the configuration of the step before.
//!
//! Disabling goes the same way back, and the plugins leave last.

mod advance;
pub mod attachment;
pub mod goal;
mod observe;
pub mod plan;
pub mod pods;
mod reconcile;
pub mod refused;
pub mod settings;
mod status;
mod tenant;
mod whole;

pub use goal::{Goal, Platform};
pub use plan::{Observed, Step, plan};
pub use reconcile::HostedReconciler;
pub use refused::ConfigError;
pub use settings::Settings;
