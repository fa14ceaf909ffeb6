//! A folder of built things, each under a name that holds the hash of all
//! that it was built from. Made in a temporary folder and renamed, under a
//! lock, so that tests in several processes build it once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Progress;
use crate::Error;

/// Names the folder of the cache.
const LOCATION: &str = "KDC_TESTBED_CACHE";

/// What something is built from.
#[derive(Debug, Default)]
pub(crate) struct Inputs(Sha256);

impl Inputs {
    /// Adds one named input; lengths are hashed too, so nothing runs together.
    pub(crate) fn add(&mut self, name: &str, content: &[u8]) {
        for part in [name.as_bytes(), content] {
            self.0.update((part.len() as u64).to_be_bytes());
            self.0.update(part);
        }
    }

    /// Adds a file under its name.
    pub(crate) fn add_file(&mut self, path: &Path) -> Result<(), Error> {
        let content = fs::read(path).map_err(Error::file("read", path))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.add(&name, &content);
        Ok(())
    }

    fn hash(self) -> String {
        hex::encode(self.0.finalize()).chars().take(16).collect()
    }
}

/// Gives the folder `NAME-HASH` of the cache; if there is none, `make` fills
/// it first.
pub(crate) fn ensure(
    name: &str,
    inputs: Inputs,
    progress: &mut dyn FnMut(Progress),
    make: impl FnOnce(&Path, &mut dyn FnMut(Progress)) -> Result<(), Error>,
) -> Result<PathBuf, Error> {
    let cache = location()?;
    let folder = cache.join(format!("{name}-{}", inputs.hash()));
    if folder.exists() {
        return Ok(folder);
    }
    fs::create_dir_all(&cache).map_err(Error::file("create", &cache))?;
    let _lock = lock(&cache.join(format!("{name}.lock")), progress)?;
    if folder.exists() {
        return Ok(folder);
    }
    let scratch = tempfile::Builder::new()
        .prefix(&format!(".{name}-"))
        .tempdir_in(&cache)
        .map_err(Error::file("create a folder in", &cache))?;
    let made = scratch.path().join("made");
    fs::create_dir(&made).map_err(Error::file("create", &made))?;
    make(&made, progress)?;
    fs::rename(&made, &folder).map_err(Error::file("rename", &made))?;
    Ok(folder)
}

/// Held until the file is closed, which the kernel does for a killed process.
fn lock(path: &Path, progress: &mut dyn FnMut(Progress)) -> Result<File, Error> {
    let file = File::create(path).map_err(Error::file("create", path))?;
    if file.try_lock().is_err() {
        progress(Progress::Waiting);
        file.lock().map_err(Error::file("lock", path))?;
    }
    Ok(file)
}

fn location() -> Result<PathBuf, Error> {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    variable(LOCATION)
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("kdc-envelope/servers")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/kdc-envelope/servers")))
        .ok_or_else(|| Error::Environment {
            name: LOCATION,
            value: String::new(),
            expected: "a folder, as HOME is not set either".to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(parts: &[(&str, &str)]) -> String {
        let mut inputs = Inputs::default();
        for (name, content) in parts {
            inputs.add(name, content.as_bytes());
        }
        inputs.hash()
    }

    #[test]
    fn the_hash_tells_inputs_apart() {
        assert_eq!(hash(&[("go.mod", "x")]), hash(&[("go.mod", "x")]));
        assert_ne!(hash(&[("go.mod", "x")]), hash(&[("go.mod", "y")]));
        assert_ne!(hash(&[("ab", "c")]), hash(&[("a", "bc")]));
    }
}
