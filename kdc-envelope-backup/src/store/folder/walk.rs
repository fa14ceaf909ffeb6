//! Everything in a folder, depth first, one folder's names at a time.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;

use kdc_envelope::snapshot::check_name;
use rustix::fs::{FileType, Stat};

use super::descriptor::{Folder, describe, kind_of};
use super::lock::LOCK;
use super::{absent_is_none, cannot};
use crate::error::BackupError;
use crate::store::listing::{Found, Object, ObjectInfo, Obstacle};

/// What file systems put into their root.
const LOST_AND_FOUND: &str = "lost+found";
/// Snapshots lie two folders deep. What is nested deeper than this is not looked through: each level keeps a folder open.
const MAX_DEPTH: usize = 16;

/// The files of a bucket, or of a part of it.
#[derive(Debug)]
pub(super) struct Walk {
    root: PathBuf,
    /// The names of the folders to begin in, until it has begun.
    start: Option<Vec<String>>,
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    folder: Folder,
    key: String,
    names: std::vec::IntoIter<OsString>,
}

impl Walk {
    /// Through all that is below `start`.
    pub(super) fn new(root: PathBuf, start: &[&str]) -> Self {
        Self {
            root,
            start: Some(start.iter().map(|name| (*name).to_owned()).collect()),
            levels: Vec::new(),
        }
    }

    fn begin(&mut self) -> Result<(), BackupError> {
        let Some(start) = self.start.take() else {
            return Ok(());
        };
        // A cluster without a folder has no snapshots; a bucket without one is a mistake.
        let mut folder = Folder::open_root(&self.root).map_err(|error| {
            cannot("read", &self.root, error).advise("{store} names a folder or `s3://NAME`")
        })?;
        let mut key = String::new();
        for name in start {
            let child = absent_is_none(folder.child(OsStr::new(&name)));
            let path = folder.path().join(&name);
            match child.map_err(|error| cannot("read", &path, error))? {
                Some(child) => folder = child,
                None => return Ok(()),
            }
            key = format!("{key}{name}/");
        }
        self.descend(folder, key)
    }

    fn descend(&mut self, folder: Folder, key: String) -> Result<(), BackupError> {
        // What was deleted meanwhile is not there.
        let names = absent_is_none(folder.names());
        let names = names.map_err(|error| cannot("read", folder.path(), error))?;
        self.levels.push(Level {
            names: names.unwrap_or_default().into_iter(),
            folder,
            key,
        });
        Ok(())
    }

    fn step(&mut self) -> Result<Option<Found>, BackupError> {
        self.begin()?;
        while let Some(level) = self.levels.last_mut() {
            let Some(name) = level.names.next() else {
                self.levels.pop();
                continue;
            };
            if let Some(found) = self.visit(&name)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// A file, or nothing after a folder whose files come next.
    fn visit(&mut self, name: &OsStr) -> Result<Option<Found>, BackupError> {
        let is_too_deep = self.levels.len() >= MAX_DEPTH;
        let Some(level) = self.levels.last() else {
            return Ok(None);
        };
        let path = level.folder.path().join(name);
        let failure = |error: io::Error| cannot("read", &path, error);
        let Some(stat) = absent_is_none(level.folder.stat(name)).map_err(failure)? else {
            return Ok(None);
        };
        let key = format!("{}{}", level.key, name.to_string_lossy());
        let depth = level.key.matches('/').count();
        let kind = kind_of(&stat);
        let what = match kind {
            FileType::Directory if depth == 0 && name == LOST_AND_FOUND => return Ok(None),
            FileType::Directory if is_too_deep => "a folder that is nested too deeply",
            FileType::Directory => {
                if let Some(child) = absent_is_none(level.folder.child(name)).map_err(failure)? {
                    self.descend(child, format!("{key}/"))?;
                }
                return Ok(None);
            }
            FileType::RegularFile if depth == 1 && name == LOCK => return Ok(None),
            FileType::RegularFile => return Ok(Some(Found::Object(object(key, &stat)))),
            kind => describe(kind),
        };
        // A link that leads to nothing may be to a disk that is not mounted.
        let is_named = name
            .to_str()
            .is_some_and(|name| check_name("", name).is_ok());
        let is_to_folder =
            kind == FileType::Symlink && is_named && !level.folder.is_link_to_file(name);
        Ok(Some(Found::Obstacle(Obstacle {
            key,
            what,
            hides_snapshots: kind == FileType::Directory || depth < 2 && is_to_folder,
            modified: modified(&stat),
        })))
    }
}

impl Iterator for Walk {
    type Item = Result<Found, BackupError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.levels.clear();
        }
        step.transpose()
    }
}

fn object(key: String, stat: &Stat) -> Object {
    let info = ObjectInfo {
        len: u64::try_from(stat.st_size).unwrap_or(0),
        modified: modified(stat),
    };
    Object { key, info }
}

fn modified(stat: &Stat) -> u64 {
    u64::try_from(stat.st_mtime).unwrap_or(0)
}
