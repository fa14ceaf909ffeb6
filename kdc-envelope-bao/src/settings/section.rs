//! A group of settings that can be read from a file and laid over another one, from one list of names.
//!
//! Serde's `flatten` would read the values without knowing what they shall become: `0660` as a number, a role named
//! `007` as 7. And it cannot refuse unknown names.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

pub use serde::de::MapAccess;
use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Settings that are each given or not.
pub trait Section: Default {
    /// Reads the value of `name` out of `map`, if it is one of these settings; otherwise reads nothing.
    ///
    /// # Errors
    /// Of the format, and where the value is not of its kind.
    fn set<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error>;

    /// These settings, and those of `lower` where there are none.
    #[must_use]
    fn merge_over(self, lower: Self) -> Self;

    /// The name of one that is given.
    fn first_given(&self) -> Option<&'static str>;
}

/// Implements [`Section`] for a struct of options. Each line is a field, its name, and what reads it.
#[macro_export]
#[doc(hidden)]
macro_rules! __settings_section {
    ($section:ty { $($field:ident: $name:literal by $read:path,)* }) => {
        impl $crate::settings::section::Section for $section {
            fn set<'de, A: $crate::settings::section::MapAccess<'de>>(
                &mut self,
                name: &str,
                map: &mut A,
            ) -> Result<bool, A::Error> {
                match name {
                    $($name => self.$field = $read(map)?,)*
                    _ => return Ok(false),
                }
                Ok(true)
            }

            fn merge_over(self, lower: Self) -> Self {
                Self { $($field: self.$field.or(lower.$field),)* }
            }

            fn first_given(&self) -> Option<&'static str> {
                $(if self.$field.is_some() { return Some($name); })*
                None
            }
        }
    };
}
#[doc(inline)]
pub use __settings_section as section;

/// Reads a value as its type says.
///
/// # Errors
/// Of the format, and where the value is not of its kind.
pub fn plain<'de, A: MapAccess<'de>, T: DeserializeOwned>(
    map: &mut A,
) -> Result<Option<T>, A::Error> {
    map.next_value()
}

/// Reads a path.
///
/// # Errors
/// Of the format, and where the value is not of its kind.
pub fn path<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<PathBuf>, A::Error> {
    plain(map)
}

/// Reads a text through the parser of its type.
///
/// # Errors
/// Of the format, and where the value is not of its kind.
pub fn parsed<'de, A: MapAccess<'de>, T: FromStr<Err: std::fmt::Display>>(
    map: &mut A,
) -> Result<Option<T>, A::Error> {
    through(map, |text| {
        T::from_str(text).map_err(|error| error.to_string())
    })
}

/// Reads a duration.
///
/// # Errors
/// Of the format, and where the value is not of its kind.
pub fn time<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<Duration>, A::Error> {
    through(map, duration)
}

/// Reads a text through the parser that its flag has.
///
/// # Errors
/// Of the format, and where the value is not of its kind.
pub fn through<'de, A: MapAccess<'de>, T>(
    map: &mut A,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, A::Error> {
    let text: Option<String> = map.next_value()?;
    text.map(|text| parse(&text).map_err(A::Error::custom))
        .transpose()
}

/// Reads one text or a list of them; commas separate as in a flag.
///
/// # Errors
/// Of the format, and where the value is not of its kind.
pub fn list<'de, A: MapAccess<'de>, T: FromStr<Err: std::fmt::Display>>(
    map: &mut A,
) -> Result<Option<Vec<T>>, A::Error> {
    let texts: Option<Texts> = map.next_value()?;
    let parse = |text: &str| T::from_str(text).map_err(A::Error::custom);
    texts
        .map(|Texts(all)| {
            all.iter()
                .flat_map(|text| text.split(','))
                .map(str::trim)
                .map(parse)
                .collect()
        })
        .transpose()
}

/// The parser of durations such as `90s`, `5m` or `1h 30m`.
///
/// # Errors
/// A line for people, if it is none.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| {
        format!(
            "`{}` is not a duration such as 90s or 5m",
            text.escape_debug()
        )
    })
}

struct Texts(Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Texts;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts(vec![text.to_owned()]))
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Texts, S::Error> {
                let mut all = Vec::new();
                while let Some(text) = seq.next_element()? {
                    all.push(text);
                }
                Ok(Texts(all))
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}
