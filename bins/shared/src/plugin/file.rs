//! The configuration file: the settings under the names of their flags, and a list of keys if there are several.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use kdc_envelope_bao::settings::section::{Section as _, plain, through};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};

use super::SettingsError;
use super::args::{Given, KeyGiven, NamedKey};
use crate::logging::log_level;

/// Of a configuration file, in bytes; a hundred keys have some 50 KiB.
const MAX_LEN: u64 = 1 << 20;

/// Reads settings from a YAML file; an unknown name is an error.
///
/// # Errors
/// [`SettingsError::Read`], [`SettingsError::NotAFile`], [`SettingsError::TooLarge`], [`SettingsError::Parse`], [`SettingsError::TwoKeys`]
pub fn read(path: &Path) -> Result<Given, SettingsError> {
    let text = text(path)?;
    // Without snippets: the file may hold a credential in the wrong place.
    let options = serde_saphyr::options! {
        with_snippet: false,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
    };
    let given: Given = serde_saphyr::from_str_with_options(&text, options).map_err(|error| {
        SettingsError::Parse {
            path: path.to_owned(),
            source: Box::new(error),
        }
    })?;
    let contradiction = |place: String, key: &KeyGiven| match key.contradiction() {
        Some((one, other)) => Err(SettingsError::TwoKeys {
            path: path.to_owned(),
            place,
            one,
            other,
        }),
        None => Ok(()),
    };
    contradiction(String::new(), &given.key)?;
    for (index, named) in given.keys.iter().flatten().enumerate() {
        contradiction(format!("keys[{index}]."), &named.key)?;
    }
    Ok(given)
}

/// The content of a regular file of no more than [`MAX_LEN`]: a pipe would be waited for, and nothing else has an end for sure.
fn text(path: &Path) -> Result<String, SettingsError> {
    let failed = |source| SettingsError::Read {
        path: path.to_owned(),
        source,
    };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() && !metadata.is_dir() {
        return Err(SettingsError::NotAFile(path.to_owned()));
    }
    let mut text = String::new();
    let limit = MAX_LEN.saturating_add(1);
    let file = File::open(path).map_err(failed)?;
    file.take(limit).read_to_string(&mut text).map_err(failed)?;
    match u64::try_from(text.len()) {
        Ok(len) if len <= MAX_LEN => Ok(text),
        _ => Err(SettingsError::TooLarge(path.to_owned())),
    }
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Top;
        impl<'de> Visitor<'de> for Top {
            type Value = Given;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("settings")
            }

            /// A file of comments alone.
            fn visit_unit<E>(self) -> Result<Given, E> {
                Ok(Given::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Given, A::Error> {
                let mut given = Given::default();
                each(&mut map, |name, map| {
                    match name {
                        "http-address" => given.http_address = plain(map)?,
                        "log-format" => given.log_format = plain(map)?,
                        "log-level" => given.log_level = through(map, log_level)?,
                        #[cfg(feature = "otel")]
                        "otel-endpoint" => {
                            given.otel_endpoint = kdc_envelope_bao::settings::section::parsed(map)?
                        }
                        "keys" => given.keys = plain(map)?,
                        other => given.key.set_or_refuse(other, map)?,
                    }
                    Ok(())
                })?;
                Ok(given)
            }
        }
        deserializer.deserialize_map(Top)
    }
}

impl<'de> Deserialize<'de> for NamedKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entry;
        impl<'de> Visitor<'de> for Entry {
            type Value = NamedKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key with `name`, `socket` and where it is")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NamedKey, A::Error> {
                let mut key = KeyGiven::default();
                let mut given_name = None;
                each(&mut map, |name, map| {
                    match name {
                        "name" => given_name = plain(map)?,
                        other => key.set_or_refuse(other, map)?,
                    }
                    Ok(())
                })?;
                let name = given_name.ok_or_else(|| A::Error::missing_field("name"))?;
                Ok(NamedKey { name, key })
            }
        }
        deserializer.deserialize_map(Entry)
    }
}

/// Reads all settings of a map with `set`, each name once, and says where a fault is.
fn each<'de, A: MapAccess<'de>>(
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

impl KeyGiven {
    fn set_or_refuse<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let is_known = self.socket.set(name, map)?
            || self.file.set(name, map)?
            || self.connection.set(name, map)?
            || self.transit.set(name, map)?
            || self.cache.set(name, map)?
            || self.outage.set(name, map)?;
        if is_known {
            return Ok(());
        }
        let name = name.escape_debug();
        Err(A::Error::custom(format_args!("unknown field `{name}`")))
    }
}
