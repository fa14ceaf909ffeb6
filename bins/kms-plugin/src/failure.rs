//! What ends the program: one line for people, one number for whoever started it (`sysexits.h`).

use std::io;

use kdc_envelope::ErrorChain;
use kdc_envelope::local::keyring_file::KeyringFileError;
use kdc_envelope::local::private_file::PrivateFileError;
use kdc_envelope_bao::CredentialError;
use kdc_envelope_kms::server::{BindError, ServeError};

use tokio::task::JoinError;

use crate::settings::SettingsError;

pub(crate) const EXIT_USAGE: u8 = 64;
const EXIT_NO_INPUT: u8 = 66;
/// A fault of the program itself.
const EXIT_SOFTWARE: u8 = 70;
const EXIT_CANNOT_CREATE: u8 = 73;
const EXIT_IO: u8 = 74;
const EXIT_NO_PERMISSION: u8 = 77;
pub(crate) const EXIT_CONFIG: u8 = 78;

/// The table of `--help`; held against the constants by a test.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0   stopped by SIGTERM, SIGINT or SIGQUIT, or the check passed
  64  wrong usage: unknown flag, missing or malformed value, values that do not go together
  66  a file that must be read does not exist
  70  a part of the program ended by itself, a fault of the program; start it again
  73  the socket or the HTTP address cannot be taken
  74  reading, writing or serving failed
  77  permission denied, or a file with a key or a credential that others can read
  78  wrong configuration, keyring, root secret or certificate; `validate` found a fault
An OpenBao that is away, sealed or refuses is never a reason to end.";

/// Why the program ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Key(#[from] KeyringFileError),
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[cfg(feature = "otel")]
    #[error(transparent)]
    Telemetry(#[from] crate::telemetry::TelemetryError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("what keeps a key usable ended unexpectedly; start the plugin again")]
    Keeper(#[source] Option<JoinError>),
    #[error("no random bytes from the kernel")]
    Random(#[from] kdc_envelope::random::RandomError),
    #[error("cannot {action}")]
    System {
        action: &'static str,
        source: io::Error,
    },
    #[error("{0} of the checks failed")]
    Invalid(usize),
}

impl Failure {
    pub(crate) fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { action, source }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(error) => settings_code(error),
            Self::Key(error) => key_code(error),
            Self::Credential(error) => credential_code(error),
            Self::Serve(ServeError::Socket(error)) => bind_code(error),
            Self::Serve(ServeError::Http { source, .. }) => match source.kind() {
                io::ErrorKind::PermissionDenied => EXIT_NO_PERMISSION,
                _ => EXIT_CANNOT_CREATE,
            },
            Self::Serve(
                ServeError::NoKeys | ServeError::NameTwice(_) | ServeError::SocketTwice { .. },
            ) => EXIT_CONFIG,
            Self::Serve(ServeError::Ended(_)) | Self::Keeper(_) => EXIT_SOFTWARE,
            Self::Serve(_) | Self::Random(_) | Self::System { .. } => EXIT_IO,
            #[cfg(feature = "otel")]
            Self::Telemetry(_) => EXIT_CONFIG,
            Self::Invalid(_) => EXIT_CONFIG,
        }
    }

    /// The error and its causes in one line, whatever they contain.
    pub(crate) fn line(&self) -> String {
        let chain = ErrorChain::new(self).to_string();
        chain
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect()
    }
}

fn settings_code(error: &SettingsError) -> u8 {
    match error {
        SettingsError::NoSocket
        | SettingsError::NoKey
        | SettingsError::TwoSources { .. }
        | SettingsError::Bao(_)
        | SettingsError::CacheTtl
        | SettingsError::CacheOff => EXIT_USAGE,
        SettingsError::Read { source, .. } => io_code(source),
        _ => EXIT_CONFIG,
    }
}

fn key_code(error: &KeyringFileError) -> u8 {
    match error {
        KeyringFileError::File(PrivateFileError::Io { source, .. }) => io_code(source),
        KeyringFileError::File(
            PrivateFileError::TooOpen { .. } | PrivateFileError::ForeignOwner { .. },
        ) => EXIT_NO_PERMISSION,
        _ => EXIT_CONFIG,
    }
}

fn credential_code(error: &CredentialError) -> u8 {
    match error {
        CredentialError::Read { source, .. } => io_code(source),
        CredentialError::TooOpen { .. } => EXIT_NO_PERMISSION,
        _ => EXIT_CONFIG,
    }
}

fn bind_code(error: &BindError) -> u8 {
    match error.io_kind() {
        Some(io::ErrorKind::PermissionDenied) => EXIT_NO_PERMISSION,
        _ => EXIT_CANNOT_CREATE,
    }
}

fn io_code(error: &io::Error) -> u8 {
    match error.kind() {
        io::ErrorKind::NotFound => EXIT_NO_INPUT,
        io::ErrorKind::PermissionDenied => EXIT_NO_PERMISSION,
        _ => EXIT_IO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_every_exit_code() {
        let listed: Vec<u8> = EXIT_CODES
            .lines()
            .filter(|line| line.starts_with("  "))
            .map(|line| line.split_whitespace().next().unwrap().parse().unwrap())
            .collect();
        let used = [
            0,
            EXIT_USAGE,
            EXIT_NO_INPUT,
            EXIT_SOFTWARE,
            EXIT_CANNOT_CREATE,
            EXIT_IO,
            EXIT_NO_PERMISSION,
            EXIT_CONFIG,
        ];
        assert_eq!(listed, used);
    }
}
