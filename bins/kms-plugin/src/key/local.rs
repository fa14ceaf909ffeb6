//! Loads a key encryption key from its file, and takes over what its file becomes.
//!
//! The file is polled, not watched: a poll also notices the symbolic link that kubelet swaps, a file that was
//! renamed into place, and a network file system; and one `stat` a second costs nothing.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kdc_envelope::local::keyring_file::KeyringFileError;
use kdc_envelope::local::{Keyring, LocalKek, ReplaceError, keyring_file, root_secret};
use kdc_envelope::{ErrorChain, KekError, KeyEncryptionKey as _};
use kdc_envelope_kms::metrics::KeyringReloads;

use crate::failure::Failure;
use crate::settings::FileSource;

const POLL_INTERVAL: Duration = Duration::from_secs(1);

impl FileSource {
    /// Reads the file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn load(&self) -> Result<Keyring, KeyringFileError> {
        match self {
            Self::Keyring(path) => keyring_file::load(path),
            Self::RootSecret(path) => root_secret::load(path),
        }
    }
}

/// A key, and the state of its file when it was read.
pub(crate) struct KeyFile {
    source: FileSource,
    kek: Arc<LocalKek>,
    seen: Option<FileState>,
}

impl KeyFile {
    pub(crate) fn open(source: FileSource) -> Result<Self, Failure> {
        // Looked at before it is read: a change in between is then noticed at the first poll.
        let seen = FileState::of(source.path());
        let kek = Arc::new(LocalKek::new(source.load()?)?);
        Ok(Self { source, kek, seen })
    }

    pub(crate) fn kek(&self) -> Arc<LocalKek> {
        Arc::clone(&self.kek)
    }

    /// Follows the file for ever.
    pub(crate) async fn follow(mut self, reloads: KeyringReloads) {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            self.poll(&reloads);
        }
    }

    fn poll(&mut self, reloads: &KeyringReloads) {
        let state = FileState::of(self.source.path());
        if state == self.seen {
            return;
        }
        self.seen = state;
        let file = self.source.path().display();
        match self.take() {
            Ok(()) => {
                reloads.taken();
                if let Ok(status) = self.kek.status() {
                    tracing::info!(%file, version = status.version, key_id = %status.key_id, "key file reloaded");
                }
            }
            Err(error) => {
                reloads.refused();
                tracing::error!(%file, error = %ErrorChain::new(&error), "key file changed but is not usable; the key in use stays");
            }
        }
    }

    fn take(&self) -> Result<(), ReloadError> {
        self.kek.replace(self.source.load()?)?;
        self.kek.status()?;
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Load(#[from] KeyringFileError),
    #[error(transparent)]
    Replace(#[from] ReplaceError),
    #[error(transparent)]
    Kek(#[from] KekError),
}

/// What changes when a file is written, replaced, or made readable.
#[derive(Debug, PartialEq, Eq)]
struct FileState {
    inode: (u64, u64),
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileState {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            inode: (metadata.dev(), metadata.ino()),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}
