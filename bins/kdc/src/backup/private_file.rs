//! A file that nobody else can read, and that has no name until it is whole.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::failure::{Exit, Failure};

/// A file on its way to be `path`. Dropped before [`keep`](Self::keep) it is gone.
#[derive(Debug)]
pub(super) struct PrivateFile {
    file: NamedTempFile,
    path: PathBuf,
    flag: &'static str,
}

impl PrivateFile {
    /// Makes the file beside `path`, with mode 0600. Refuses to replace anything.
    pub(super) fn create(flag: &'static str, path: &Path) -> Result<Self, Failure> {
        if path.symlink_metadata().is_ok() {
            let line = format!("{flag}: `{}` exists; it is not replaced", path.display());
            return Err(Failure::new(Exit::CannotCreate, line));
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let file = tempfile::Builder::new().prefix(".kdc-").tempfile_in(folder);
        let file = file.map_err(|error| {
            let place = format!("{flag}: cannot create a file in `{}`", folder.display());
            Failure::at(Exit::CannotCreate, place, &error)
        })?;
        Ok(Self {
            file,
            path: path.to_owned(),
            flag,
        })
    }

    /// Where it is before it has its name.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Makes it durable and gives it its name, unless something came there meanwhile.
    pub(super) fn keep(self) -> Result<(), Failure> {
        let place = format!("{}: cannot write `{}`", self.flag, self.path.display());
        let of_io = |error: &io::Error| Failure::at(Exit::Io, &place, error);
        self.file
            .as_file()
            .sync_all()
            .map_err(|error| of_io(&error))?;
        let file = self.file.persist_noclobber(&self.path);
        file.map_err(|error| of_io(&error.error))?;
        let folder = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or_else(|| Path::new(".")));
        folder
            .and_then(|folder| folder.sync_all())
            .map_err(|error| of_io(&error))
    }
}

impl Write for &PrivateFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_file().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
