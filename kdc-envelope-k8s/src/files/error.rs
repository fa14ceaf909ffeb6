//! What can go wrong with a file.

use std::io;
use std::path::{Path, PathBuf};

use kdc_envelope::local::private_file::PrivateFileError;

use crate::encryption_config::{ConfigError, RenderError};
use crate::rotation::UnknownWriter;
use crate::rotation::history::HistoryError;

/// A file of a node or of the state could not be read or written. Names the file, never its content.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// Files of secrets.
    #[error(transparent)]
    Private(#[from] PrivateFileError),
    /// The system refused.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The configuration is not one that kube-apiserver would take.
    #[error("`{}` is no EncryptionConfiguration that kube-apiserver takes, so it is left alone", path.display())]
    Config {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: ConfigError,
    },
    /// The configuration is far larger than any.
    #[error("`{}` has {len} bytes, too many for an EncryptionConfiguration", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// Its length.
        len: u64,
    },
    /// The key history is damaged.
    #[error("`{}` is no usable key history; put the last good copy in its place", path.display())]
    History {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: HistoryError,
    },
    /// A file of the state is damaged.
    #[error("`{}` is damaged", path.display())]
    State {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// What was noted of the rows names what the keyring does not have.
    #[error("`{}` does not fit the keyring beside it; put both back from one backup", path.display())]
    Rows {
        /// Which file.
        path: PathBuf,
        /// What is missing.
        source: UnknownWriter,
    },
    /// A file is mounted there by itself, so its name cannot lead to another one.
    #[error(
        "`{}` is a mount of its own, so no other file can take its place; mount its folder instead, here and into the API server",
        path.display()
    )]
    MountPoint {
        /// Which file.
        path: PathBuf,
    },
    /// Another program wrote the configuration at the same time.
    #[error("`{}` was changed by another program meanwhile, so it is left alone", path.display())]
    Changed {
        /// Which file.
        path: PathBuf,
    },
    /// Others could put a state of their own there.
    #[error(
        "the folder `{}` belongs to user {owner} and has mode {mode:04o}; it must belong to the user who runs this, or to root, and others must not write to it",
        path.display()
    )]
    OpenFolder {
        /// Which folder.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// Another tool is at work.
    #[error("`{}` is held by another run; wait for it, or end it", path.display())]
    Busy {
        /// Which file.
        path: PathBuf,
    },
    /// The state was opened to be read only.
    #[error("the state in `{}` is not held, so it is not changed", path.display())]
    NotHeld {
        /// Which folder.
        path: PathBuf,
    },
    /// What shall be written cannot be.
    #[error("the configuration cannot be written")]
    Render(#[from] RenderError),
}

impl FilesError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
