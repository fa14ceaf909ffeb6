//! Files of secrets on disk: keyrings, key histories, configurations that hold keys.
//!
//! A file is read only if others cannot read it, and changed only as a whole: temporary file, fsync, rename, fsync of
//! the directory. A crash at any point leaves the old file or the new one. What could not be read again is not written.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::random::{self, RandomError};

/// Larger files are neither read nor written: a keyring of a thousand versions has 100 KiB.
const MAX_FILE_LEN: u64 = 1 << 20;
/// What neither group nor others may have: group write, and anything of others.
const FORBIDDEN_MODE: u32 = 0o027;

/// A file of secrets could not be read or written. Names the file, never its content.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateFileError {
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
        /// The permission bits of the file.
        mode: u32,
    },
    /// It belongs to another user, who could change it at will.
    #[error("`{}` belongs to user {owner}; it must belong to the user who reads it, or to root", path.display())]
    ForeignOwner {
        /// Which file.
        path: PathBuf,
        /// The user id of the file's owner.
        owner: u32,
    },
    /// It is far larger than any key file.
    #[error("`{}` has {len} bytes, too many for a key file", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// Length of the file in bytes.
        len: u64,
    },
    /// Its new content would be far larger than any key file, so that nothing could read it.
    #[error("`{}` was not written: it would have {len} bytes, too many for a key file", path.display())]
    WouldBeTooLarge {
        /// Which file.
        path: PathBuf,
        /// The length of the content in bytes.
        len: usize,
    },
    /// The new content is in place, but its directory could not be written to the disk.
    #[error("`{}` was written, but a power failure may undo it: cannot sync its directory", path.display())]
    NotSynced {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A new file would overwrite something.
    #[error("`{}` exists already and is left alone", path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// No random bytes could be had.
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl PrivateFileError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

/// The content of `path`, at most 1 MiB, after checks of its owner, mode, kind and size.
///
/// # Errors
/// [`PrivateFileError`]: missing, unreadable, open to others, too large.
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, PrivateFileError> {
    read_all(path, &mut open_private(path, OFlags::RDONLY)?)
}

/// Writes a new file with mode 0600; never over an existing one.
///
/// # Errors
/// [`PrivateFileError::Exists`], [`PrivateFileError::WouldBeTooLarge`], [`PrivateFileError::Io`]; and after the file was
/// made [`PrivateFileError::NotSynced`].
pub fn create(path: &Path, content: &[u8]) -> Result<(), PrivateFileError> {
    check_len(path, content)?;
    let temporary = Temporary::beside(path)?;
    temporary.fill(content)?;
    temporary.take_free_name(path, |from, to| {
        rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)
    })?;
    sync_directory(path)
}

/// Puts `content` in place of what `path` holds, or makes the file with mode 0600. Owner, group and mode of the file stay,
/// but for rights of others, which end. Behind a symbolic link the file itself is replaced, not the link.
///
/// # Errors
/// [`PrivateFileError`]; the file is then as it was, but after [`PrivateFileError::NotSynced`].
pub fn replace(path: &Path, content: &[u8]) -> Result<(), PrivateFileError> {
    let path = &match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        found => found.map_err(PrivateFileError::io("open", path))?,
    };
    let model = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        opened => Some(opened.map_err(PrivateFileError::io("open", path))?),
    };
    put(path, model.as_ref(), content)
}

/// Gives a new file the name `path`, with the owner, group and mode of `model`.
fn put(path: &Path, model: Option<&File>, content: &[u8]) -> Result<(), PrivateFileError> {
    check_len(path, content)?;
    let temporary = Temporary::beside(path)?;
    if let Some(model) = model {
        temporary.adopt_owner(model)?;
    }
    temporary.fill(content)?;
    fs::rename(&temporary.path, path).map_err(PrivateFileError::io("replace", path))?;
    sync_directory(path)
}

/// A file that is held against other editors until this is dropped.
#[derive(Debug)]
pub(super) struct Locked {
    path: PathBuf,
    file: File,
    pub(super) content: Zeroizing<Vec<u8>>,
}

impl Locked {
    /// Waits for other editors, then holds and reads the file.
    pub(super) fn open(path: &Path) -> Result<Self, PrivateFileError> {
        // Behind a symbolic link the file itself is replaced, not the link.
        let path = fs::canonicalize(path).map_err(PrivateFileError::io("open", path))?;
        let (file, content) = lock(&path, |file| {
            rustix::fs::flock(file, FlockOperation::LockExclusive)
        })?;
        Ok(Self {
            path,
            file,
            content,
        })
    }

    /// The file that is held.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts `content` in its place. Owner, group and mode stay.
    pub(super) fn replace(&self, content: &[u8]) -> Result<(), PrivateFileError> {
        put(&self.path, Some(&self.file), content)
    }
}

fn check_len(path: &Path, content: &[u8]) -> Result<(), PrivateFileError> {
    match u64::try_from(content.len()) {
        Ok(len) if len <= MAX_FILE_LEN => Ok(()),
        _ => Err(PrivateFileError::WouldBeTooLarge {
            path: path.to_owned(),
            len: content.len(),
        }),
    }
}

fn open_private(path: &Path, access: OFlags) -> Result<File, PrivateFileError> {
    // Without NONBLOCK, opening a pipe would wait for a writer.
    let flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file: File = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|error| PrivateFileError::io("open", path)(error.into()))?
        .into();
    let metadata = file
        .metadata()
        .map_err(PrivateFileError::io("read", path))?;
    let path = path.to_owned();
    if !metadata.is_file() {
        return Err(PrivateFileError::NotAFile { path });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & FORBIDDEN_MODE != 0 {
        return Err(PrivateFileError::TooOpen { path, mode });
    }
    let owner = metadata.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(PrivateFileError::ForeignOwner { path, owner });
    }
    let len = metadata.len();
    if len > MAX_FILE_LEN {
        return Err(PrivateFileError::TooLarge { path, len });
    }
    Ok(file)
}

fn read_all(path: &Path, file: &mut File) -> Result<Zeroizing<Vec<u8>>, PrivateFileError> {
    let mut read = || {
        // One byte more than there is, so that no reallocation leaves a copy behind.
        let len = file.metadata()?.len().min(MAX_FILE_LEN).saturating_add(1);
        let capacity = usize::try_from(len).unwrap_or_default();
        let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
        file.take(len).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(PrivateFileError::io("read", path))
}

/// Opens and locks the file that `path` names once the lock is held: another editor may have replaced it meanwhile.
fn lock(
    path: &Path,
    flock: impl Fn(&File) -> Result<(), Errno>,
) -> Result<(File, Zeroizing<Vec<u8>>), PrivateFileError> {
    loop {
        let mut file = open_private(path, OFlags::RDONLY)?;
        let mut locked = flock(&file);
        if locked == Err(Errno::BADF) {
            // NFS makes a lock of bytes of it, and wants a file that may be written.
            file = open_private(path, OFlags::RDWR)?;
            locked = flock(&file);
        }
        locked.map_err(|error| PrivateFileError::io("lock", path)(error.into()))?;
        let held = file
            .metadata()
            .map_err(PrivateFileError::io("read", path))?;
        let named = fs::metadata(path).map_err(PrivateFileError::io("open", path))?;
        if (held.dev(), held.ino()) == (named.dev(), named.ino()) {
            let bytes = read_all(path, &mut file)?;
            return Ok((file, bytes));
        }
    }
}

fn sync_directory(path: &Path) -> Result<(), PrivateFileError> {
    let synced = File::open(directory(path)).and_then(|directory| directory.sync_all());
    match synced {
        // Some network file systems cannot sync a directory; their servers do it by themselves.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        Err(source) => Err(PrivateFileError::NotSynced {
            path: path.to_owned(),
            source,
        }),
        Ok(()) => Ok(()),
    }
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
    fn beside(path: &Path) -> Result<Self, PrivateFileError> {
        let suffix: [u8; 8] = random::array()?;
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}.new", hex::encode(suffix)));
        let temporary = directory(path).join(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::open(&temporary, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| PrivateFileError::io("create a file beside", path)(error.into()))?;
        Ok(Self {
            path: temporary,
            file: file.into(),
        })
    }

    /// Gives the file the owner, group and mode of the one that it replaces, before it has content.
    fn adopt_owner(&self, model: &File) -> Result<(), PrivateFileError> {
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
            let mode = wanted.mode() & 0o770;
            self.file.set_permissions(fs::Permissions::from_mode(mode))
        };
        adopt().map_err(PrivateFileError::io("set the owner of", &self.path))
    }

    fn fill(&self, content: &[u8]) -> Result<(), PrivateFileError> {
        (&self.file)
            .write_all(content)
            .and_then(|()| self.file.sync_all())
            .map_err(PrivateFileError::io("write", &self.path))
    }

    /// Gives the file the name `path` if nothing has it; `rename` moves without replacing.
    fn take_free_name(
        &self,
        path: &Path,
        rename: impl Fn(&Path, &Path) -> Result<(), Errno>,
    ) -> Result<(), PrivateFileError> {
        let taken = match rename(&self.path, path) {
            // NFS and many FUSE file systems know no flags of a rename; a second name never replaces anything either.
            Err(Errno::INVAL | Errno::NOSYS) => {
                rustix::fs::linkat(CWD, &self.path, CWD, path, AtFlags::empty())
                    .and_then(|()| rustix::fs::unlinkat(CWD, &self.path, AtFlags::empty()))
            }
            renamed => renamed,
        };
        taken.map_err(|error| match error {
            Errno::EXIST => PrivateFileError::Exists {
                path: path.to_owned(),
            },
            other => PrivateFileError::io("create", path)(other.into()),
        })
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
