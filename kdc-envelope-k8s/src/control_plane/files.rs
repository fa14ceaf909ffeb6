//! The ports on files: of the nodes, and of the state.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use kdc_envelope::ErrorChain;

use super::ports::{
    ChangeStore, ConfigTarget, ConfigTargets, PortError, StoredState, Update, Version,
};
use crate::encryption_config::{Layout, LocalKey};
use crate::files::{EarlierVersions, FilesError, NodeFolder, StateFolder};
use crate::rotation::{ConfigHash, Timestamp};

/// Configurations in folders that can be reached from this machine. Their files are small, so they are read in place.
#[derive(Debug)]
pub struct FolderTargets {
    targets: Vec<FolderTarget>,
}

#[derive(Debug)]
struct FolderTarget {
    server: Box<str>,
    folder: NodeFolder,
    earlier: Mutex<EarlierVersions>,
}

impl FolderTargets {
    /// The folder of each API server, by its name.
    #[must_use]
    pub fn new(folders: impl IntoIterator<Item = (Box<str>, NodeFolder)>) -> Self {
        let target = |(server, folder)| FolderTarget {
            server,
            folder,
            earlier: Mutex::default(),
        };
        Self {
            targets: folders.into_iter().map(target).collect(),
        }
    }

    fn folder(&self, server: &str) -> Result<&NodeFolder, PortError> {
        let found = self.targets.iter().find(|target| *target.server == *server);
        let target = found.ok_or_else(|| PortError::UnknownServer(server.into()))?;
        Ok(&target.folder)
    }
}

impl FolderTarget {
    fn observe(&self) -> Result<ConfigTarget, FilesError> {
        let file = self.folder.read();
        let mut earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(ConfigTarget {
            server: self.server.clone(),
            place: format!("`{}`", self.folder.config().display()).into(),
            file: file.map_err(|error| ErrorChain::new(&error).to_string().into()),
            keys: self.folder.keys()?,
            earlier: earlier.read(&self.folder)?,
        })
    }
}

#[async_trait]
impl ConfigTargets for FolderTargets {
    async fn observe(&self) -> Result<Vec<ConfigTarget>, PortError> {
        let targets = self.targets.iter().map(FolderTarget::observe);
        Ok(targets.collect::<Result<_, _>>()?)
    }

    async fn write(
        &self,
        server: &str,
        layout: &Layout,
        over: ConfigHash,
    ) -> Result<(), PortError> {
        Ok(self.folder(server)?.write(layout, over)?)
    }

    async fn store_key(
        &self,
        server: &str,
        key: &LocalKey,
        now: Timestamp,
    ) -> Result<(), PortError> {
        Ok(self.folder(server)?.keep(key, now)?)
    }
}

/// The lock of the folder keeps other tools away. The version notices an operator who edits a file or puts an earlier one back.
#[async_trait]
impl ChangeStore for StateFolder {
    async fn load(&self) -> Result<StoredState, PortError> {
        let version = version(self)?;
        let keyring = self.keyring()?;
        Ok(StoredState {
            row_writers: self.row_writers(&keyring)?,
            keyring,
            change: self.change()?,
            passes: self.passes()?,
            version,
        })
    }

    async fn save(&self, seen: &Version, update: &Update<'_>) -> Result<Version, PortError> {
        let found = version(self)?;
        if found != *seen {
            return Err(PortError::Stale {
                place: format!("the state in `{}`", self.path().display()).into(),
                seen: seen.clone(),
                found,
            });
        }
        if let Some(row_writers) = update.row_writers {
            self.save_row_writers(row_writers)?;
        }
        if let Some(keyring) = update.keyring {
            self.save_keyring(keyring)?;
        }
        if let Some(passes) = update.passes {
            self.save_passes(passes)?;
        }
        if let Some(change) = update.change {
            self.save_change(change)?;
        }
        Ok(version(self)?)
    }
}

/// Half of the hash of all files is enough to tell two states apart.
fn version(state: &StateFolder) -> Result<Version, FilesError> {
    let digest = state.digest()?;
    let digits = digest.iter().take(16).map(|byte| format!("{byte:02x}"));
    Ok(Version::new(digits.collect::<String>()))
}
