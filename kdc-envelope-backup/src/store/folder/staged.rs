//! Files on their way into a snapshot's folder.
//!
//! Until it is complete a file has a name of its own, `<object>.partial-` and six letters or digits, and its writer holds a lock on it. So what
//! a run left that was killed is told from what one writes that goes on.

use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;

use super::descriptor::Folder;
use crate::store::listing::{PARTIAL, PARTIAL_LEN, is_partial};

/// The folder of a snapshot, and that of its cluster.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) cluster: Folder,
    pub(super) id: OsString,
    pub(super) folder: Folder,
}

impl Home {
    /// Removes the folder if nothing is left in it.
    pub(super) fn leave(&self) {
        self.cluster.remove_if_empty(&self.id);
    }

    /// Whether a run that goes on is writing one of its files.
    pub(super) fn is_being_written(&self) -> io::Result<bool> {
        for name in self.partials()? {
            if self.is_locked(&name)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Deletes what runs that were killed left. Each file is locked until it is gone, so that a run that has just made it notices.
    pub(super) fn delete_rest(&self) -> io::Result<()> {
        for name in self.partials()? {
            let file = match self.folder.open_file(&name) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            match file.try_lock() {
                Ok(()) => absent_is_fine(self.folder.remove(&name))?,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(())
    }

    fn partials(&self) -> io::Result<Vec<OsString>> {
        let mut names = self.folder.names()?;
        names.retain(|name| name.to_str().is_some_and(is_partial));
        Ok(names)
    }

    fn is_locked(&self, name: &OsStr) -> io::Result<bool> {
        let file = match self.folder.open_file(name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        match file.try_lock() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// A file without its final name, which goes away unless it gets one.
#[derive(Debug)]
pub(super) struct Staged {
    home: Home,
    file: File,
    /// Empty once the file has its final name.
    name: OsString,
    target: OsString,
}

impl Staged {
    /// On its way to be `target`. [`io::ErrorKind::NotFound`] if another process deletes it, or its folder, as something that a run left.
    pub(super) fn new(home: Home, target: &OsStr) -> io::Result<Self> {
        let name = partial_name(target)?;
        let file = home.folder.create(&name)?;
        // Where nothing can be locked, nothing tells that this run goes on; prune then goes by the age alone.
        let is_deleted = match file.try_lock() {
            Err(TryLockError::WouldBlock) => true,
            Ok(()) | Err(TryLockError::Error(_)) => file.metadata()?.nlink() == 0,
        };
        if is_deleted {
            // The process that found it may leave it there all the same.
            absent_is_fine(home.folder.remove(&name))?;
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Self {
            home,
            file,
            name,
            target: target.to_owned(),
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    /// All of a small file, on the disk.
    pub(super) fn fill(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.file.sync_all()
    }

    /// Gives it its name, over what has it.
    pub(super) fn place(&mut self) -> io::Result<()> {
        self.home.folder.rename(&self.name, &self.target)?;
        self.name.clear();
        self.home.folder.sync()
    }

    /// Gives it its name unless something has it.
    pub(super) fn place_new(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        self.home.folder.rename_new(&self.name, &self.target)?;
        self.name.clear();
        self.home.folder.sync()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            // What stays is found by the inventory.
            let _ = self.home.folder.remove(&self.name);
            self.home.leave();
        }
    }
}

fn partial_name(target: &OsStr) -> io::Result<OsString> {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut random = [0; PARTIAL_LEN];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let letters = random.iter().map(|byte| {
        let letter = LETTERS.get(usize::from(byte % 32));
        char::from(letter.copied().unwrap_or(b'a'))
    });
    let mut name = target.to_owned();
    name.push(PARTIAL);
    name.push(letters.collect::<String>());
    Ok(name)
}

pub(super) fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
