//! A folder as bucket.
//!
//! Objects are files of mode 0600 that get their name when they are complete and on the disk. What compares before it writes holds a lock on
//! a file in the cluster's folder.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, FileType, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use tempfile::NamedTempFile;

use super::entries::{Object, ObjectInfo, PARTIAL};
use super::{METADATA, Replaced};
use crate::failure::{Exit, Failure, exit_of_io};

/// Held while metadata is compared and replaced; in the folder of a cluster.
const LOCK: &str = ".lock";
/// What file systems put into their root.
const LOST_AND_FOUND: &str = "lost+found";

/// A folder that holds clusters.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
}

impl Directory {
    pub(super) const fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn name(&self) -> String {
        self.root.display().to_string()
    }

    pub(super) fn create_data(&self, key: &str) -> Result<StagedData, Failure> {
        let path = self.path(key);
        let metadata = path.with_file_name(METADATA);
        if path.exists() || metadata.exists() {
            return Err(exists(&path));
        }
        let staged = self.stage(&path)?;
        Ok(StagedData {
            staged: Some(staged),
            path,
            len: 0,
        })
    }

    /// Writes a small file over what is there.
    pub(super) fn write(&self, key: &str, bytes: &[u8]) -> Result<(), Failure> {
        let path = self.path(key);
        let staged = self.stage_all(&path, bytes)?;
        let persisted = staged.persist(&path).map_err(|error| error.error);
        persisted.map_err(|error| cannot("write", &path, &error))?;
        sync_folder(&path)
    }

    /// Writes a small file unless there is one with another content.
    pub(super) fn create(&self, key: &str, bytes: &[u8]) -> Result<(), Failure> {
        let path = self.path(key);
        let staged = self.stage_all(&path, bytes)?;
        match staged.persist_noclobber(&path) {
            Ok(_) => sync_folder(&path),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                match self.read(key, bytes.len())? {
                    Some(old) if old == bytes => Ok(()),
                    _ => Err(exists(&path)),
                }
            }
            Err(error) => Err(cannot("create", &path, &error.error)),
        }
    }

    /// Writes a small file if the one that is there has the content `old`.
    pub(super) fn replace(&self, key: &str, bytes: &[u8], old: &[u8]) -> Result<Replaced, Failure> {
        let path = self.path(key);
        if self.read(key, old.len())?.as_deref() != Some(old) {
            return Ok(Replaced::Conflict);
        }
        // Whoever waits for the lock need not wait for the disk as well.
        let staged = self.stage_all(&path, bytes)?;
        let Some(lock) = self.lock(key)? else {
            return Ok(Replaced::Conflict);
        };
        if self.read(key, old.len())?.as_deref() != Some(old) {
            drop(staged);
            // If it was deleted meanwhile, staging made its folder again.
            let _ = path.parent().map(fs::remove_dir);
            return Ok(Replaced::Conflict);
        }
        let persisted = staged.persist(&path).map_err(|error| error.error);
        persisted.map_err(|error| cannot("write", &path, &error))?;
        drop(lock);
        sync_folder(&path)?;
        Ok(Replaced::Yes)
    }

    /// A small file; up to one byte more than `limit`, so that whoever parses it sees that it is too long.
    pub(super) fn read(&self, key: &str, limit: usize) -> Result<Option<Vec<u8>>, Failure> {
        let path = self.path(key);
        let read = File::open(&path).and_then(|file| {
            let mut bytes = Vec::new();
            let limit = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
            file.take(limit).read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        absent_is_none(read).map_err(|error| cannot("read", &path, &error))
    }

    pub(super) fn len(&self, key: &str) -> Result<Option<u64>, Failure> {
        let path = self.path(key);
        let metadata = absent_is_none(fs::metadata(&path));
        let metadata = metadata.map_err(|error| cannot("read", &path, &error))?;
        Ok(metadata.map(|metadata| metadata.len()))
    }

    pub(super) fn reader(
        &self,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<io::Take<File>, Failure> {
        let path = self.path(key);
        let range = range.unwrap_or(0..u64::MAX);
        let opened = File::open(&path).and_then(|mut file| {
            file.seek(SeekFrom::Start(range.start))?;
            Ok(file.take(range.end.saturating_sub(range.start)))
        });
        opened.map_err(|error| cannot("read", &path, &error))
    }

    /// Deletes a file, if there is one.
    pub(super) fn delete(&self, key: &str) -> Result<(), Failure> {
        let path = self.path(key);
        let _lock = match path.file_name().is_some_and(|name| name == METADATA) {
            true => self.lock(key)?,
            false => None,
        };
        match absent_is_none(fs::remove_file(&path)) {
            Ok(Some(())) => sync_folder(&path),
            Ok(None) => Ok(()),
            Err(error) => Err(cannot("delete", &path, &error)),
        }
    }

    /// Deletes what runs that were killed left beside `key`, and the folder if nothing else is in it.
    pub(super) fn delete_rest(&self, key: &str) -> Result<(), Failure> {
        let path = self.path(key);
        let Some(folder) = path.parent() else {
            return Ok(());
        };
        let names = absent_is_none(names_in(folder));
        let names = names.map_err(|error| cannot("read", folder, &error))?;
        for (name, _) in names.unwrap_or_default() {
            if name.to_string_lossy().contains(PARTIAL) {
                let path = folder.join(name);
                absent_is_none(fs::remove_file(&path))
                    .map_err(|error| cannot("delete", &path, &error))?;
            }
        }
        // What kdc does not know stays, and its folder with it.
        let _ = fs::remove_dir(folder);
        Ok(())
    }

    /// All files, folder by folder, in order of their names.
    pub(super) fn objects(&self, cluster: Option<&str>) -> Walk {
        let (path, key) = match cluster {
            Some(cluster) => (self.root.join(cluster), format!("{cluster}/")),
            None => (self.root.clone(), String::new()),
        };
        Walk {
            root: self.root.clone(),
            start: Some((path, key)),
            levels: Vec::new(),
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// A file without its final name, which goes away unless it gets one.
    fn stage(&self, path: &Path) -> Result<NamedTempFile, Failure> {
        let folder = path.parent().unwrap_or(&self.root);
        make_folders(folder).map_err(|error| cannot("create", folder, &error))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        tempfile::Builder::new()
            .prefix(&format!("{name}{PARTIAL}"))
            .tempfile_in(folder)
            .map_err(|error| cannot("create", path, &error))
    }

    fn stage_all(&self, path: &Path, bytes: &[u8]) -> Result<NamedTempFile, Failure> {
        let mut staged = self.stage(path)?;
        staged
            .write_all(bytes)
            .and_then(|()| staged.as_file().sync_all())
            .map_err(|error| cannot("write", path, &error))?;
        Ok(staged)
    }

    /// The lock of the cluster that `key` is of, until it is dropped; `None` if there is no such cluster.
    fn lock(&self, key: &str) -> Result<Option<File>, Failure> {
        let cluster = key.split('/').next().unwrap_or_default();
        let path = self.root.join(cluster).join(LOCK);
        let locked = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .and_then(|file| file.lock().map(|()| file));
        absent_is_none(locked).map_err(|error| cannot("lock", &path, &error))
    }
}

/// Data that is being written. Dropped before it is finished, it takes its folder with it if nothing else is there.
#[derive(Debug)]
pub(super) struct StagedData {
    staged: Option<NamedTempFile>,
    path: PathBuf,
    len: u64,
}

impl StagedData {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        let staged = self.staged.as_mut().map_or(Ok(0), |file| file.write(bytes));
        let written = staged.map_err(|error| cannot("write", &self.path, &error))?;
        self.len += u64::try_from(written).unwrap_or_default();
        Ok(written)
    }

    pub(super) fn finish(mut self) -> Result<u64, Failure> {
        let (path, len) = (self.path.as_path(), self.len);
        let Some(staged) = self.staged.take() else {
            return Ok(len);
        };
        staged
            .as_file()
            .sync_all()
            .map_err(|error| cannot("write", path, &error))?;
        match staged.persist_noclobber(path) {
            Ok(_) => sync_folder(path).map(|()| len),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(exists(path)),
            Err(error) => Err(cannot("create", path, &error.error)),
        }
    }
}

impl Drop for StagedData {
    fn drop(&mut self) {
        if let (Some(staged), Some(folder)) = (self.staged.take(), self.path.parent()) {
            drop(staged);
            // A folder in which anything is stays.
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Depth first, one folder's names at a time.
#[derive(Debug)]
pub(super) struct Walk {
    root: PathBuf,
    start: Option<(PathBuf, String)>,
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    path: PathBuf,
    key: String,
    names: std::vec::IntoIter<(OsString, FileType)>,
}

impl Walk {
    fn begin(&mut self) -> Result<(), Failure> {
        let Some((path, key)) = self.start.take() else {
            return Ok(());
        };
        // A cluster without a folder has no snapshots; a bucket without one is a mistake.
        fs::read_dir(&self.root).map_err(|error| {
            cannot("read", &self.root, &error).hint("--bucket names a folder or `s3://NAME`")
        })?;
        self.descend(path, key)
    }

    fn descend(&mut self, path: PathBuf, key: String) -> Result<(), Failure> {
        // What was deleted meanwhile is not there.
        let names = absent_is_none(names_in(&path));
        let names = names.map_err(|error| cannot("read", &path, &error))?;
        self.levels.push(Level {
            names: names.unwrap_or_default().into_iter(),
            path,
            key,
        });
        Ok(())
    }

    fn step(&mut self) -> Result<Option<Object>, Failure> {
        self.begin()?;
        while let Some(level) = self.levels.last_mut() {
            let Some((name, kind)) = level.names.next() else {
                self.levels.pop();
                continue;
            };
            let path = level.path.join(&name);
            let key = format!("{}{}", level.key, name.to_string_lossy());
            let depth = self.levels.len();
            let is_ours = name == LOCK || depth == 1 && name == LOST_AND_FOUND;
            if is_ours {
                continue;
            }
            if kind.is_dir() {
                self.descend(path, format!("{key}/"))?;
                continue;
            }
            let metadata = absent_is_none(fs::symlink_metadata(&path));
            let metadata = metadata.map_err(|error| cannot("read", &path, &error))?;
            if let Some(metadata) = metadata {
                let info = ObjectInfo {
                    len: metadata.len(),
                    modified: seconds(&metadata),
                };
                return Ok(Some(Object { key, info }));
            }
        }
        Ok(None)
    }
}

impl Iterator for Walk {
    type Item = Result<Object, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.levels.clear();
        }
        step.transpose()
    }
}

fn seconds(metadata: &fs::Metadata) -> u64 {
    let modified = metadata.modified().ok();
    let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_secs())
}

fn names_in(folder: &Path) -> io::Result<Vec<(OsString, FileType)>> {
    let mut names = fs::read_dir(folder)?
        .map(|entry| {
            let entry = entry?;
            Ok((entry.file_name(), entry.file_type()?))
        })
        .collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    Ok(names)
}

/// Makes the folder and those above it, for the owner alone, and puts their names on the disk.
fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent().filter(|parent| *parent != Path::new("")) {
        make_folders(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
        other => other?,
    }
    sync_parent(folder)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

fn sync_folder(path: &Path) -> Result<(), Failure> {
    sync_parent(path).map_err(|error| cannot("write the folder of", path, &error))
}

fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn exists(path: &Path) -> Failure {
    let line = format!("`{}` exists already", path.display());
    Failure::new(Exit::CannotCreate, line)
        .hint("a snapshot is never overwritten; take a new id, or let `kdc backup prune` delete it")
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    let place = format!("--bucket: cannot {what} `{}`", path.display());
    let exit = match error.kind() {
        io::ErrorKind::NotADirectory => Exit::NoInput,
        _ => exit_of_io(error),
    };
    Failure::at(exit, place, error)
}
