//! The command line, and what `--help` teaches.

use clap::{Parser, Subcommand};
use kdc_shared::plugin::Options;

use crate::exit;

/// The command line.
#[derive(Debug, Parser)]
#[non_exhaustive]
#[command(
    name = "kms-plugin",
    version,
    about = "Kubernetes KMS v2 plugin: wraps the data keys of kube-apiserver with a key in OpenBao or on this machine",
    long_about = LONG_ABOUT,
    after_long_help = examples_and_codes(),
    after_help = "See `kms-plugin --help` for examples and exit codes.",
    args_conflicts_with_subcommands = true,
)]
pub struct Cli {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve.
    #[command(flatten)]
    pub options: Options,
}

/// What else the program does.
#[derive(Debug, Subcommand)]
#[non_exhaustive]
pub enum Command {
    /// Check settings, keys, credentials, certificates and socket folders without serving or asking OpenBao; exit 0
    /// if all is well, 78 if not.
    Validate(Box<Options>),
    /// Print a completion script for a shell.
    #[command(
        after_help = "Example:\n  kms-plugin completions bash > /etc/bash_completion.d/kms-plugin"
    )]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

const LONG_ABOUT: &str = "\
Kubernetes KMS v2 plugin: wraps the data keys of kube-apiserver with a key in OpenBao or on this machine.

kube-apiserver encrypts Secrets and other resources with data keys, and asks this plugin over a Unix
socket to wrap them. The wrapping key is a Transit key that never leaves OpenBao, or is in a keyring
file; kube-apiserver and etcd never see it.";

const EXAMPLES: &str = "\
Examples:
  A key in OpenBao, with a token from a file:
    kms-plugin --socket /run/kms-plugin/kms.sock --bao-address https://openbao.example.com:8200 \\
        --bao-key etcd --bao-auth token --bao-token-file /etc/kms-plugin/token

  The same in a pod, with its service account and three servers in a namespace:
    kms-plugin --socket /run/kms/plugin/kms.sock --bao-key etcd --bao-role tcp-prod \\
        --bao-address https://bao-0:8200,https://bao-1:8200,https://bao-2:8200 \\
        --bao-ca-file /etc/bao/ca.crt --bao-namespace org

  Make a key on this machine, check everything, serve:
    kdc keyring init /etc/kms-plugin/keyring
    kms-plugin validate --socket /run/kms-plugin/kms.sock --keyring /etc/kms-plugin/keyring
    kms-plugin --socket /run/kms-plugin/kms.sock --keyring /etc/kms-plugin/keyring

  With a configuration file, and JSON logs just this once:
    kms-plugin --config /etc/kms-plugin/kms-plugin.yaml --log-format json

  Several keys need a configuration file; what they have in common is at its top:
    bao-address: https://openbao.example.com:8200
    keys:
      - {name: a, socket: /run/kms-plugin/a.sock, cluster: a, bao-key: a, bao-role: a}
      - {name: b, socket: /run/kms-plugin/b.sock, cluster: b, keyring: /etc/kms-plugin/b}

  For a kube-apiserver that runs under another user, with probes and metrics:
    kms-plugin --socket /run/kms-plugin/kms.sock --socket-group kube-apiserver \\
        --keyring /etc/kms-plugin/keyring --http-address 127.0.0.1:8082

  For kube-apiserver 1.31 and older:
    kms-plugin --socket @kms-plugin --keyring /etc/kms-plugin/keyring

  In the EncryptionConfiguration of kube-apiserver:
    kms: {apiVersion: v2, name: kube-dc-kms-plugin, endpoint: 'unix:///run/kms-plugin/kms.sock'}

Flags that OpenShift gives to a plugin beside its API servers are taken instead, with one dash or two:
  -listen-address -vault-address -vault-key-path -approle-role-id -approle-secret-id-path
  -tls-ca-file -tls-sni -vault-namespace -vault-auth-namespace -metrics-port";

fn examples_and_codes() -> String {
    format!("{EXAMPLES}\n\n{}", exit::table())
}
