//! A folder as a store.
//!
//! Objects are files of mode 0600 that get their name when they are complete and on the disk. What compares before it writes or deletes holds
//! a lock on a file in the cluster's folder.
//!
//! | module | holds |
//! |---|---|
//! | [`FolderStore`] | the folder for async callers |
//! | `descriptor` | folders by descriptor, so that no symbolic link leads out of the store |
//! | `staged` | files that have no final name yet |
//! | `lock` | one at a time |
//! | `walk` | everything that is there |

mod descriptor;
mod lock;
mod staged;
mod store;
mod walk;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::{DATA, DataSink, METADATA, NEVER_OVERWRITTEN, Replaced, WRAPPED_DEK};
use crate::error::{BackupError, BackupErrorKind as ErrorKind, Subject};
use descriptor::Folder;
use lock::{Lock, Turns, Waiting};
use staged::{Home, Staged, absent_is_fine};

pub use store::FolderStore;
use walk::Walk;

/// How often a folder is made again that a prune removed before anything was in it.
const MAX_TRIES: u32 = 100;

/// A folder that holds clusters.
#[derive(Debug)]
struct Directory {
    root: PathBuf,
    turns: Turns,
}

impl Directory {
    fn new(root: PathBuf, waiting: Waiting) -> Self {
        Self {
            root,
            turns: Turns::new(waiting),
        }
    }

    fn name(&self) -> String {
        self.root.display().to_string()
    }

    fn create_data(&self, key: &str) -> Result<StagedData, BackupError> {
        let path = self.path(key);
        for name in [DATA, METADATA] {
            if self.len(&with_file(key, name))?.is_some() {
                return Err(exists(&path));
            }
        }
        Ok(StagedData {
            staged: self.stage(key)?,
            path,
            len: 0,
        })
    }

    /// Writes a small file unless there is one with another content.
    fn create(&self, key: &str, bytes: &[u8]) -> Result<(), BackupError> {
        let staged = self.stage_all(key, bytes)?;
        self.place_new(staged, key, bytes)
    }

    /// The same with metadata, if the data is there: what deletes orphans may have been faster.
    fn commit(&self, key: &str, bytes: &[u8]) -> Result<(), BackupError> {
        let staged = self.stage_all(key, bytes)?;
        let _lock = self.lock(key)?;
        let data = with_file(key, DATA);
        if self.len(&data)?.is_none() {
            let line = format!("`{}` went away", self.path(&data).display());
            return Err(BackupError::new(ErrorKind::Io, line).about(Subject::Store));
        }
        self.place_new(staged, key, bytes)
    }

    fn place_new(&self, mut staged: Staged, key: &str, bytes: &[u8]) -> Result<(), BackupError> {
        match staged.place_new() {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                match self.read(key, bytes.len())? {
                    Some(old) if old == bytes => Ok(()),
                    _ => Err(exists(&self.path(key))),
                }
            }
            Err(error) => Err(cannot("create", &self.path(key), error)),
        }
    }

    /// Writes metadata, and the wrapped DEK beside it, if the metadata that is there has the content `old`.
    fn replace(
        &self,
        key: &str,
        json: &[u8],
        wrapped_dek: &str,
        old: &[u8],
    ) -> Result<Replaced, BackupError> {
        if self.read(key, old.len())?.as_deref() != Some(old) {
            return Ok(Replaced::Conflict);
        }
        // Processes that wait for the lock need not wait for the disk as well.
        let beside = with_file(key, WRAPPED_DEK);
        let mut staged_dek = self.stage_all(&beside, wrapped_dek.as_bytes())?;
        let mut staged = self.stage_all(key, json)?;
        let lock = self.lock(key)?;
        if lock.is_none() || self.read(key, old.len())?.as_deref() != Some(old) {
            return Ok(Replaced::Conflict);
        }
        // Whichever of the two a reader takes, it works.
        let failure = |key: &str, error: io::Error| cannot("write", &self.path(key), error);
        staged_dek
            .place()
            .map_err(|error| failure(&beside, error))?;
        staged.place().map_err(|error| failure(key, error))?;
        Ok(Replaced::Yes)
    }

    /// A small file; up to one byte more than `limit`, so that a parser sees that it is too long.
    fn read(&self, key: &str, limit: usize) -> Result<Option<Vec<u8>>, BackupError> {
        let read = self.open(key).and_then(|file| {
            let mut bytes = Vec::new();
            let limit = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
            file.take(limit).read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        absent_is_none(read).map_err(|error| cannot("read", &self.path(key), error))
    }

    fn len(&self, key: &str) -> Result<Option<u64>, BackupError> {
        let metadata = absent_is_none(self.open(key).and_then(|file| file.metadata()));
        let metadata = metadata.map_err(|error| cannot("read", &self.path(key), error))?;
        Ok(metadata.map(|metadata| metadata.len()))
    }

    fn reader(&self, key: &str, range: Option<Range<u64>>) -> Result<io::Take<File>, BackupError> {
        let range = range.unwrap_or(0..u64::MAX);
        let opened = self.open(key).and_then(|mut file| {
            file.seek(SeekFrom::Start(range.start))?;
            Ok(file.take(range.end.saturating_sub(range.start)))
        });
        opened.map_err(|error| cannot("read", &self.path(key), error))
    }

    /// Deletes a file, if there is one.
    fn delete(&self, key: &str) -> Result<(), BackupError> {
        let deleted = self.find(key).and_then(|(home, name)| {
            home.folder.remove(OsStr::new(name))?;
            home.folder.sync()
        });
        absent_is_fine(deleted).map_err(|error| cannot("delete", &self.path(key), error))
    }

    /// Deletes what runs that were killed left beside `key`, and the folder if nothing else is in it.
    fn delete_rest(&self, key: &str) -> Result<(), BackupError> {
        let deleted = self.find(key).and_then(|(home, _)| {
            home.delete_rest()?;
            home.leave();
            Ok(())
        });
        let path = self.path(key);
        let folder = path.parent().unwrap_or(&path);
        absent_is_fine(deleted).map_err(|error| cannot("delete", folder, error))
    }

    /// Whether a run that goes on is writing into the folder of `key`.
    fn is_being_written(&self, key: &str) -> Result<bool, BackupError> {
        let found = self.find(key).and_then(|(home, _)| home.is_being_written());
        let is_written = absent_is_none(found).map_err(|error| {
            let path = self.path(key);
            cannot("read", path.parent().unwrap_or(&path), error)
        })?;
        Ok(is_written.unwrap_or(false))
    }

    /// All files below some folders, folder by folder, in order of their names.
    fn objects(&self, below: &[&str]) -> Walk {
        Walk::new(self.root.clone(), below)
    }

    /// The lock of the cluster that `key` is of, until it is dropped; `None` if there is no such cluster.
    fn lock(&self, key: &str) -> Result<Option<Lock>, BackupError> {
        let (cluster, _, _) = parts(key);
        let folder = Folder::open_root(&self.root).and_then(|root| root.child(OsStr::new(cluster)));
        let path = self.root.join(cluster);
        match absent_is_none(folder).map_err(|error| cannot("read", &path, error))? {
            Some(folder) => self.turns.wait(&folder).map(Some),
            None => Ok(None),
        }
    }

    /// For messages.
    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    fn open(&self, key: &str) -> io::Result<File> {
        let (home, name) = self.find(key)?;
        home.folder.open_file(OsStr::new(name))
    }

    /// The folder that `key` lies in, and its name there.
    fn find<'k>(&self, key: &'k str) -> io::Result<(Home, &'k str)> {
        let (cluster, id, name) = parts(key);
        let cluster = Folder::open_root(&self.root)?.child(OsStr::new(cluster))?;
        let folder = cluster.child(OsStr::new(id))?;
        let id = id.into();
        Ok((
            Home {
                cluster,
                id,
                folder,
            },
            name,
        ))
    }

    /// A file without its final name, which goes away unless it gets one.
    fn stage(&self, key: &str) -> Result<Staged, BackupError> {
        let (cluster, id, name) = parts(key);
        let stage = || {
            let root = Folder::make_root(&self.root)?;
            let cluster = root.make_child(OsStr::new(cluster))?;
            let folder = cluster.make_child(OsStr::new(id))?;
            let id = id.into();
            let home = Home {
                cluster,
                id,
                folder,
            };
            Staged::new(home, OsStr::new(name))
        };
        let mut tries = 0;
        loop {
            match stage() {
                Ok(staged) => return Ok(staged),
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < MAX_TRIES => {
                    tries += 1;
                }
                Err(error) => return Err(cannot("create", &self.path(key), error)),
            }
        }
    }

    fn stage_all(&self, key: &str, bytes: &[u8]) -> Result<Staged, BackupError> {
        let mut staged = self.stage(key)?;
        let filled = staged.fill(bytes);
        filled.map_err(|error| cannot("write", &self.path(key), error))?;
        Ok(staged)
    }
}

/// Data that is being written. Dropped before it is finished, it takes its folder with it if nothing else is there.
#[derive(Debug)]
struct StagedData {
    staged: Staged,
    path: PathBuf,
    len: u64,
}

impl Write for StagedData {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.staged.write(bytes);
        let written = written.map_err(|error| cannot("write", &self.path, error))?;
        self.len += u64::try_from(written).unwrap_or_default();
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DataSink for StagedData {
    fn finish(mut self: Box<Self>) -> Result<u64, BackupError> {
        match self.staged.place_new() {
            Ok(()) => Ok(self.len),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(&self.path)),
            Err(error) => Err(cannot("create", &self.path, error)),
        }
    }

    fn abort(self: Box<Self>) -> Result<(), BackupError> {
        Ok(())
    }
}

/// Cluster, id and file. All keys of this module have these three.
fn parts(key: &str) -> (&str, &str, &str) {
    let mut parts = key.splitn(3, '/');
    let mut next = || parts.next().unwrap_or_default();
    (next(), next(), next())
}

/// Another file of the same snapshot.
fn with_file(key: &str, file: &str) -> String {
    let (cluster, id, _) = parts(key);
    format!("{cluster}/{id}/{file}")
}

fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn exists(path: &Path) -> BackupError {
    let line = format!("`{}` exists already", path.display());
    BackupError::new(ErrorKind::AlreadyExists, line).advise(NEVER_OVERWRITTEN)
}

fn cannot(what: &str, path: &Path, error: io::Error) -> BackupError {
    let place = format!("cannot {what} `{}`", path.display());
    let kind = match (error.kind(), what) {
        (io::ErrorKind::NotADirectory, _) => ErrorKind::NotFound,
        // Something else than a file or folder stands there.
        (io::ErrorKind::InvalidData, "create") => ErrorKind::AlreadyExists,
        (io::ErrorKind::InvalidData, _) => ErrorKind::Damaged,
        _ => ErrorKind::of_io(&error),
    };
    BackupError::at(kind, place, error).about(Subject::Store)
}
