//! A folder of built things, each under a name that holds the hash of all
//! that it was built from. Made in a temporary folder and renamed, under a
//! lock, so that tests in several processes build it once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::Progress;
use crate::Error;

/// The variable that names the folder of the cache.
const LOCATION: &str = "KDC_TESTBED_CACHE";

/// A hash over everything that a server is built from.
#[derive(Debug, Default)]
pub(crate) struct Inputs(Sha256);

impl Inputs {
    /// Adds one named input; lengths are hashed too, so that no two sequences of inputs collide.
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
/// it first. Tells of [`Progress::Ready`] in either case.
pub(crate) fn ensure(
    name: &str,
    inputs: Inputs,
    progress: &mut dyn FnMut(Progress),
    make: impl FnOnce(&Path, &mut dyn FnMut(Progress)) -> Result<(), Error>,
) -> Result<PathBuf, Error> {
    ensure_in(&location()?, name, inputs, progress, make)
}

fn ensure_in(
    cache: &Path,
    name: &str,
    inputs: Inputs,
    progress: &mut dyn FnMut(Progress),
    make: impl FnOnce(&Path, &mut dyn FnMut(Progress)) -> Result<(), Error>,
) -> Result<PathBuf, Error> {
    let start = Instant::now();
    let folder = cache.join(format!("{name}-{}", inputs.hash()));
    if folder.exists() {
        progress(Progress::Ready {
            took: Duration::ZERO,
        });
        return Ok(folder);
    }
    fs::create_dir_all(cache).map_err(Error::file("create", cache))?;
    let _lock = lock(&cache.join(format!("{name}.lock")), progress)?;
    if !folder.exists() {
        fill(cache, name, &folder, progress, make)?;
    }
    progress(Progress::Ready {
        took: start.elapsed(),
    });
    Ok(folder)
}

fn fill(
    cache: &Path,
    name: &str,
    folder: &Path,
    progress: &mut dyn FnMut(Progress),
    make: impl FnOnce(&Path, &mut dyn FnMut(Progress)) -> Result<(), Error>,
) -> Result<(), Error> {
    // The lock is ours: what lies there is of a build that was killed.
    let scratch = cache.join(format!(".{name}"));
    if scratch.exists() {
        fs::remove_dir_all(&scratch).map_err(Error::file("remove", &scratch))?;
    }
    fs::create_dir(&scratch).map_err(Error::file("create", &scratch))?;
    make(&scratch, progress)?;
    fs::rename(&scratch, folder).map_err(Error::file("rename", &scratch))
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
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn what_several_want_at_once_is_made_once() {
        let cache = tempfile::tempdir().unwrap();
        let makes = AtomicUsize::new(0);
        let begin = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    begin.wait();
                    let folder = ensure_in(
                        cache.path(),
                        "thing",
                        Inputs::default(),
                        &mut |_| {},
                        |folder, _| {
                            makes.fetch_add(1, Ordering::SeqCst);
                            fs::write(folder.join("file"), "made")
                                .map_err(Error::file("write", folder))
                        },
                    );
                    assert_eq!(fs::read(folder.unwrap().join("file")).unwrap(), b"made");
                });
            }
        });
        assert_eq!(makes.into_inner(), 1);
    }

    #[test]
    fn what_could_not_be_made_is_made_the_next_time() {
        let cache = tempfile::tempdir().unwrap();
        let make = |outcome: Result<(), Error>| {
            ensure_in(
                cache.path(),
                "thing",
                Inputs::default(),
                &mut |_| {},
                |folder, _| {
                    // Fails if anything is left of the attempt before.
                    fs::create_dir(folder.join("inner")).map_err(Error::file("create", folder))?;
                    outcome
                },
            )
        };
        let failure = Error::Build {
            what: "thing".to_owned(),
            tail: String::new(),
        };
        assert!(matches!(make(Err(failure)), Err(Error::Build { .. })));
        assert!(make(Ok(())).unwrap().join("inner").exists());
    }

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
