//! A file that no other user can read, and that has no name until it is whole.
//!
//! Where the file system can (`O_TMPFILE`), it has none at all: whatever ends the program, `kill -9` and a crash of the machine too, nothing
//! of it is left. Elsewhere it has a name of its own meanwhile, which is removed at every end that a program can notice.

use core::num::NonZeroU64;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use tempfile::NamedTempFile;

use super::interrupt::Watch;
use crate::failure::{Exit, Failure};
use crate::output::note;

/// Where the open files of this process have names.
const OPEN_FILES: &str = "/proc/self/fd";
/// Added to the number of the signal, as shells do it for programs that a signal ended.
const SIGNALLED: i32 = 128;

/// After so many bytes the kernel is told to begin writing them to the disk. Left alone it begins when a tenth of the memory is
/// waiting, and then [`PrivateFile::keep`] waits for the disk while nothing else is left to do.
const WRITE_BEHIND: u64 = 8 << 20;

/// A file on its way to be `path`. Dropped before [`keep`](Self::keep) it is gone.
#[derive(Debug)]
pub(super) struct PrivateFile {
    draft: Draft,
    path: PathBuf,
    flag: &'static str,
}

/// Writes from the beginning of a [`PrivateFile`], and lets the kernel write to the disk beside it.
#[derive(Debug)]
pub(super) struct Sink {
    file: File,
    written: u64,
    /// How many of the bytes written are on their way to the disk.
    sent: u64,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.written += count as u64;
        let waiting = NonZeroU64::new(self.written - self.sent);
        if let Some(waiting) = waiting.filter(|waiting| waiting.get() >= WRITE_BEHIND) {
            // For the speed alone: it begins to write dirty pages (posix_fadvise(2)), and where it does not, `keep` does.
            let _ = rustix::fs::fadvise(&self.file, self.sent, Some(waiting), Advice::DontNeed);
            self.sent = self.written;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
enum Draft {
    Unnamed(File),
    Named { file: NamedTempFile, watch: Watch },
}

impl PrivateFile {
    /// Makes the file in the folder of `path`, with mode 0600. Refuses to replace anything.
    pub(super) fn create(flag: &'static str, path: &Path) -> Result<Self, Failure> {
        if path.symlink_metadata().is_ok() {
            let line = format!("{flag}: `{}` exists; it is not replaced", path.display());
            return Err(Failure::new(Exit::CannotCreate, line));
        }
        let folder = folder_of(path);
        let cannot = |error: &io::Error| {
            let place = format!("{flag}: cannot create a file in `{}`", folder.display());
            Failure::at(Exit::CannotCreate, place, error)
        };
        let draft = match unnamed(folder).map_err(|error| cannot(&error))? {
            Some(file) => Draft::Unnamed(file),
            None => named(folder, cannot)?,
        };
        Ok(Self {
            draft,
            path: path.to_owned(),
            flag,
        })
    }

    fn file(&self) -> &File {
        match &self.draft {
            Draft::Unnamed(file) => file,
            Draft::Named { file, .. } => file.as_file(),
        }
    }

    /// To write into it.
    pub(super) fn sink(&self) -> Result<Sink, Failure> {
        let place = format!("{}: cannot write `{}`", self.flag, self.path.display());
        let file = self.file().try_clone();
        Ok(Sink {
            file: file.map_err(|error| Failure::at(Exit::Io, place, &error))?,
            written: 0,
            sent: 0,
        })
    }

    /// Makes it durable and gives it its name, unless something came there meanwhile.
    pub(super) fn keep(self) -> Result<(), Failure> {
        let place = format!("{}: cannot write `{}`", self.flag, self.path.display());
        let of_io = |error: &io::Error| Failure::at(Exit::Io, &place, error);
        self.file().sync_all().map_err(|error| of_io(&error))?;
        match self.draft {
            Draft::Unnamed(file) => {
                let unnamed = format!("{OPEN_FILES}/{}", file.as_raw_fd());
                let linked =
                    rustix::fs::linkat(CWD, unnamed, CWD, &self.path, AtFlags::SYMLINK_FOLLOW);
                linked.map_err(|errno| of_io(&errno.into()))?;
            }
            Draft::Named { file, watch } => {
                let file = file.persist_noclobber(&self.path);
                file.map_err(|error| of_io(&error.error))?;
                drop(watch);
            }
        }
        File::open(folder_of(&self.path))
            .and_then(|folder| folder.sync_all())
            .map_err(|error| of_io(&error))
    }
}

/// The folder in which `path` lies.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// `None` where the file system has no such files, or nothing could give one its name.
fn unnamed(folder: &Path) -> io::Result<Option<File>> {
    if !Path::new(OPEN_FILES).is_dir() {
        return Ok(None);
    }
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::openat(CWD, folder, flags, Mode::RUSR | Mode::WUSR) {
        Ok(fd) => Ok(Some(File::from(fd))),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn named(folder: &Path, cannot: impl FnOnce(&io::Error) -> Failure) -> Result<Draft, Failure> {
    let file = tempfile::Builder::new().prefix(".kdc-").tempfile_in(folder);
    let file = file.map_err(|error| cannot(&error))?;
    let path = file.path().to_owned();
    let shown = path.display().to_string();
    note(&format!(
        "this file system has no files without a name: until the plaintext is whole it is in `{shown}`, which kill -9 would leave behind"
    ));
    let watch = Watch::new(move |ending| {
        let end = match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                format!("`{shown}` holds plaintext and cannot be removed: {error}")
            }
            _ => "the plaintext is removed".to_owned(),
        };
        note(&format!("stopped by {}; {end}", ending.name));
        std::process::exit(SIGNALLED + ending.number);
    })?;
    Ok(Draft::Named { file, watch })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn drafts(folder: &Path) -> [PrivateFile; 2] {
        let path = folder.join("out");
        let named = named(folder, |error| Failure::of(Exit::Io, error)).unwrap();
        [
            PrivateFile::create("--out", &path).unwrap(),
            PrivateFile {
                draft: named,
                path,
                flag: "--out",
            },
        ]
    }

    #[test]
    fn a_file_appears_whole_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        for file in drafts(folder.path()) {
            file.sink().unwrap().write_all(b"plain").unwrap();
            assert!(!path.exists());
            file.keep().unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"plain");
            let mode = path.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            std::fs::remove_file(&path).unwrap();
        }
        for file in drafts(folder.path()) {
            std::fs::write(&path, "precious").unwrap();
            assert_eq!(file.keep().unwrap_err().exit(), Exit::Io);
            assert_eq!(std::fs::read(&path).unwrap(), b"precious");
            std::fs::remove_file(&path).unwrap();
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
