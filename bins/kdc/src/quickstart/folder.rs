//! Where keyring, socket and rows are; a temporary folder goes with the program, also when a signal ends it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use tempfile::TempDir;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::{Exit, Failure};

/// How often a folder is tried to be removed in which the program may still be writing.
const ATTEMPTS: u32 = 10;

/// A folder, open to its owner alone.
#[derive(Debug)]
pub(super) enum Folder {
    /// Goes with the program.
    Temporary(TempDir),
    /// Stays.
    Kept(PathBuf),
}

impl Folder {
    pub(super) fn open(dir: Option<&Path>) -> Result<Self, Failure> {
        let Some(dir) = dir else {
            return temporary().map(Self::Temporary).map_err(|error| {
                Failure::at(Exit::CannotCreate, "cannot make a temporary folder", &error)
            });
        };
        let made = DirBuilder::new().mode(0o700).recursive(true).create(dir);
        made.and_then(|()| fs::canonicalize(dir))
            .map(Self::Kept)
            .map_err(|error| {
                let place = format!("--dir: cannot make `{}`", dir.display());
                Failure::at(Exit::CannotCreate, place, &error)
            })
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(path) => path,
        }
    }

    pub(super) const fn is_kept(&self) -> bool {
        matches!(self, Self::Kept(_))
    }
}

fn temporary() -> io::Result<TempDir> {
    let path = Arc::new(Mutex::new(None));
    remove_on_signal(Arc::clone(&path))?;
    // Held while the folder is made, so that a signal in between waits for it.
    let mut path = path.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::Builder::new()
        .prefix("kdc-quickstart-")
        .tempdir()?;
    *path = Some(folder.path().to_owned());
    Ok(folder)
}

/// Catches the signals that end a program in a terminal from here on: no destructor would live to see them.
fn remove_on_signal(path: Arc<Mutex<Option<PathBuf>>>) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (caught, is_caught) = mpsc::channel();
    thread::spawn(move || {
        let code = runtime.block_on(first_signal(&caught));
        let path = path.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(code), Some(path)) = (code, path) {
            for _ in 0..ATTEMPTS {
                if fs::remove_dir_all(&path).is_ok() {
                    break;
                }
            }
            std::process::exit(code);
        }
    });
    is_caught
        .recv()
        .unwrap_or_else(|gone| Err(io::Error::other(gone)))
}

/// Tells when signals are caught; then waits for one and gives the exit code that a shell gives a program that it ended.
async fn first_signal(caught: &mpsc::Sender<io::Result<()>>) -> Option<i32> {
    let catch = || {
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        Ok((interrupt, terminate, signal(SignalKind::hangup())?))
    };
    let (mut interrupt, mut terminate, mut hangup) = match catch() {
        Ok(signals) => signals,
        Err(error) => {
            // The waiting caller has it from there.
            let _ = caught.send(Err(error));
            return None;
        }
    };
    caught.send(Ok(())).ok()?;
    let kind = tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
        _ = hangup.recv() => SignalKind::hangup(),
    };
    Some(128 + kind.as_raw_value())
}
