//! Folders by descriptor.
//!
//! Below the bucket's root everything is reached from the folder it lies in, name by name, and never through a symbolic link: a writer who may
//! write into the bucket cannot make a process read, write or delete elsewhere. Only regular files are read, and they are opened so that a pipe in
//! the place of one makes no caller wait.

use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);
/// Of files: no links, no wait for the other end of a pipe, no terminal that becomes ours.
const FILE: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// A folder that is open.
#[derive(Debug)]
pub(super) struct Folder {
    fd: OwnedFd,
    /// For messages.
    path: PathBuf,
}

/// What stands where a file or a folder should be. Its text is a clause for people.
#[derive(Debug, thiserror::Error)]
#[error("it is {}", describe(*.0))]
struct OtherKind(FileType);

impl Folder {
    /// The bucket itself. It was named by the caller, so it may be a symbolic link.
    pub(super) fn open_root(path: &Path) -> io::Result<Self> {
        Ok(Self {
            fd: rustix::fs::openat(CWD, path, FOLDER, Mode::empty())?,
            path: path.to_owned(),
        })
    }

    /// The same, made if it is not there.
    pub(super) fn make_root(path: &Path) -> io::Result<Self> {
        make_folders(path)?;
        Self::open_root(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn child(&self, name: &OsStr) -> io::Result<Self> {
        let opened = rustix::fs::openat(&self.fd, name, FOLDER | OFlags::NOFOLLOW, Mode::empty());
        let fd = opened.map_err(|errno| self.explain(name, errno))?;
        Ok(Self {
            fd,
            path: self.path.join(name),
        })
    }

    /// The same, made for the owner alone if it is not there, with its name on the disk.
    pub(super) fn make_child(&self, name: &OsStr) -> io::Result<Self> {
        match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(FOLDER_MODE)) {
            Ok(()) => self.sync()?,
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.child(name)
    }

    pub(super) fn open_file(&self, name: &OsStr) -> io::Result<File> {
        self.open_with(name, OFlags::RDONLY)
    }

    /// A file to hold a lock on, made if it is not there. Some file systems lock exclusively only what may be written.
    pub(super) fn open_lock(&self, name: &OsStr) -> io::Result<File> {
        self.open_with(name, OFlags::RDWR | OFlags::CREATE)
    }

    /// A new file.
    pub(super) fn create(&self, name: &OsStr) -> io::Result<File> {
        self.open_with(name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)
    }

    fn open_with(&self, name: &OsStr, flags: OFlags) -> io::Result<File> {
        let opened = rustix::fs::openat(&self.fd, name, FILE | flags, FILE_MODE);
        let file = File::from(opened.map_err(|errno| self.explain(name, errno))?);
        let kind = kind_of(&rustix::fs::fstat(&file)?);
        match kind {
            FileType::RegularFile => Ok(file),
            other => Err(other_kind(other)),
        }
    }

    /// What is there, without following a link.
    pub(super) fn stat(&self, name: &OsStr) -> io::Result<Stat> {
        Ok(rustix::fs::statat(
            &self.fd,
            name,
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    /// Whether a link leads to something that is there and no folder.
    pub(super) fn is_link_to_file(&self, name: &OsStr) -> bool {
        let target = rustix::fs::statat(&self.fd, name, AtFlags::empty());
        target.is_ok_and(|stat| kind_of(&stat) != FileType::Directory)
    }

    /// Removes a name that is no folder's.
    pub(super) fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())?)
    }

    /// Removes a folder if nothing is in it.
    pub(super) fn remove_if_empty(&self, name: &OsStr) {
        // Foreign files stay, and their folder with them.
        let _ = rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR);
    }

    /// Gives a file another name, over what has it.
    pub(super) fn rename(&self, old: &OsStr, new: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.fd, old, &self.fd, new)?)
    }

    /// Gives a file another name unless something has it.
    pub(super) fn rename_new(&self, old: &OsStr, new: &OsStr) -> io::Result<()> {
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(&self.fd, old, &self.fd, new, flags) {
            // File systems over a network do not know the flag.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            other => return Ok(other?),
        }
        rustix::fs::linkat(&self.fd, old, &self.fd, new, AtFlags::empty())?;
        self.remove(old)
    }

    /// Puts the names in it on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }

    /// What is in it, in order of the names.
    pub(super) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The system has one error number for several kinds of what is in the way.
    fn explain(&self, name: &OsStr, errno: Errno) -> io::Error {
        let is_of_kind = matches!(errno, Errno::NOTDIR | Errno::LOOP | Errno::NXIO);
        match self.stat(name).map(|stat| kind_of(&stat)) {
            Ok(kind) if is_of_kind && kind != FileType::RegularFile => other_kind(kind),
            _ => errno.into(),
        }
    }
}

pub(super) const fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn other_kind(kind: FileType) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, OtherKind(kind))
}

/// A noun with its article, and for links what to do.
pub(super) const fn describe(kind: FileType) -> &'static str {
    match kind {
        FileType::Symlink => {
            "a symbolic link, and none is followed inside a bucket; mount the other disk there, or name its folder as the store"
        }
        FileType::Directory => "a folder",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::BlockDevice | FileType::CharacterDevice => "a device",
        _ => "no regular file",
    }
}

/// Makes the folder and those above it, for the owner alone, and puts their names on the disk.
fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| *parent != Path::new(""));
    if let Some(parent) = parent {
        make_folders(parent)?;
    }
    match DirBuilder::new().mode(FOLDER_MODE).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
        other => other?,
    }
    File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
}
