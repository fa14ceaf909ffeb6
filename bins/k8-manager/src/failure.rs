//! What ends the program, in one line, and its exit code.

use std::io;
use std::path::PathBuf;

use kdc_shared::config_file::FileError;
use kdc_shared::exit::Exit;
use kdc_shared::manager::{ManagerError, ManagerSettingsError};

/// Why the program ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Settings(#[from] ManagerSettingsError),
    #[error("{name} `{given}` is refused: {fault}")]
    Value {
        name: &'static str,
        given: String,
        fault: &'static str,
    },
    #[error("cannot read `{}`", .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Manager(#[from] ManagerError),
}

impl Failure {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Settings(ManagerSettingsError::File(FileError::Read { source, .. }))
            | Self::File { source, .. } => Exit::of_io(source),
            Self::Settings(ManagerSettingsError::File(_)) => Exit::Config,
            Self::Settings(_) | Self::Value { .. } => Exit::Usage,
            Self::Manager(ManagerError::Cluster(_)) => Exit::Unavailable,
            Self::Manager(ManagerError::Http { .. }) => Exit::CannotCreate,
            Self::Manager(ManagerError::System { .. }) => Exit::Io,
        }
    }
}
