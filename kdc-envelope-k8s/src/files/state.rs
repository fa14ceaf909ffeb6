//! What is kept for the cluster as a whole: every key, the change, and the last complete passes over the rows.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use kdc_envelope::local::private_file::{self, PrivateFileError};
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::FilesError;
use super::node::{NodeFolder, create_private_folder, read_history, write_history};
use crate::encryption_config::{GroupResource, Transformer};
use crate::rotation::history::KeyHistory;
use crate::rotation::{Change, Pass, RowWriters, UnknownWriter, Writer};

const KEYRING: &str = "keyring";
const CHANGE: &str = "wish.json";
const PASSES: &str = "passes.json";
const ROWS: &str = "row-writers.json";
const LOCK: &str = "lock";

/// A folder of its own for the state. Of its files only the keyring holds keys.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    /// Held while the state may be changed.
    locks: Vec<File>,
}

/// The last complete passes over the rows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Passes {
    /// The one that rewrote them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rewritten: Option<Pass>,
    /// The one that found nothing to rewrite.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verified: Option<Pass>,
}

/// [`RowWriters`] by name, so that what is stored holds no key.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NamedRowWriters {
    revision: u64,
    writers: BTreeMap<GroupResource, Vec<Writer>>,
}

impl NamedRowWriters {
    /// The names of `row_writers`.
    pub(crate) fn of(row_writers: &RowWriters) -> Self {
        let named = |(resource, writers): (&GroupResource, &Vec<Transformer>)| {
            (resource.clone(), writers.iter().map(Writer::of).collect())
        };
        Self {
            revision: row_writers.revision,
            writers: row_writers.writers.iter().map(named).collect(),
        }
    }

    /// What the names stand for in `keyring`.
    pub(crate) fn resolve(self, keyring: &KeyHistory) -> Result<RowWriters, UnknownWriter> {
        let entries = keyring.entries().iter();
        let known: Vec<&Transformer> = entries.map(|entry| &entry.transformer).collect();
        let resolved = |(resource, names): (GroupResource, Vec<Writer>)| {
            let writers = names.iter().map(|name| name.resolve(&known));
            Ok((resource, writers.collect::<Result<_, _>>()?))
        };
        Ok(RowWriters {
            revision: self.revision,
            writers: self
                .writers
                .into_iter()
                .map(resolved)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl StateFolder {
    /// To read only. The folder need not exist.
    #[must_use]
    pub fn read_only(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            path,
            locks: Vec::new(),
        }
    }

    /// To change it, alone. Makes the folder if needed.
    ///
    /// # Errors
    /// [`FilesError::Busy`] if another process does; [`FilesError::OpenFolder`]; [`FilesError::Io`].
    pub fn hold(path: impl Into<PathBuf>) -> Result<Self, FilesError> {
        let path = path.into();
        create_private_folder(&path)?;
        check_folder(&path)?;
        let mut state = Self {
            locks: Vec::new(),
            path,
        };
        state.lock(&state.path.join(LOCK))?;
        Ok(state)
    }

    /// Holds the configuration of `node` too, against a run with another state. One that several nodes share is held once.
    ///
    /// # Errors
    /// [`FilesError::Busy`] if another process does; [`FilesError::Io`]. A folder that is missing is no error: nothing can be
    /// written there.
    pub fn hold_node(&mut self, node: &NodeFolder) -> Result<(), FilesError> {
        let missing = |error: &FilesError| matches!(error, FilesError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound);
        match self.lock(&node.lock()) {
            Err(error) if missing(&error) => Ok(()),
            locked => locked,
        }
    }

    fn lock(&mut self, path: &Path) -> Result<(), FilesError> {
        let file = open_lock(path)?;
        let id = |file: &File| file.metadata().map(|found| (found.dev(), found.ino()));
        let opened = id(&file).map_err(FilesError::io("open", path))?;
        let is_held = |held: &File| id(held).is_ok_and(|held| held == opened);
        if self.locks.iter().any(is_held) {
            return Ok(());
        }
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                self.locks.push(file);
                Ok(())
            }
            Err(rustix::io::Errno::WOULDBLOCK) => Err(FilesError::Busy {
                path: path.to_owned(),
            }),
            Err(error) => Err(FilesError::io("lock", path)(error.into())),
        }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The keyring; empty if there is none yet.
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn keyring(&self) -> Result<KeyHistory, FilesError> {
        read_history(&self.path.join(KEYRING))
    }

    /// Replaces the keyring.
    ///
    /// # Errors
    /// [`FilesError`]; the keyring is then as it was.
    pub fn save_keyring(&self, keyring: &KeyHistory) -> Result<(), FilesError> {
        self.check_held()?;
        write_history(&self.path.join(KEYRING), keyring)
    }

    /// The last change.
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn change(&self) -> Result<Option<Change>, FilesError> {
        self.read(CHANGE)
    }

    /// Replaces the change.
    ///
    /// # Errors
    /// [`FilesError`]; the change is then as it was.
    pub fn save_change(&self, change: &Change) -> Result<(), FilesError> {
        self.write(CHANGE, change)
    }

    /// The last complete passes.
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn passes(&self) -> Result<Passes, FilesError> {
        Ok(self.read(PASSES)?.unwrap_or_default())
    }

    /// Replaces them.
    ///
    /// # Errors
    /// [`FilesError`]; they are then as they were.
    pub fn save_passes(&self, passes: &Passes) -> Result<(), FilesError> {
        self.write(PASSES, passes)
    }

    /// What was noted of the rows with the newest revision; `None` if nothing was. Names are those of `keyring`.
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn row_writers(&self, keyring: &KeyHistory) -> Result<Option<RowWriters>, FilesError> {
        let Some(named) = self.read::<NamedRowWriters>(ROWS)? else {
            return Ok(None);
        };
        let resolved = named.resolve(keyring);
        resolved.map(Some).map_err(|source| FilesError::Rows {
            path: self.path.join(ROWS),
            source,
        })
    }

    /// Replaces it.
    ///
    /// # Errors
    /// [`FilesError`]; it is then as it was.
    pub fn save_row_writers(&self, row_writers: &RowWriters) -> Result<(), FilesError> {
        self.write(ROWS, &NamedRowWriters::of(row_writers))
    }

    /// SHA-256 over the content of all files of the state: it differs as soon as one of them does.
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn digest(&self) -> Result<[u8; 32], FilesError> {
        let mut digest = Sha256::new();
        for name in [KEYRING, CHANGE, PASSES, ROWS] {
            let bytes = self.bytes(name)?;
            let len = bytes
                .as_ref()
                .map_or(0, |bytes| bytes.len().saturating_add(1));
            digest.update(u64::try_from(len).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(bytes.as_deref().map_or(&[][..], |bytes| bytes.as_slice()));
        }
        Ok(digest.finalize().into())
    }

    fn check_held(&self) -> Result<(), FilesError> {
        match self.locks.is_empty() {
            false => Ok(()),
            true => Err(FilesError::NotHeld {
                path: self.path.clone(),
            }),
        }
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, FilesError> {
        let Some(bytes) = self.bytes(name)? else {
            return Ok(None);
        };
        let value = serde_json::from_slice(&bytes);
        value.map(Some).map_err(|source| FilesError::State {
            path: self.path.join(name),
            source,
        })
    }

    /// The content of a file; `None` if there is no such file.
    fn bytes(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, FilesError> {
        match private_file::read(&self.path.join(name)) {
            Err(PrivateFileError::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                Ok(None)
            }
            bytes => Ok(Some(bytes?)),
        }
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), FilesError> {
        self.check_held()?;
        let path = self.path.join(name);
        let text = serde_json::to_vec_pretty(value);
        let text = text.map_err(|source| FilesError::State {
            path: path.clone(),
            source,
        })?;
        Ok(private_file::replace(&path, &text)?)
    }
}

/// Neither through a link nor into a device, and nothing is cut off.
fn open_lock(path: &Path) -> Result<File, FilesError> {
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR);
    let file: File = opened
        .map_err(|error| FilesError::io("create", path)(error.into()))?
        .into();
    let metadata = file.metadata().map_err(FilesError::io("open", path))?;
    if !metadata.is_file() {
        let path = path.to_owned();
        return Err(PrivateFileError::NotAFile { path }.into());
    }
    Ok(file)
}

/// Every user who may write to the folder decides what the state is.
fn check_folder(path: &Path) -> Result<(), FilesError> {
    let metadata = std::fs::metadata(path).map_err(FilesError::io("open", path))?;
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    let is_own = owner == 0 || owner == rustix::process::geteuid().as_raw();
    if is_own && mode & 0o022 == 0 {
        return Ok(());
    }
    Err(FilesError::OpenFolder {
        path: path.to_owned(),
        owner,
        mode,
    })
}
