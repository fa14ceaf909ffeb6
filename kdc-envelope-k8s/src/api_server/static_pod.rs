//! How the API server of this machine is started, read from the file that says so: the manifest of a static pod, a unit, a
//! command line.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::{ApiServer, Files, MAX_LEN, Unclear};

/// The files of this machine. One that is longer than any description is cut, so that it is refused.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::exhaustive_structs, reason = "there is one file system")]
pub struct LocalFiles;

/// The description of an API server cannot be read, or not understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It does not say how a kube-apiserver is started.
    #[error(transparent)]
    Unclear(#[from] Unclear),
}

impl Files for LocalFiles {
    fn read(&self, path: &Path) -> io::Result<String> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(MAX_LEN).unwrap_or(u64::MAX);
        File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(folder)?
            .map(|entry| Ok(entry?.path()))
            .collect()
    }
}

impl ApiServer {
    /// Reads the file at `path`, such as `/etc/kubernetes/manifests/kube-apiserver.yaml` or `/proc/PID/cmdline`, and those that
    /// it names.
    ///
    /// # Errors
    /// [`ReadError`]. It names no path; the caller knows it.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let text = LocalFiles.read(path)?;
        Ok(Self::parse(&text, path, &LocalFiles)?)
    }
}
