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
use kdc_envelope::local::{LocalKek, ReplaceError};
use kdc_envelope::{ErrorChain, KekError, KeyEncryptionKey as _};
use kdc_envelope_kms::metrics::KeyringReloads;
use kdc_envelope_kms::server::Notice;

use crate::failure::Failure;
use kdc_shared::plugin::FileSource;

const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// A key, and the file that it came from.
pub(crate) struct KeyFile {
    source: FileSource,
    kek: Arc<LocalKek>,
    /// The state of the file whose key is in use.
    taken: Option<FileState>,
    /// What is wrong with the file, so that it is told once.
    trouble: Option<Trouble>,
}

/// Why a file is not usable, and the state in which it is not; `None` if not even that can be had.
#[derive(PartialEq, Eq)]
struct Trouble {
    state: Option<FileState>,
    reason: String,
}

/// Who is told what becomes of a file.
pub(crate) struct Audience {
    pub(crate) reloads: KeyringReloads,
    pub(crate) notice: Notice,
}

impl KeyFile {
    pub(crate) fn open(source: FileSource) -> Result<Self, Failure> {
        // Looked at before it is read: a change in between is then noticed at the first poll.
        let taken = FileState::of(source.path());
        let kek = Arc::new(LocalKek::new(source.load()?)?);
        Ok(Self {
            source,
            kek,
            taken,
            trouble: None,
        })
    }

    pub(crate) fn kek(&self) -> Arc<LocalKek> {
        Arc::clone(&self.kek)
    }

    /// Follows the file for ever.
    pub(crate) async fn follow(mut self, audience: Audience) {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            self.poll(&audience);
        }
    }

    /// Reads the file unless its key is in use. So one that could not be read or used is read again each time: what was wrong may
    /// pass without a change of the file, as a lack of file descriptors does.
    fn poll(&mut self, audience: &Audience) {
        let state = FileState::of(self.source.path());
        if state.is_some() && state == self.taken {
            if self.trouble.take().is_some() {
                audience.reloads.restored();
                audience.notice.clear();
                let file = self.source.path().display();
                tracing::info!(%file, "key file is again as it was when it was taken");
            }
            return;
        }
        match self.take() {
            Ok(()) => {
                self.taken = state;
                self.trouble = None;
                audience.reloads.taken();
                audience.notice.clear();
                if let Ok(status) = self.kek.status() {
                    let file = self.source.path().display();
                    tracing::info!(%file, version = status.version, key_id = %status.key_id, "key file reloaded");
                }
            }
            Err(error) => {
                let reason = ErrorChain::new(&error).to_string();
                self.refuse(Trouble { state, reason }, audience);
            }
        }
    }

    fn refuse(&mut self, trouble: Trouble, audience: &Audience) {
        if self.trouble.as_ref() == Some(&trouble) {
            return;
        }
        audience.reloads.refused();
        let (file, error) = (self.source.path().display(), &trouble.reason);
        audience.notice.set(&format!(
            "key file `{file}` changed but is not usable; the key in use stays: {error}"
        ));
        tracing::error!(%file, error, "key file changed but is not usable; the key in use stays, and the file is read again every second");
        self.trouble = Some(trouble);
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
