//! The settings as flags, under their environment variables and under their names in the file.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kdc_envelope_bao::settings::section::{
    MapAccess, duration, parsed, path, plain, section, through, time,
};
use kdc_envelope_bao::settings::{ConnectionArgs, FromEnvironment, TransitArgs, VariablePrefix};
use kdc_envelope_kms::server::{SocketAddress, SocketMode};
use tracing_subscriber::filter::Targets;

use crate::logging::{LogFormat, log_level};
#[cfg(feature = "otel")]
use crate::telemetry::OtelEndpoint;

/// Settings, and the file that may hold more of them.
#[derive(Debug, Default, Args)]
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
#[derive(Debug, Default, Args)]
pub struct Given {
    /// The key; if there are several, what they have in common.
    #[command(flatten)]
    pub key: KeyGiven,

    /// Serve /livez, /readyz and /metrics on this address, for example 127.0.0.1:8082 [default: none]
    #[arg(long, value_name = "IP:PORT", env = "KMS_PLUGIN_HTTP_ADDRESS", help_heading = OBSERVE)]
    pub http_address: Option<SocketAddr>,

    /// Form of the log on stderr [default: text]
    #[arg(long, value_name = "FORMAT", env = "KMS_PLUGIN_LOG_FORMAT", help_heading = OBSERVE)]
    pub log_format: Option<LogFormat>,

    /// off, error, warn, info, debug or trace, also by module: info,h2=debug [default: info]
    #[arg(long, value_name = "LEVEL", env = "KMS_PLUGIN_LOG_LEVEL", value_parser = log_level, help_heading = OBSERVE)]
    pub log_level: Option<Targets>,

    /// Send OpenTelemetry spans to this collector, over HTTP, such as `http://127.0.0.1:4318` [default: none]
    #[cfg(feature = "otel")]
    #[arg(long, value_name = "URL", env = "KMS_PLUGIN_OTEL_ENDPOINT", hide_env_values = true, help_heading = OBSERVE)]
    pub otel_endpoint: Option<OtelEndpoint>,

    /// Several keys, each on its own socket; in the file only.
    #[arg(skip)]
    pub keys: Option<Vec<NamedKey>>,
}

/// One of several keys: what is not given here is as at the top of the file.
#[derive(Debug)]
pub struct NamedKey {
    /// Its name in logs, metrics and probes.
    pub name: String,
    /// Its settings.
    pub key: KeyGiven,
}

/// The program whose environment variables these are.
#[derive(Debug)]
pub struct KmsPlugin;

impl VariablePrefix for KmsPlugin {
    const PREFIX: &'static str = "KMS_PLUGIN_";
}

/// The settings of a key and its socket, given or not.
#[derive(Debug, Default, Clone, Args)]
pub struct KeyGiven {
    /// The socket.
    #[command(flatten)]
    pub socket: SocketGiven,
    /// A key in a file.
    #[command(flatten)]
    pub file: FileGiven,
    /// How OpenBao is reached.
    #[command(flatten)]
    pub connection: FromEnvironment<KmsPlugin, ConnectionArgs>,
    /// A key in OpenBao.
    #[command(flatten)]
    pub transit: FromEnvironment<KmsPlugin, TransitArgs>,
    /// What is remembered of a key in OpenBao.
    #[command(flatten)]
    pub cache: CacheGiven,
    /// What an outage of OpenBao does to Status.
    #[command(flatten)]
    pub outage: OutageGiven,
}

/// Where to listen and for whom, and for which cluster.
#[derive(Debug, Default, Clone, Args)]
pub struct SocketGiven {
    /// Where to listen: PATH, unix:///PATH, or @NAME for an abstract socket.
    ///
    /// kube-apiserver up to 1.31 can only talk to an abstract socket (`unix:///@NAME` in its configuration);
    /// since 1.32 take a path. The folder must exist and must not be writable by every user.
    #[arg(long, value_name = "ADDRESS", env = "KMS_PLUGIN_SOCKET", help_heading = SOCKET)]
    pub socket: Option<SocketAddress>,

    /// Binds what is wrapped to this cluster: the same key under another name does not open it.
    /// Never change it while encrypted objects exist.
    #[arg(long, value_name = "NAME", env = "KMS_PLUGIN_CLUSTER", help_heading = KEY)]
    pub cluster: Option<String>,

    /// Permissions of the socket [default: 0600, with --socket-group 0660]
    #[arg(long, value_name = "OCTAL", env = "KMS_PLUGIN_SOCKET_MODE", value_parser = socket_mode, help_heading = SOCKET)]
    pub socket_mode: Option<SocketMode>,

    /// Group that may use the socket, by name or number.
    #[arg(long, value_name = "GROUP", env = "KMS_PLUGIN_SOCKET_GROUP", help_heading = SOCKET)]
    pub socket_group: Option<String>,

    /// Serve only these user ids [default: every user who may open the socket; own uid and 0 if it is abstract]
    #[arg(long, value_name = "UID", env = "KMS_PLUGIN_ALLOW_UID", value_delimiter = ',', help_heading = SOCKET)]
    pub allow_uid: Option<Vec<u32>>,
}

/// A key in a file on this machine.
#[derive(Debug, Default, Clone, Args)]
pub struct FileGiven {
    /// Keyring file, as created by `kdc keyring init`; read again when it changes.
    #[arg(long, value_name = "FILE", env = "KMS_PLUGIN_KEYRING", conflicts_with = "root_secret", help_heading = KEY)]
    pub keyring: Option<PathBuf>,

    /// File with exactly 32 random bytes instead of a keyring; such a key cannot rotate.
    #[arg(long, value_name = "FILE", env = "KMS_PLUGIN_ROOT_SECRET", help_heading = KEY)]
    pub root_secret: Option<PathBuf>,
}

/// How long unwrapped keys are remembered.
#[derive(Debug, Default, Clone, Args)]
pub struct CacheGiven {
    /// How long an unwrapped key is cached; as long again while OpenBao is unavailable, so that a shorter
    /// outage goes unnoticed. 0 disables the cache; at most 24h [default: 5m]
    #[arg(long, value_name = "DURATION", env = "KMS_PLUGIN_CACHE_TTL", value_parser = duration, help_heading = CACHE)]
    pub cache_ttl: Option<Duration>,

    /// How many unwrapped keys are kept [default: 4096]
    #[arg(long, value_name = "COUNT", env = "KMS_PLUGIN_CACHE_ENTRIES", help_heading = CACHE)]
    pub cache_entries: Option<NonZeroUsize>,
}

/// How an outage of OpenBao is survived.
#[derive(Debug, Default, Clone, Args)]
pub struct OutageGiven {
    /// How long after OpenBao last worked Status goes on to say ok while it cannot be reached, so that kube-apiserver
    /// stays in its Service; --bao-hold must be 90s longer. 0 for not at all [default: as --cache-ttl, if --bao-hold
    /// allows it]
    #[arg(long, value_name = "DURATION", env = "KMS_PLUGIN_STATUS_GRACE", value_parser = duration, help_heading = BAO)]
    pub status_grace: Option<Duration>,
}

section!(SocketGiven {
    socket: "socket" by parsed,
    cluster: "cluster" by plain,
    socket_mode: "socket-mode" by mode,
    socket_group: "socket-group" by plain,
    allow_uid: "allow-uid" by plain,
});

section!(FileGiven {
    keyring: "keyring" by path,
    root_secret: "root-secret" by path,
});

section!(CacheGiven {
    cache_ttl: "cache-ttl" by time,
    cache_entries: "cache-entries" by plain,
});

section!(OutageGiven {
    status_grace: "status-grace" by time,
});

fn socket_mode(given: &str) -> Result<SocketMode, String> {
    let mode = u32::from_str_radix(given, 8)
        .map_err(|_| format!("`{given}` is not an octal number such as 0660"))?;
    SocketMode::new(mode).map_err(|error| error.to_string())
}

fn mode<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<SocketMode>, A::Error> {
    through(map, socket_mode)
}

const SOCKET: &str = "Socket";
const KEY: &str = "Key in a file";
const CACHE: &str = "Cache";
/// As in the settings of the key.
const BAO: &str = "Key in OpenBao";
const OBSERVE: &str = "Observation";
