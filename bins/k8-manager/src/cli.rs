//! The command line, and what `--help` teaches.

use clap::{Parser, Subcommand};
use kdc_shared::exit::{self, Exit};

use crate::settings::Options;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "k8-manager",
    version,
    about = "Controller of encryption at rest for hosted control planes",
    long_about = LONG_ABOUT,
    after_long_help = examples_and_codes(),
    after_help = "See `k8-manager --help` for examples and exit codes.",
    args_conflicts_with_subcommands = true,
)]
pub(crate) struct Cli {
    /// What to do instead of running.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// How to run.
    #[command(flatten)]
    pub(crate) options: Options,
}

/// What else the program does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check settings and files without running; exit 0 if all is well.
    Validate(Box<Options>),
    /// Print the CustomResourceDefinitions, as YAML.
    Crd,
    /// Print the rights that the program needs, as YAML.
    Rbac,
    /// Print a completion script for a shell.
    #[command(
        after_help = "Example:\n  k8-manager completions bash > /etc/bash_completion.d/k8-manager"
    )]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

const LONG_ABOUT: &str = "\
Controller of encryption at rest for hosted control planes.

A KdcCluster with spec.encryption.etcd.enabled: true gets a KMSKey, a ServiceAccount and a
plugin beside each of its API servers. Then its rows are rewritten, and a second pass proves
that every one of them is encrypted. Run one replica or several: one of them holds the Lease and
works.";

const EXAMPLES: &str = "\
Examples:
  In a pod, as the platform runs it:
    KMS_PLUGIN_IMAGE=registry.example.com/kms-plugin:0.1.0 OPENBAO_URL=https://openbao.openbao.svc:8200 \\
        POD_NAME=k8-manager-0 k8-manager --openbao-ca-file /etc/openbao/ca.crt --http-address 0.0.0.0:8080

  Check a configuration file:
    k8-manager validate --config /etc/k8-manager/config.yaml

  Install what it needs:
    k8-manager crd | kubectl apply -f -
    k8-manager rbac | kubectl apply -f -";

const MEANINGS: [(Exit, &str); 8] = [
    (
        Exit::Ok,
        "stopped by SIGTERM, SIGINT or SIGQUIT, or the check passed",
    ),
    (
        Exit::Usage,
        "wrong usage: unknown flag, missing or malformed value",
    ),
    (Exit::NoInput, "a file that must be read does not exist"),
    (Exit::Unavailable, "the management cluster cannot be used"),
    (Exit::CannotCreate, "the HTTP address cannot be taken"),
    (Exit::Io, "reading or writing failed"),
    (Exit::Denied, "permission denied"),
    (Exit::Config, "wrong configuration"),
];

fn examples_and_codes() -> String {
    format!("{EXAMPLES}\n\n{}", exit::table(&MEANINGS))
}
