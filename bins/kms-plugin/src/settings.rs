//! Merges flags, environment and file, and turns the result into what the server takes.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use kdc_envelope_kms::server::{SocketMode, SocketOptions};
use tracing_subscriber::filter::Targets;

use crate::cli::{Given, LogFormat, Options};
use crate::failure::Failure;
use crate::group::{self, GroupError};

/// Everything the program needs to know, checked as far as that goes without touching key or socket.
#[derive(Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The socket and who may use it.
    pub socket: SocketOptions,
    /// Where the key is.
    pub key: KeySource,
    /// The cluster that wrapped keys are bound to; may be empty.
    pub cluster: String,
    /// Where probes and scrapers come, if anywhere.
    pub http_address: Option<SocketAddr>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged.
    pub log_level: Targets,
}

/// The file that holds the key encryption key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeySource {
    /// A keyring with versions.
    Keyring(PathBuf),
    /// 32 bare bytes.
    RootSecret(PathBuf),
}

/// Settings that do not make sense, or a file that cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// Nowhere to listen.
    #[error(
        "no socket given; add --socket PATH, set KMS_PLUGIN_SOCKET, or put `socket:` into the configuration file"
    )]
    NoSocket,
    /// Nothing to wrap with.
    #[error(
        "no key given; add --keyring FILE (`kdc keyring init FILE` makes one) or --root-secret FILE"
    )]
    NoKey,
    /// Two keys.
    #[error("configuration file `{}` has both `keyring` and `root-secret`; remove one", .0.display())]
    TwoKeys(PathBuf),
    /// The configuration file cannot be read.
    #[error("cannot read configuration file `{}`", .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The configuration file does not hold settings.
    #[error("configuration file `{}`", .path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What and where.
        source: Box<serde_saphyr::Error>,
    },
    /// The group is not known.
    #[error(transparent)]
    Group(#[from] GroupError),
}

impl Settings {
    /// Reads the file, if one is named, and puts what was given over it.
    pub(crate) fn gather(options: Options) -> Result<Self, Failure> {
        let file = match &options.config {
            Some(path) => read(path)?,
            None => Given::default(),
        };
        Ok(Self::resolve(options.given.over(file))?)
    }

    /// Checks settings for completeness.
    ///
    /// # Errors
    /// [`SettingsError`]
    pub fn resolve(given: Given) -> Result<Self, SettingsError> {
        let mut socket = SocketOptions::new(given.socket.ok_or(SettingsError::NoSocket)?);
        let key = match (given.keyring, given.root_secret) {
            (Some(path), _) => KeySource::Keyring(path),
            (None, Some(path)) => KeySource::RootSecret(path),
            (None, None) => return Err(SettingsError::NoKey),
        };
        let default_mode = match given.socket_group {
            Some(_) => SocketMode::GROUP,
            None => SocketMode::OWNER,
        };
        socket.mode = given.socket_mode.unwrap_or(default_mode);
        socket.group = given
            .socket_group
            .as_deref()
            .map(group::number)
            .transpose()?;
        socket.allowed_uids = given.allow_uid;
        Ok(Self {
            socket,
            key,
            cluster: given.cluster.unwrap_or_default(),
            http_address: given.http_address,
            log_format: given.log_format.unwrap_or_default(),
            log_level: given
                .log_level
                .unwrap_or_else(|| Targets::new().with_default(tracing::Level::INFO)),
        })
    }
}

/// Reads settings from a YAML file; an unknown name is an error.
///
/// # Errors
/// [`SettingsError::Read`], [`SettingsError::Parse`], [`SettingsError::TwoKeys`]
pub fn read(path: &Path) -> Result<Given, SettingsError> {
    let text = std::fs::read_to_string(path).map_err(|source| SettingsError::Read {
        path: path.to_owned(),
        source,
    })?;
    let options = serde_saphyr::options! { with_snippet: false };
    let given: Given = serde_saphyr::from_str_with_options(&text, options).map_err(|error| {
        SettingsError::Parse {
            path: path.to_owned(),
            source: Box::new(error),
        }
    })?;
    if given.keyring.is_some() && given.root_secret.is_some() {
        return Err(SettingsError::TwoKeys(path.to_owned()));
    }
    Ok(given)
}

impl Given {
    /// These settings, and those of `file` where there are none. The two kinds of key count as one setting.
    #[must_use]
    pub fn over(self, file: Self) -> Self {
        let (keyring, root_secret) = match (self.keyring, self.root_secret) {
            (None, None) => (file.keyring, file.root_secret),
            given => given,
        };
        Self {
            socket: self.socket.or(file.socket),
            keyring,
            root_secret,
            cluster: self.cluster.or(file.cluster),
            socket_mode: self.socket_mode.or(file.socket_mode),
            socket_group: self.socket_group.or(file.socket_group),
            allow_uid: self.allow_uid.or(file.allow_uid),
            http_address: self.http_address.or(file.http_address),
            log_format: self.log_format.or(file.log_format),
            log_level: self.log_level.or(file.log_level),
        }
    }
}
