//! Keyrings on disk, each in a file of its own. Two editors wait for each other; a crash at any point leaves the old file
//! or the new one.

use std::path::{Path, PathBuf};

use super::private_file::{self, Locked, PrivateFileError};
use super::{EditError, Keyring, ParseKeyringError};

/// A keyring file could not be read or written. Names the file, never its content.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringFileError {
    /// The file itself: missing, refused, open to others.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// A root secret has another length.
    #[error("`{}` has {len} bytes; a root secret has exactly 32, without a line end", path.display())]
    RootSecretLength {
        /// Which file.
        path: PathBuf,
        /// Length of the file in bytes.
        len: usize,
    },
    /// It does not hold a keyring.
    #[error("`{}` is no usable keyring", path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: ParseKeyringError,
    },
    /// The change is refused; the file is as it was.
    #[error("`{}` was not changed", path.display())]
    Edit {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: EditError,
    },
}

/// Reads the keyring in `path`.
///
/// # Errors
/// [`KeyringFileError`]: missing, unreadable, open to others, damaged.
pub fn load(path: &Path) -> Result<Keyring, KeyringFileError> {
    parse(path, &private_file::read(path)?)
}

/// Writes a new keyring file with mode 0600; never over an existing one.
///
/// # Errors
/// [`PrivateFileError::Exists`], [`PrivateFileError::Io`]; and after the file was made [`PrivateFileError::NotSynced`].
pub fn create(path: &Path, keyring: &Keyring) -> Result<(), KeyringFileError> {
    Ok(private_file::create(path, keyring.to_text().as_bytes())?)
}

/// Changes the keyring in `path` by `change`, alone and atomically. Owner, group and mode of the file stay.
///
/// # Errors
/// [`KeyringFileError`]; the file is then as it was, but after [`PrivateFileError::NotSynced`].
pub fn edit<T>(
    path: &Path,
    change: impl FnOnce(&mut Keyring) -> Result<T, EditError>,
) -> Result<T, KeyringFileError> {
    let locked = Locked::open(path)?;
    let mut keyring = parse(locked.path(), &locked.content)?;
    let outcome = change(&mut keyring).map_err(|source| KeyringFileError::Edit {
        path: locked.path().to_owned(),
        source,
    })?;
    locked.replace(keyring.to_text().as_bytes())?;
    Ok(outcome)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Keyring, KeyringFileError> {
    core::str::from_utf8(bytes)
        .map_err(|_| ParseKeyringError::NotAKeyring)
        .and_then(Keyring::parse)
        .map_err(|source| KeyringFileError::Parse {
            path: path.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests;
