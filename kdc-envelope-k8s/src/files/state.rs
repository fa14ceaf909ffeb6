//! What is kept for the cluster as a whole: every key, the wish, and the last complete passes over the rows.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use kdc_envelope::local::private_file::{self, PrivateFileError};
use rustix::fs::FlockOperation;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::FilesError;
use super::node::{create_private_folder, read_history, write_history};
use crate::encryption_config::{GroupResource, Transformer};
use crate::rotation::history::KeyHistory;
use crate::rotation::wish::Writer;
use crate::rotation::{Pass, RowWriters, Wish};

const KEYRING: &str = "keyring";
const WISH: &str = "wish.json";
const PASSES: &str = "passes.json";
const ROWS: &str = "row-writers.json";
const LOCK: &str = "lock";

/// A folder of its own for the state. Of its files only the keyring holds keys.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    /// Held while the state may be changed.
    lock: Option<File>,
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

/// [`RowWriters`] by name, so that the file holds no key.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NotedRows {
    revision: u64,
    writers: BTreeMap<GroupResource, Vec<Writer>>,
}

impl StateFolder {
    /// To read only. The folder need not exist.
    #[must_use]
    pub fn look(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { path, lock: None }
    }

    /// To change it, alone. Makes the folder if needed.
    ///
    /// # Errors
    /// [`FilesError::Busy`] if somebody else does; [`FilesError::Io`].
    pub fn hold(path: impl Into<PathBuf>) -> Result<Self, FilesError> {
        let path = path.into();
        create_private_folder(&path)?;
        let file = path.join(LOCK);
        let lock = File::create(&file).map_err(FilesError::io("create", &file))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self {
                path,
                lock: Some(lock),
            }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(FilesError::Busy { path: file }),
            Err(error) => Err(FilesError::io("lock", &file)(error.into())),
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

    /// The last wish.
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn wish(&self) -> Result<Option<Wish>, FilesError> {
        self.read(WISH)
    }

    /// Replaces the wish.
    ///
    /// # Errors
    /// [`FilesError`]; the wish is then as it was.
    pub fn save_wish(&self, wish: &Wish) -> Result<(), FilesError> {
        self.write(WISH, wish)
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
        let Some(noted) = self.read::<NotedRows>(ROWS)? else {
            return Ok(None);
        };
        let known: Vec<&Transformer> = keyring
            .entries()
            .iter()
            .map(|entry| &entry.transformer)
            .collect();
        let resolved = |(resource, names): (GroupResource, Vec<Writer>)| {
            let writers = names.iter().map(|name| name.resolve(&known));
            Ok((resource, writers.collect::<Result<_, _>>()?))
        };
        let writers = noted.writers.into_iter().map(resolved).collect::<Result<_, _>>();
        let writers = writers.map_err(|source| FilesError::Rows {
            path: self.path.join(ROWS),
            source,
        })?;
        Ok(Some(RowWriters {
            revision: noted.revision,
            writers,
        }))
    }

    /// Replaces it.
    ///
    /// # Errors
    /// [`FilesError`]; it is then as it was.
    pub fn save_row_writers(&self, row_writers: &RowWriters) -> Result<(), FilesError> {
        let named = |(resource, writers): (&GroupResource, &Vec<Transformer>)| {
            (resource.clone(), writers.iter().map(Writer::of).collect())
        };
        let noted = NotedRows {
            revision: row_writers.revision,
            writers: row_writers.writers.iter().map(named).collect(),
        };
        self.write(ROWS, &noted)
    }

    fn check_held(&self) -> Result<(), FilesError> {
        match &self.lock {
            Some(_) => Ok(()),
            None => Err(FilesError::NotHeld {
                path: self.path.clone(),
            }),
        }
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, FilesError> {
        let path = self.path.join(name);
        let bytes = match private_file::read(&path) {
            Err(PrivateFileError::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                return Ok(None);
            }
            bytes => bytes?,
        };
        let value = serde_json::from_slice(&bytes);
        value
            .map(Some)
            .map_err(|source| FilesError::State { path, source })
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
