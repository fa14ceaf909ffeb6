//! A YAML file with settings under the names of their flags.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::de::{DeserializeOwned, Error, MapAccess};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};

/// Of a configuration file, in bytes; a hundred keys have some 50 KiB.
const MAX_LEN: u64 = 1 << 20;

/// A configuration file that cannot be had, or holds no settings.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is a pipe, a device or a socket.
    #[error("configuration file `{}` is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// It has more than 1 MiB.
    #[error("configuration file `{}` has more than 1 MiB, which no settings have", .0.display())]
    TooLarge(PathBuf),
    /// It cannot be read.
    #[error("cannot read configuration file `{}`", .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It does not hold settings.
    #[error("configuration file `{}`", .path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What and where.
        source: Box<serde_saphyr::Error>,
    },
}

/// Reads settings of the type `T`.
///
/// # Errors
/// [`FileError`]
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, FileError> {
    let text = text(path)?;
    // Without snippets: the file may hold a credential in the wrong place.
    let options = serde_saphyr::options! {
        with_snippet: false,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
    };
    serde_saphyr::from_str_with_options(&text, options).map_err(|error| FileError::Parse {
        path: path.to_owned(),
        source: Box::new(error),
    })
}

/// The content of a regular file of no more than [`MAX_LEN`]: a pipe would be waited for, and nothing else has an end for sure.
fn text(path: &Path) -> Result<String, FileError> {
    let failed = |source| FileError::Read {
        path: path.to_owned(),
        source,
    };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() && !metadata.is_dir() {
        return Err(FileError::NotAFile(path.to_owned()));
    }
    let mut text = String::new();
    let limit = MAX_LEN.saturating_add(1);
    let file = File::open(path).map_err(failed)?;
    file.take(limit).read_to_string(&mut text).map_err(failed)?;
    match u64::try_from(text.len()) {
        Ok(len) if len <= MAX_LEN => Ok(text),
        _ => Err(FileError::TooLarge(path.to_owned())),
    }
}

/// Reads all settings of a map with `set`, each name once, and says where a fault is.
pub(crate) fn each<'de, A: MapAccess<'de>>(
    map: &mut A,
    mut set: impl FnMut(&str, &mut A) -> Result<(), A::Error>,
) -> Result<(), A::Error> {
    let mut seen = BTreeSet::new();
    while let Some(name) = map.next_key::<Spanned<String>>()? {
        let Spanned {
            value: name,
            referenced: place,
            ..
        } = name;
        let result = match seen.contains(&name) {
            true => Err(A::Error::custom(format_args!("`{name}` is given twice"))),
            false => set(&name, map),
        };
        result.map_err(|error| {
            let text = error.to_string();
            match text.contains(" line ") {
                true => error,
                false => A::Error::custom(format_args!("line {}: {text}", place.line())),
            }
        })?;
        seen.insert(name);
    }
    Ok(())
}

/// The refusal of a name that is no setting.
pub(crate) fn unknown<E: Error>(name: &str) -> E {
    let name = name.escape_debug();
    E::custom(format_args!("unknown field `{name}`"))
}
