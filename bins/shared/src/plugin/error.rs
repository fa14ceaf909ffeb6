//! What is wrong with settings.

use std::path::PathBuf;
use std::time::Duration;

use kdc_envelope_bao::settings::BaoSettingsError;
use kdc_envelope_kms::server::ServeError;

use super::group::GroupError;
use crate::config_file::FileError;

/// Settings that do not make sense, or a file that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Nowhere to listen.
    #[error(
        "no socket given; add --socket PATH, set KMS_PLUGIN_SOCKET, or put `socket:` into the configuration file"
    )]
    NoSocket,
    /// Nothing to wrap with.
    #[error(
        "no key given; add --keyring FILE (`kdc keyring init FILE` makes one), --root-secret FILE, or --bao-address URL \
         and --bao-key NAME"
    )]
    NoKey,
    /// The key is in two places.
    #[error("--{one} cannot be used with --{other}: a key is in a file or in OpenBao; remove one")]
    TwoSources {
        /// Name of the one setting.
        one: &'static str,
        /// Name of the other.
        other: &'static str,
    },
    /// The key is in two places, in the configuration file.
    #[error("configuration file `{}` has both `{place}{one}` and `{place}{other}`; remove one", .path.display())]
    TwoKeys {
        /// Which file.
        path: PathBuf,
        /// In front of both names.
        place: String,
        /// Name of the one setting.
        one: &'static str,
        /// Name of the other.
        other: &'static str,
    },
    /// The settings of a key in OpenBao.
    #[error(transparent)]
    Bao(BaoSettingsError),
    /// Keys would be remembered for longer than is wise.
    #[error("--cache-ttl must be at most 24h")]
    CacheTtl,
    /// A size for a cache that is off.
    #[error("--cache-entries does nothing with --cache-ttl 0; remove one")]
    CacheOff,
    /// A replica that is cut off from OpenBao would stay in use until others wrap with a version that it has not seen.
    #[error(
        "--status-grace {grace:?} needs a --bao-hold of at least {least:?}, and it is {hold:?}: raise --bao-hold, or set --status-grace to at \
         most {longest:?}; a replica that is cut off from OpenBao stays in use for the grace and a minute more, and cannot open what others \
         wrap with a version that it has not seen"
    )]
    StatusGrace {
        /// What was given.
        grace: Duration,
        /// The shortest hold for it.
        least: Duration,
        /// The hold.
        hold: Duration,
        /// The longest grace for the hold.
        longest: Duration,
    },
    /// A key is called what no label can hold.
    #[error("`name` must be 1 to 63 letters, digits, `-`, `_` and `.`")]
    Name,
    /// No key, or two of one name or on one socket.
    #[error(transparent)]
    Clash(Box<ServeError>),
    /// One of several keys.
    #[error("keys[{index}] (`{name}`)")]
    InKey {
        /// Its place in the list, from 0.
        index: usize,
        /// Its name.
        name: String,
        /// What is wrong with it.
        source: Box<Self>,
    },
    /// The configuration file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The group is not known.
    #[error(transparent)]
    Group(#[from] GroupError),
}
