//! One at a time: who compares and then replaces or deletes holds a lock on a file in the cluster's folder.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::cannot;
use super::folder::Folder;
use crate::failure::{Exit, Failure};
use crate::output::note;

/// In the folder of a cluster.
pub(super) const LOCK: &str = ".lock";
/// Whoever holds it longer is not at work: it is held for as long as a few small files need.
const PATIENCE: Duration = match cfg!(test) {
    true => Duration::from_millis(300),
    false => Duration::from_secs(60),
};
/// After which a person is told what is waited for.
const QUIET: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

/// Threads of this process wait for each other here, and only one of them for other processes.
#[derive(Debug, Default)]
pub(super) struct Turns {
    turn: Mutex<Turn>,
}

#[derive(Debug, Default)]
struct Turn {
    /// One of us has waited in vain: the others need not do the same.
    gave_up: bool,
}

/// Held until it is dropped.
#[derive(Debug)]
pub(in crate::backup::bucket) struct Lock<'t> {
    _file: File,
    _turn: MutexGuard<'t, Turn>,
}

impl Turns {
    /// Waits for the lock of a cluster.
    pub(super) fn wait(&self, cluster: &Folder) -> Result<Lock<'_>, Failure> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let path = cluster.path().join(LOCK);
        if turn.gave_up {
            return Err(held(&path));
        }
        let file = cluster.open_lock(OsStr::new(LOCK));
        let file = file.map_err(|error| cannot("lock", &path, &error))?;
        let begin = Instant::now();
        let mut is_told = false;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(cannot("lock", &path, &error)),
            }
            let waited = begin.elapsed();
            if waited >= PATIENCE {
                turn.gave_up = true;
                return Err(held(&path));
            }
            if waited >= QUIET && !is_told {
                is_told = true;
                let seconds = PATIENCE.as_secs();
                note(&format!(
                    "`{}` is locked by another process; waiting for at most {seconds} s",
                    path.display()
                ));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(Lock {
            _file: file,
            _turn: turn,
        })
    }
}

fn held(path: &Path) -> Failure {
    let seconds = PATIENCE.as_secs();
    let line = format!(
        "--bucket: `{}` is still locked by another process after {seconds} s",
        path.display()
    );
    Failure::new(Exit::Unavailable, line).hint("`fuser` or `lslocks` tells by which")
}
