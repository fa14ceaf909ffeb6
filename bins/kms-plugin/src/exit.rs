//! The exit code of each failure, for the supervisor that started the program.

use std::io;

use kdc_envelope::local::keyring_file::KeyringFileError;
use kdc_envelope::local::private_file::PrivateFileError;
use kdc_envelope_bao::CredentialError;
use kdc_envelope_kms::server::{BindError, ServeError};
use kdc_shared::config_file::FileError;
use kdc_shared::exit::{self, Exit};
use kdc_shared::plugin::SettingsError;

use crate::failure::Failure;

/// What each code means here.
const MEANINGS: [(Exit, &str); 8] = [
    (
        Exit::Ok,
        "stopped by SIGTERM, SIGINT or SIGQUIT, or the check passed",
    ),
    (
        Exit::Usage,
        "wrong usage: unknown flag, missing or malformed value, values that do not go together",
    ),
    (Exit::NoInput, "a file that must be read does not exist"),
    (
        Exit::Software,
        "a part of the program ended by itself, a fault of the program; start it again",
    ),
    (
        Exit::CannotCreate,
        "the socket or the HTTP address cannot be taken",
    ),
    (Exit::Io, "reading, writing or serving failed"),
    (
        Exit::Denied,
        "permission denied, or a file with a key or a credential that others can read",
    ),
    (
        Exit::Config,
        "wrong configuration, keyring, root secret or certificate; `validate` found a fault",
    ),
];

/// The table of `--help`.
pub(crate) fn table() -> String {
    let table = exit::table(&MEANINGS);
    format!("{table}\nThe plugin never exits because OpenBao is unreachable, sealed or refuses.")
}

impl Failure {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Settings(error) => of_settings(error),
            Self::Key(error) => of_key(error),
            Self::Credential(error) => of_credential(error),
            Self::Serve(ServeError::Socket(error)) => of_bind(error),
            Self::Serve(ServeError::Http { source, .. }) => match source.kind() {
                io::ErrorKind::PermissionDenied => Exit::Denied,
                _ => Exit::CannotCreate,
            },
            Self::Serve(
                ServeError::NoKeys | ServeError::NameTwice(_) | ServeError::SocketTwice { .. },
            ) => Exit::Config,
            Self::Serve(ServeError::Ended(_)) | Self::Keeper(_) => Exit::Software,
            Self::Serve(_) | Self::Random(_) | Self::System { .. } => Exit::Io,
            #[cfg(feature = "otel")]
            Self::Telemetry(_) => Exit::Config,
            Self::Invalid(_) => Exit::Config,
        }
    }
}

fn of_settings(error: &SettingsError) -> Exit {
    match error {
        SettingsError::NoSocket
        | SettingsError::NoKey
        | SettingsError::TwoSources { .. }
        | SettingsError::Bao(_)
        | SettingsError::CacheTtl
        | SettingsError::CacheOff
        | SettingsError::StatusGrace { .. } => Exit::Usage,
        SettingsError::File(FileError::Read { source, .. }) => Exit::of_io(source),
        _ => Exit::Config,
    }
}

fn of_key(error: &KeyringFileError) -> Exit {
    match error {
        KeyringFileError::File(PrivateFileError::Io { source, .. }) => Exit::of_io(source),
        KeyringFileError::File(
            PrivateFileError::TooOpen { .. } | PrivateFileError::ForeignOwner { .. },
        ) => Exit::Denied,
        _ => Exit::Config,
    }
}

fn of_credential(error: &CredentialError) -> Exit {
    match error {
        CredentialError::Read { source, .. } => Exit::of_io(source),
        CredentialError::TooOpen { .. } => Exit::Denied,
        _ => Exit::Config,
    }
}

fn of_bind(error: &BindError) -> Exit {
    match error.io_kind() {
        Some(io::ErrorKind::PermissionDenied) => Exit::Denied,
        _ => Exit::CannotCreate,
    }
}
