//! Keyrings on disk. Beside [`root_secret`](super::root_secret) the only place in the crate that touches a file.
//!
//! A file is read only if others cannot read it, and changed only as a whole: temporary file, fsync, rename, fsync of
//! the directory. Two editors wait for each other; a crash at any point leaves the old file or the new one.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, RenameFlags};
use zeroize::Zeroizing;

use super::{EditError, Keyring, ParseKeyringError};
use crate::random::{self, RandomError};

/// Larger files are not read: a keyring of a thousand versions has 100 KiB.
const MAX_FILE_LEN: u64 = 1 << 20;
/// What neither group nor others may have: group write, and anything of others.
const FORBIDDEN_MODE: u32 = 0o027;

/// A keyring file could not be read or written. Names the file, never its content.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringFileError {
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
    /// It is a directory, a socket, a pipe, a device.
    #[error("`{}` is not a regular file", path.display())]
    NotAFile {
        /// Which file.
        path: PathBuf,
    },
    /// Others could have read or changed the keys.
    #[error("`{}` has mode {mode:04o}, open to others; run `chmod 600` on it and consider its keys known", path.display())]
    TooOpen {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to somebody else, who could change it at will.
    #[error("`{}` belongs to user {owner}; it must belong to the user who reads it, or to root", path.display())]
    ForeignOwner {
        /// Which file.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
    },
    /// It is far larger than any keyring.
    #[error("`{}` has {len} bytes, too many for a key file", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
    },
    /// A root secret has another length.
    #[error("`{}` has {len} bytes; a root secret has exactly 32, without a line end", path.display())]
    RootSecretLength {
        /// Which file.
        path: PathBuf,
        /// Its length in bytes.
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
    /// A new keyring would overwrite something.
    #[error("`{}` exists already and is left alone", path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// The change is refused; the file is as it was.
    #[error("`{}` was not changed", path.display())]
    Edit {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: EditError,
    },
    /// No random bytes could be had.
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl KeyringFileError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

/// Reads the keyring in `path`.
///
/// # Errors
/// [`KeyringFileError`]: missing, unreadable, open to others, damaged.
pub fn load(path: &Path) -> Result<Keyring, KeyringFileError> {
    parse(path, &read_private(path)?)
}

/// Writes a new keyring file with mode 0600; never over an existing one.
///
/// # Errors
/// [`KeyringFileError::Exists`], [`KeyringFileError::Io`].
pub fn create(path: &Path, keyring: &Keyring) -> Result<(), KeyringFileError> {
    let temporary = Temporary::beside(path)?;
    temporary.fill(keyring)?;
    rustix::fs::renameat_with(CWD, &temporary.path, CWD, path, RenameFlags::NOREPLACE).map_err(
        |error| match error {
            rustix::io::Errno::EXIST => KeyringFileError::Exists {
                path: path.to_owned(),
            },
            other => KeyringFileError::io("create", path)(other.into()),
        },
    )?;
    sync_directory(path)
}

/// Changes the keyring in `path` by `change`, alone and atomically. Owner, group and mode of the file stay.
///
/// # Errors
/// [`KeyringFileError`]; the file is then as it was.
pub fn edit<T>(
    path: &Path,
    change: impl FnOnce(&mut Keyring) -> Result<T, EditError>,
) -> Result<T, KeyringFileError> {
    // Behind a symbolic link the file itself is replaced, not the link.
    let path = &fs::canonicalize(path).map_err(KeyringFileError::io("open", path))?;
    let (locked, bytes) = lock(path)?;
    let mut keyring = parse(path, &bytes)?;
    let outcome = change(&mut keyring).map_err(|source| KeyringFileError::Edit {
        path: path.clone(),
        source,
    })?;
    let temporary = Temporary::beside(path)?;
    temporary.adopt_owner(&locked)?;
    temporary.fill(&keyring)?;
    fs::rename(&temporary.path, path).map_err(KeyringFileError::io("replace", path))?;
    sync_directory(path)?;
    Ok(outcome)
}

/// Opens and locks the file that `path` names once the lock is held: another editor may have replaced it meanwhile.
fn lock(path: &Path) -> Result<(File, Zeroizing<Vec<u8>>), KeyringFileError> {
    loop {
        let mut file = open_private(path)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)
            .map_err(|error| KeyringFileError::io("lock", path)(error.into()))?;
        let held = file
            .metadata()
            .map_err(KeyringFileError::io("read", path))?;
        let named = fs::metadata(path).map_err(KeyringFileError::io("open", path))?;
        if (held.dev(), held.ino()) == (named.dev(), named.ino()) {
            let bytes = read_all(path, &mut file)?;
            return Ok((file, bytes));
        }
    }
}

/// Reads a file of secrets after the checks of its owner, mode, kind and size.
pub(super) fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyringFileError> {
    read_all(path, &mut open_private(path)?)
}

fn open_private(path: &Path) -> Result<File, KeyringFileError> {
    // Without NONBLOCK, opening a pipe would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file: File = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|error| KeyringFileError::io("open", path)(error.into()))?
        .into();
    let metadata = file
        .metadata()
        .map_err(KeyringFileError::io("read", path))?;
    let path = path.to_owned();
    if !metadata.is_file() {
        return Err(KeyringFileError::NotAFile { path });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & FORBIDDEN_MODE != 0 {
        return Err(KeyringFileError::TooOpen { path, mode });
    }
    let owner = metadata.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(KeyringFileError::ForeignOwner { path, owner });
    }
    let len = metadata.len();
    if len > MAX_FILE_LEN {
        return Err(KeyringFileError::TooLarge { path, len });
    }
    Ok(file)
}

fn read_all(path: &Path, file: &mut File) -> Result<Zeroizing<Vec<u8>>, KeyringFileError> {
    let mut read = || {
        // One byte more than there is, so that no reallocation leaves a copy behind.
        let len = file.metadata()?.len().min(MAX_FILE_LEN).saturating_add(1);
        let capacity = usize::try_from(len).unwrap_or_default();
        let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
        file.take(len).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(KeyringFileError::io("read", path))
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

fn sync_directory(path: &Path) -> Result<(), KeyringFileError> {
    File::open(directory(path))
        .and_then(|directory| directory.sync_all())
        .map_err(KeyringFileError::io("sync the directory of", path))
}

fn directory(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."))
}

/// A file beside the one to be written; removed unless it took that one's name.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Temporary {
    fn beside(path: &Path) -> Result<Self, KeyringFileError> {
        let suffix: [u8; 8] = random::array()?;
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}.new", hex::encode(suffix)));
        let temporary = directory(path).join(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::open(&temporary, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| KeyringFileError::io("create a file beside", path)(error.into()))?;
        Ok(Self {
            path: temporary,
            file: file.into(),
        })
    }

    /// Gives the file the owner, group and mode of the one that it replaces, before it has content.
    fn adopt_owner(&self, model: &File) -> Result<(), KeyringFileError> {
        let adopt = || {
            let (wanted, own) = (model.metadata()?, self.file.metadata()?);
            if (wanted.uid(), wanted.gid()) != (own.uid(), own.gid()) {
                let owner = rustix::fs::Uid::from_raw(wanted.uid());
                let group = rustix::fs::Gid::from_raw(wanted.gid());
                rustix::fs::chownat(
                    self.file.as_fd(),
                    "",
                    Some(owner),
                    Some(group),
                    AtFlags::EMPTY_PATH,
                )?;
            }
            self.file.set_permissions(wanted.permissions())
        };
        adopt().map_err(KeyringFileError::io("set the owner of", &self.path))
    }

    fn fill(&self, keyring: &Keyring) -> Result<(), KeyringFileError> {
        (&self.file)
            .write_all(keyring.to_text().as_bytes())
            .and_then(|()| self.file.sync_all())
            .map_err(KeyringFileError::io("write", &self.path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing left under this name.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests;
