//! One at a time: who compares and then replaces or deletes holds a lock on a file in the cluster's folder.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::cannot;
use super::descriptor::Folder;
use crate::error::Subject;
use crate::error::{BackupError, BackupErrorKind as ErrorKind};

/// In the folder of a cluster.
pub(super) const LOCK: &str = ".lock";
/// A process that holds it longer is not at work: it is held for as long as a few small files need.
const TIMEOUT: Duration = match cfg!(test) {
    true => Duration::from_millis(300),
    false => Duration::from_secs(60),
};
/// After which the caller is told what is waited for.
const QUIET: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

/// Threads of this process wait for each other here, and only one of them for other processes.
#[derive(Debug)]
pub(super) struct Turns {
    turn: Arc<Mutex<Turn>>,
    waiting: Waiting,
}

/// Told the lock's path, and the longest wait for it, when another process holds it for long.
#[derive(Clone)]
pub(super) struct Waiting(Arc<Tell>);

type Tell = dyn Fn(&Path, Duration) + Send + Sync;

impl Waiting {
    pub(super) fn new(tell: impl Fn(&Path, Duration) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Turn {
    /// One of us has waited in vain: the others need not do the same.
    gave_up: bool,
}

/// Held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
    _turn: OwnedMutexGuard<Turn>,
}

impl Turns {
    pub(super) fn new(waiting: Waiting) -> Self {
        Self {
            turn: Arc::default(),
            waiting,
        }
    }

    /// Waits for the lock of a cluster, on a thread that may wait.
    pub(super) fn wait(&self, cluster: &Folder) -> Result<Lock, BackupError> {
        let mut turn = Arc::clone(&self.turn).blocking_lock_owned();
        let path = cluster.path().join(LOCK);
        if turn.gave_up {
            return Err(held(&path));
        }
        let file = cluster.open_lock(OsStr::new(LOCK));
        let file = file.map_err(|error| cannot("lock", &path, error))?;
        let begin = Instant::now();
        let mut is_told = false;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(cannot("lock", &path, error)),
            }
            let waited = begin.elapsed();
            if waited >= TIMEOUT {
                turn.gave_up = true;
                return Err(held(&path));
            }
            if waited >= QUIET && !is_told {
                is_told = true;
                (self.waiting.0)(&path, TIMEOUT);
            }
            std::thread::sleep(PAUSE);
        }
        Ok(Lock {
            _file: file,
            _turn: turn,
        })
    }
}

fn held(path: &Path) -> BackupError {
    let seconds = TIMEOUT.as_secs();
    let line = format!(
        "`{}` is still locked by another process after {seconds} s",
        path.display()
    );
    BackupError::new(ErrorKind::Unavailable, line)
        .about(Subject::Store)
        .advise("`fuser` or `lslocks` shows which process")
}
