//! What ends the program, and with which exit code.

use std::io;

use kdc_envelope_bao::CredentialError;
use kdc_shared::config_file::FileError;
use kdc_shared::exit::{self, Exit};
use kdc_shared::manager::{ManagerError, ManagerSettingsError};

use crate::settings::SettingsError;

/// Why the program ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Common(#[from] ManagerSettingsError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error(transparent)]
    Manager(#[from] ManagerError),
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    #[error("{0} of the checks failed")]
    Invalid(usize),
}

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
        Exit::Unavailable,
        "the cluster cannot be used with the settings that are given",
    ),
    (Exit::CannotCreate, "the HTTP address cannot be taken"),
    (Exit::Io, "reading or writing failed"),
    (
        Exit::Denied,
        "permission denied, or a file with a credential that others can read",
    ),
    (
        Exit::Config,
        "wrong configuration or certificate; `validate` found a fault",
    ),
];

/// The table of `--help`.
pub(crate) fn table() -> String {
    let table = exit::table(&MEANINGS);
    format!("{table}\nIt never exits because OpenBao or the cluster is away.")
}

impl Failure {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Common(ManagerSettingsError::File(FileError::Read { source, .. })) => {
                Exit::of_io(source)
            }
            Self::Common(ManagerSettingsError::File(_)) | Self::Invalid(_) => Exit::Config,
            Self::Common(_) | Self::Settings(_) => Exit::Usage,
            Self::Credential(CredentialError::Read { source, .. }) => Exit::of_io(source),
            Self::Credential(CredentialError::TooOpen { .. }) => Exit::Denied,
            Self::Credential(_) => Exit::Config,
            Self::Manager(ManagerError::Cluster(_)) => Exit::Unavailable,
            Self::Manager(ManagerError::Http { source, .. }) => match source.kind() {
                io::ErrorKind::PermissionDenied => Exit::Denied,
                _ => Exit::CannotCreate,
            },
            Self::Manager(ManagerError::System { .. }) | Self::Output(_) => Exit::Io,
        }
    }
}
