//! The configuration file: the settings under the names of their flags, and a list of keys if there are several.

use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use kdc_envelope_bao::settings::section::{Section as _, plain, through};

use super::SettingsError;
use super::args::{Given, KeyGiven, NamedKey};
use crate::config_file::{self, each, unknown};
use crate::logging::log_level;

/// Reads settings from a YAML file; an unknown name is an error.
///
/// # Errors
/// [`SettingsError::File`], [`SettingsError::TwoKeys`]
pub fn read(path: &Path) -> Result<Given, SettingsError> {
    let given: Given = config_file::read(path)?;
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
        Err(unknown(name))
    }
}
