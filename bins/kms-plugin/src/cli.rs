//! Flags, their environment variables, and what `--help` teaches.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use kdc_envelope_kms::server::{SocketAddress, SocketMode};
use serde::Deserialize;
use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::failure::EXIT_CODES;

/// The command line.
#[derive(Debug, Parser)]
#[non_exhaustive]
#[command(
    name = "kms-plugin",
    version,
    about = "Kubernetes KMS v2 plugin: wraps the data keys of kube-apiserver with a key on this machine",
    long_about = LONG_ABOUT,
    after_long_help = concat_help(),
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
    /// Check settings, key file and socket folder without serving; exit 0 if all is well, 78 if not.
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

/// Settings, and the file that may hold more of them.
#[derive(Debug, Default, Args)]
#[non_exhaustive]
pub struct Options {
    /// YAML file with any of these settings, under the same names without dashes in front;
    /// environment variables override it, flags override both.
    #[arg(long, value_name = "FILE", env = "KMS_PLUGIN_CONFIG")]
    pub config: Option<PathBuf>,
    /// Settings given by flag or environment variable.
    #[command(flatten)]
    pub given: Given,
}

/// Every setting, given or not. Flags, environment and file share this type, so they cannot differ.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Given {
    /// Where to listen: PATH, unix:///PATH, or @NAME for an abstract socket.
    ///
    /// kube-apiserver up to 1.31 can only talk to an abstract socket (`unix:///@NAME` in its configuration);
    /// since 1.32 take a path. The folder must exist and must not be writable by everybody.
    #[arg(long, value_name = "ADDRESS", env = "KMS_PLUGIN_SOCKET", help_heading = SOCKET)]
    #[serde(deserialize_with = "parsed")]
    pub socket: Option<SocketAddress>,

    /// Keyring file, as `kdc keyring init` makes it; read again whenever it changes.
    #[arg(long, value_name = "FILE", env = "KMS_PLUGIN_KEYRING", conflicts_with = "root_secret", help_heading = KEY)]
    pub keyring: Option<PathBuf>,

    /// File with exactly 32 random bytes instead of a keyring; such a key cannot rotate.
    #[arg(long, value_name = "FILE", env = "KMS_PLUGIN_ROOT_SECRET", help_heading = KEY)]
    pub root_secret: Option<PathBuf>,

    /// Binds what is wrapped to this cluster: the same key under another name does not open it.
    /// Never change it while encrypted objects exist.
    #[arg(long, value_name = "NAME", env = "KMS_PLUGIN_CLUSTER", help_heading = KEY)]
    pub cluster: Option<String>,

    /// Permissions of the socket [default: 0600, with --socket-group 0660]
    #[arg(long, value_name = "OCTAL", env = "KMS_PLUGIN_SOCKET_MODE", value_parser = socket_mode, help_heading = SOCKET)]
    #[serde(deserialize_with = "parsed_mode")]
    pub socket_mode: Option<SocketMode>,

    /// Group that may use the socket, by name or number.
    #[arg(long, value_name = "GROUP", env = "KMS_PLUGIN_SOCKET_GROUP", help_heading = SOCKET)]
    pub socket_group: Option<String>,

    /// Serve only these user ids [default: whoever may open the socket; own uid and 0 if it is abstract]
    #[arg(long, value_name = "UID", env = "KMS_PLUGIN_ALLOW_UID", value_delimiter = ',', help_heading = SOCKET)]
    pub allow_uid: Option<Vec<u32>>,

    /// Serve /livez, /readyz and /metrics on this address, for example 127.0.0.1:8082 [default: none]
    #[arg(long, value_name = "IP:PORT", env = "KMS_PLUGIN_HTTP_ADDRESS", help_heading = OBSERVE)]
    pub http_address: Option<SocketAddr>,

    /// Form of the log on stderr [default: text]
    #[arg(long, value_name = "FORMAT", env = "KMS_PLUGIN_LOG_FORMAT", help_heading = OBSERVE)]
    pub log_format: Option<LogFormat>,

    /// off, error, warn, info, debug or trace, also by module: info,h2=debug [default: info]
    #[arg(long, value_name = "LEVEL", env = "KMS_PLUGIN_LOG_LEVEL", value_parser = log_level, help_heading = OBSERVE)]
    #[serde(deserialize_with = "parsed_level")]
    pub log_level: Option<Targets>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LogFormat {
    /// For people; with colours on a terminal.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

fn socket_mode(given: &str) -> Result<SocketMode, String> {
    let mode = u32::from_str_radix(given, 8)
        .map_err(|_| format!("`{given}` is not an octal number such as 0660"))?;
    SocketMode::new(mode).map_err(|error| error.to_string())
}

fn log_level(given: &str) -> Result<Targets, String> {
    // The parser takes a bare word that is no level for the name of a module, and nothing for a level.
    let is_level_or_pair = |part: &str| {
        let part = part.trim();
        !part.is_empty() && (part.contains('=') || part.parse::<LevelFilter>().is_ok())
    };
    given
        .split(',')
        .all(is_level_or_pair)
        .then(|| given.parse().ok())
        .flatten()
        .ok_or_else(|| {
            format!("`{given}` is not off, error, warn, info, debug, trace or a list such as info,h2=debug")
        })
}

/// Reads a setting of the file through the parser that its flag has.
fn from_text<'de, D, T>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    parse(&text).map(Some).map_err(serde::de::Error::custom)
}

fn parsed<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<SocketAddress>, D::Error> {
    from_text(d, |text| {
        SocketAddress::from_str(text).map_err(|error| error.to_string())
    })
}

fn parsed_mode<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<SocketMode>, D::Error> {
    from_text(d, socket_mode)
}

fn parsed_level<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Targets>, D::Error> {
    from_text(d, log_level)
}

const SOCKET: &str = "Socket";
const KEY: &str = "Key";
const OBSERVE: &str = "Observation";

const LONG_ABOUT: &str = "\
Kubernetes KMS v2 plugin: wraps the data keys of kube-apiserver with a key on this machine.

kube-apiserver encrypts Secrets and other resources with data keys, and asks this plugin over a Unix
socket to wrap them. The wrapping key is in a keyring file that kube-apiserver and etcd never see.";

const EXAMPLES: &str = "\
Examples:
  Make a key, check everything, serve:
    kdc keyring init /etc/kms-plugin/keyring
    kms-plugin validate --socket /run/kms-plugin/kms.sock --keyring /etc/kms-plugin/keyring
    kms-plugin --socket /run/kms-plugin/kms.sock --keyring /etc/kms-plugin/keyring

  With a configuration file, and JSON logs just this once:
    kms-plugin --config /etc/kms-plugin/kms-plugin.yaml --log-format json

  For a kube-apiserver that runs under another user, with probes and metrics:
    kms-plugin --socket /run/kms-plugin/kms.sock --socket-group kube-apiserver \\
        --keyring /etc/kms-plugin/keyring --http-address 127.0.0.1:8082

  For kube-apiserver 1.31 and older:
    kms-plugin --socket @kms-plugin --keyring /etc/kms-plugin/keyring

  In the EncryptionConfiguration of kube-apiserver:
    kms: {apiVersion: v2, name: kube-dc-kms-plugin, endpoint: 'unix:///run/kms-plugin/kms.sock'}";

fn concat_help() -> String {
    format!("{EXAMPLES}\n\n{EXIT_CODES}")
}
