//! The settings of kms-plugin, which serves with them, and which `kdc plugin doctor` looks into.
//!
//! Flags, environment and file are merged, and turned into what the server takes.

mod args;
mod error;
mod file;
mod group;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kdc_envelope::cache::Limits;
use kdc_envelope::local::keyring_file::KeyringFileError;
use kdc_envelope::local::{Keyring, keyring_file, root_secret};
use kdc_envelope_bao::TransitOptions;
use kdc_envelope_bao::settings::section::Section as _;
use kdc_envelope_bao::settings::{BaoConnection, TransitSettings};
use kdc_envelope_kms::server::{SocketMode, SocketOptions, check_distinct};
use tracing_subscriber::filter::Targets;

pub use args::{
    CacheGiven, FileGiven, Given, KeyGiven, KmsPlugin, NamedKey, Options, OutageGiven, SocketGiven,
};
pub use error::SettingsError;
pub use file::read;
pub use group::GroupError;

use crate::logging::LogFormat;

/// What a key is called that is the only one: the name of the provider in most EncryptionConfigurations.
pub const DEFAULT_NAME: &str = "kube-dc-kms-plugin";

const LONGEST_TTL: Duration = Duration::from_secs(24 * 3_600);

/// Everything the program needs to know, checked as far as that goes without touching keys or sockets.
#[derive(Debug)]
pub struct Settings {
    /// The keys; at least one, no two of one name or on one socket.
    pub keys: Vec<KeySettings>,
    /// Where probes and scrapers come, if anywhere.
    pub http_address: Option<SocketAddr>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged.
    pub log_level: Targets,
    /// Where spans are sent, if anywhere.
    #[cfg(feature = "otel")]
    pub otel_endpoint: Option<crate::telemetry::OtelEndpoint>,
}

/// A key and its socket.
#[derive(Debug)]
pub struct KeySettings {
    /// What it is called in logs, metrics and probes.
    pub name: String,
    /// The socket and who may use it.
    pub socket: SocketOptions,
    /// The cluster that wrapped keys are bound to; may be empty.
    pub cluster: String,
    /// Where the key is.
    pub source: KeySource,
}

/// Where a key is.
#[derive(Debug)]
pub enum KeySource {
    /// In a file on this machine.
    File(FileSource),
    /// In OpenBao.
    Bao(Box<BaoSource>),
}

/// The file that holds a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource {
    /// A keyring with versions.
    Keyring(PathBuf),
    /// 32 bare bytes.
    RootSecret(PathBuf),
}

/// A key in OpenBao.
#[derive(Debug)]
pub struct BaoSource {
    /// How OpenBao is reached.
    pub connection: BaoConnection,
    /// Which key, and how its versions are followed.
    pub transit: TransitSettings,
    /// How unwrapped keys are remembered.
    pub cache: Limits,
}

impl BaoSource {
    /// What an outage of OpenBao does to Status, in words for operators.
    #[must_use]
    pub fn outage(&self) -> String {
        let options = self.transit.options();
        let (grace, hold) = (options.status_grace, options.hold);
        if grace.is_zero() {
            return format!(
                "Status fails as soon as OpenBao does not answer; new versions of the key wrap after {hold:?}"
            );
        }
        let limit = match grace == options.longest_status_grace() {
            true => ", which allows no longer grace",
            false => "",
        };
        format!(
            "Status goes on for {grace:?} after OpenBao last worked; new versions of the key wrap after {hold:?}{limit}"
        )
    }
}

impl FileSource {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Keyring(path) | Self::RootSecret(path) => path,
        }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn load(&self) -> Result<Keyring, KeyringFileError> {
        match self {
            Self::Keyring(path) => keyring_file::load(path),
            Self::RootSecret(path) => root_secret::load(path),
        }
    }
}

impl Settings {
    /// Reads the file, if one is named, and puts what was given over it.
    ///
    /// # Errors
    /// [`SettingsError`]: the file cannot be read, or the first of the faults that [`Self::examine`] finds.
    pub fn gather(options: Options) -> Result<Self, SettingsError> {
        Self::resolve(merged(options)?)
    }

    /// Checks settings for completeness.
    ///
    /// # Errors
    /// The first of the faults that [`Self::examine`] finds.
    pub fn resolve(given: Given) -> Result<Self, SettingsError> {
        let (settings, faults) = Self::examine(given);
        match faults.into_iter().next() {
            Some(fault) => Err(fault),
            None => Ok(settings),
        }
    }

    /// What can be made of the settings, without the keys that are not complete, and everything that is wrong.
    #[must_use]
    pub fn examine(given: Given) -> (Self, Vec<SettingsError>) {
        let mut faults = Vec::new();
        let mut keys = Vec::new();
        match given.keys {
            None => match key(DEFAULT_NAME.to_owned(), given.key) {
                Ok(key) => keys.push(key),
                Err(found) => faults = found,
            },
            Some(named) => {
                for (index, named) in named.into_iter().enumerate() {
                    let name = named.name.escape_debug().to_string();
                    match one_of_several(named, &given.key) {
                        Ok(key) => keys.push(key),
                        Err(found) => {
                            faults.extend(found.into_iter().map(|fault| SettingsError::InKey {
                                index,
                                name: name.clone(),
                                source: Box::new(fault),
                            }))
                        }
                    }
                }
            }
        }
        if let Err(clash) = distinct(&keys)
            && faults.is_empty()
        {
            faults.push(clash);
        }
        let settings = Self {
            keys,
            http_address: given.http_address,
            log_format: given.log_format.unwrap_or_default(),
            log_level: given
                .log_level
                .unwrap_or_else(|| Targets::new().with_default(tracing::Level::INFO)),
            #[cfg(feature = "otel")]
            otel_endpoint: given.otel_endpoint,
        };
        (settings, faults)
    }
}

/// What the file says, if one is named, under what was given.
///
/// # Errors
/// [`SettingsError`] if the file cannot be read.
pub fn merged(options: Options) -> Result<Given, SettingsError> {
    let file = match &options.config {
        Some(path) => read(path)?,
        None => Given::default(),
    };
    Ok(options.given.merge_over(file))
}

fn one_of_several(named: NamedKey, common: &KeyGiven) -> Result<KeySettings, Vec<SettingsError>> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let NamedKey { name, key: given } = named;
    if !(1..=MAX_NAME_LEN).contains(&name.len()) || !name.bytes().all(is_plain) {
        return Err(vec![SettingsError::Name]);
    }
    key(name, given.merge_over(common.clone()))
}

fn distinct(keys: &[KeySettings]) -> Result<(), SettingsError> {
    let pairs = keys
        .iter()
        .map(|key| (key.name.as_str(), &key.socket.address));
    check_distinct(pairs).map_err(|error| SettingsError::Clash(Box::new(error)))
}

/// In bytes; names are labels of metrics.
const MAX_NAME_LEN: usize = 63;

/// Checks one key, with all that is common merged in.
fn key(name: String, given: KeyGiven) -> Result<KeySettings, Vec<SettingsError>> {
    let mut faults = Vec::new();
    let cluster = given.socket.cluster.clone().unwrap_or_default();
    let socket = socket(given.socket.clone()).map_err(|fault| faults.push(fault));
    let source = source(given).map_err(|found| faults.extend(found));
    match (socket, source) {
        (Ok(socket), Ok(source)) => Ok(KeySettings {
            name,
            socket,
            cluster,
            source,
        }),
        _ => Err(faults),
    }
}

fn socket(given: SocketGiven) -> Result<SocketOptions, SettingsError> {
    let mut socket = SocketOptions::new(given.socket.ok_or(SettingsError::NoSocket)?);
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
    Ok(socket)
}

fn source(given: KeyGiven) -> Result<KeySource, Vec<SettingsError>> {
    if let Some((one, other)) = given.contradiction() {
        return Err(vec![SettingsError::TwoSources { one, other }]);
    }
    let has_bao = given.first_of_bao().is_some();
    let file = given
        .file
        .keyring
        .map(FileSource::Keyring)
        .or_else(|| given.file.root_secret.map(FileSource::RootSecret));
    match file {
        Some(file) => Ok(KeySource::File(file)),
        None if !has_bao => Err(vec![SettingsError::NoKey]),
        None => {
            let mut faults = Vec::new();
            let cache = cache(&given.cache).map_err(|fault| faults.push(fault));
            let mut keep = |found: Vec<_>| faults.extend(found.into_iter().map(SettingsError::Bao));
            let connection = given.connection.into_inner().resolve().map_err(&mut keep);
            let transit = given.transit.into_inner().resolve().map_err(&mut keep);
            match (connection, transit, cache) {
                (Ok(connection), Ok(transit), Ok(cache)) => {
                    let grace = status_grace(&given.outage, &transit.options(), &cache)
                        .map_err(|fault| vec![fault])?;
                    Ok(KeySource::Bao(Box::new(BaoSource {
                        connection,
                        transit: transit.with_status_grace(grace),
                        cache,
                    })))
                }
                _ => Err(faults),
            }
        }
    }
}

fn cache(given: &CacheGiven) -> Result<Limits, SettingsError> {
    let default = Limits::default();
    let time_to_live = given.cache_ttl.unwrap_or(default.time_to_live);
    if time_to_live > LONGEST_TTL {
        return Err(SettingsError::CacheTtl);
    }
    if time_to_live.is_zero() && given.cache_entries.is_some() {
        return Err(SettingsError::CacheOff);
    }
    let entries = given.cache_entries.unwrap_or(default.entries);
    Ok(Limits::new(entries, time_to_live))
}

/// How long Status outlasts OpenBao. What is not given follows the hold, so that settings from before there was a grace stay good.
fn status_grace(
    given: &OutageGiven,
    options: &TransitOptions,
    cache: &Limits,
) -> Result<Duration, SettingsError> {
    let longest = options.longest_status_grace();
    match given.status_grace {
        None => Ok(cache.time_to_live.min(longest)),
        Some(grace) if grace.is_zero() || grace <= longest => Ok(grace),
        Some(grace) => Err(SettingsError::StatusGrace {
            grace,
            least: grace.saturating_add(TransitOptions::HOLD_MARGIN),
            hold: options.hold,
            longest,
        }),
    }
}

impl KeyGiven {
    /// These settings, and those of `lower` where there are none. Where the key is counts as one setting: a file here
    /// hides OpenBao there, and the other way round.
    #[must_use]
    pub fn merge_over(self, lower: Self) -> Self {
        let has_file = self.file.first_given().is_some();
        let has_bao = self.first_of_bao().is_some();
        let socket = self.socket.merge_over(lower.socket);
        if has_file {
            return Self { socket, ..self };
        }
        Self {
            socket,
            file: if has_bao { self.file } else { lower.file },
            connection: self.connection.merge_over(lower.connection),
            transit: self.transit.merge_over(lower.transit),
            cache: self.cache.merge_over(lower.cache),
            outage: self.outage.merge_over(lower.outage),
        }
    }

    /// The name of a setting of OpenBao that is given.
    fn first_of_bao(&self) -> Option<&'static str> {
        let connection = self.connection.first_given();
        connection.or_else(|| self.transit.first_given())
    }

    /// Two settings that put the key in two places.
    pub(crate) fn contradiction(&self) -> Option<(&'static str, &'static str)> {
        let keyring = self.file.keyring.as_ref().map(|_| "keyring");
        let root_secret = self.file.root_secret.as_ref().map(|_| "root-secret");
        let bao = self
            .first_of_bao()
            .or_else(|| self.cache.first_given())
            .or_else(|| self.outage.first_given());
        let mut places = [keyring, root_secret, bao].into_iter().flatten();
        places.next().zip(places.next())
    }
}

impl Given {
    /// These settings, and those of `file` where there are none. Where the key is counts as one setting.
    #[must_use]
    pub fn merge_over(self, file: Self) -> Self {
        Self {
            key: self.key.merge_over(file.key),
            http_address: self.http_address.or(file.http_address),
            log_format: self.log_format.or(file.log_format),
            log_level: self.log_level.or(file.log_level),
            #[cfg(feature = "otel")]
            otel_endpoint: self.otel_endpoint.or(file.otel_endpoint),
            keys: self.keys.or(file.keys),
        }
    }
}
