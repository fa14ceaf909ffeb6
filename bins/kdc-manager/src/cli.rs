//! The command line, and what `--help` teaches.

use clap::{Args, Parser, Subcommand};
use kdc_envelope_bao::settings::VariablePrefix;
use kdc_shared::manager::ManagerOptions;

use crate::failure;
use crate::settings::Given;

/// The program whose environment variables these are.
#[derive(Debug)]
#[non_exhaustive]
pub struct KdcManager;

impl VariablePrefix for KdcManager {
    const PREFIX: &'static str = "KDC_MANAGER_";
}

/// All settings.
pub type ServeOptions = ManagerOptions<KdcManager, Given>;

/// The command line.
#[derive(Debug, Parser)]
#[non_exhaustive]
#[command(
    name = "kdc-manager",
    version,
    about = "Makes and rotates keys in OpenBao as KMSKeys say, and lets the plugins of clusters use them",
    long_about = LONG_ABOUT,
    after_long_help = failure::table(),
    after_help = "See `kdc-manager --help` for exit codes.",
    args_conflicts_with_subcommands = true,
)]
pub struct Cli {
    /// What to do instead of running.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to run.
    #[command(flatten)]
    pub options: Box<ServeOptions>,
}

/// What else the program does.
#[derive(Debug, Subcommand)]
#[non_exhaustive]
pub enum Command {
    /// Check settings, credentials and certificates without asking the cluster or OpenBao; exit 0 if all is well.
    Validate(Box<ServeOptions>),
    /// Print the CustomResourceDefinition of KMSKeys.
    Crd,
    /// Print the rights in the cluster that the program needs, and their bindings.
    Rbac(Place),
    /// Print a completion script for a shell.
    #[command(
        after_help = "Example:\n  kdc-manager completions bash > /etc/bash_completion.d/kdc-manager"
    )]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Where the program runs, for its rights.
#[derive(Debug, Clone, Args)]
#[non_exhaustive]
pub struct Place {
    /// Namespace of the Lease and of the service account.
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-dc")]
    pub namespace: String,
    /// Service account of the program.
    #[arg(long, value_name = "NAME", default_value = "kdc-manager")]
    pub service_account: String,
}

const LONG_ABOUT: &str = "\
Makes and rotates keys in OpenBao as KMSKeys say, and lets the plugins of clusters use them.

Each KMSKey becomes a Transit key in the OpenBao namespace of its organization. It rotates at
the interval that the KMSKey gives, by one process at a time. Each KdcCluster with encryption
gets a policy and a role `tcp-CLUSTER`, which are set right whenever they drift. Several
replicas share a Lease; one of them works.

--bao-namespace is the namespace above those of the organizations; without it they are at the
root.";
