//! From the text of a file to a tree that knows its places.
//!
//! The tree accepts any type anywhere, so that complaints about types are made by [`Node`] with the place and without the
//! value. A derived `Deserialize` would quote the value, which may be a key.

use core::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Error;
use zeroize::Zeroizing;

use super::{ConfigError, MAX_LEN, Problem};

enum Value {
    Null,
    Bool,
    Integer(i64),
    OtherNumber,
    Text(Zeroizing<String>),
    List(Vec<Self>),
    Map(Vec<(Zeroizing<String>, Self)>),
}

/// A value and the path to it.
pub(super) struct Node {
    place: String,
    value: Value,
}

/// The fields of a map, taken out one by one.
pub(super) struct Fields {
    place: String,
    fields: Vec<(Zeroizing<String>, Value)>,
}

pub(super) fn parse(file: &[u8]) -> Result<Node, ConfigError> {
    if file.len() > MAX_LEN {
        return Err(ConfigError::TooLong(file.len()));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_aliases: 100,
            max_anchors: 100,
            max_depth: 32,
            max_nodes: 100_000,
        },
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    let value = serde_saphyr::from_slice_with_options(file, options)
        .map_err(|error| syntax_error(&error))?;
    Ok(Node {
        place: String::new(),
        value,
    })
}

/// Keeps the kind and the place of `error`, and drops its words, which may quote the file.
fn syntax_error(error: &Error) -> ConfigError {
    let mut cause = error;
    while let Error::AliasError { error, .. } = cause {
        cause = error;
    }
    let problem = match cause {
        Error::DuplicateMappingKey { .. } => "the same field twice; remove one",
        Error::MultipleDocuments { .. } => "more than one YAML document; keep one per file",
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            "nested too deeply, too long, or too many YAML aliases; write it out plainly"
        }
        Error::InvalidUtf8Input => "not UTF-8; save the file as UTF-8",
        _ => "neither YAML nor JSON; check indentation and quotes here",
    };
    let location = error.location();
    ConfigError::Syntax {
        line: location.map_or(0, |location| location.line()),
        column: location.map_or(0, |location| location.column()),
        problem,
    }
}

impl Node {
    pub(super) fn error(&self, problem: Problem) -> ConfigError {
        ConfigError::Field {
            place: self.place.clone(),
            problem,
        }
    }

    fn type_error<T>(&self, expected: &'static str) -> Result<T, ConfigError> {
        Err(self.error(Problem::Type { expected }))
    }

    /// `None` for null and for a missing field, which mean the same.
    pub(super) fn present(self) -> Option<Self> {
        (!matches!(self.value, Value::Null)).then_some(self)
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Text; the empty one if absent.
    pub(super) fn text(&self) -> Result<&str, ConfigError> {
        match &self.value {
            Value::Text(text) => Ok(text),
            Value::Null => Ok(""),
            Value::Bool | Value::Integer(_) | Value::OtherNumber => {
                self.type_error("text; put it in quotes")
            }
            Value::List(_) | Value::Map(_) => self.type_error("text"),
        }
    }

    pub(super) fn required_text(&self) -> Result<&str, ConfigError> {
        match self.text()? {
            "" => Err(self.error(Problem::Required)),
            text => Ok(text),
        }
    }

    pub(super) fn integer(&self) -> Result<i64, ConfigError> {
        match self.value {
            Value::Integer(number) => Ok(number),
            _ => self.type_error("a whole number"),
        }
    }

    /// The elements of a list that must have some.
    pub(super) fn elements(self, element: &'static str) -> Result<Vec<Self>, ConfigError> {
        let Self { place, value } = self;
        let child = |(index, value)| Self {
            place: format!("{place}[{index}]"),
            value,
        };
        match value {
            Value::List(values) if !values.is_empty() => {
                Ok(values.into_iter().enumerate().map(child).collect())
            }
            Value::List(_) | Value::Null => Err(ConfigError::Field {
                place,
                problem: Problem::Empty { element },
            }),
            value => Self { place, value }.type_error("a list"),
        }
    }

    pub(super) fn fields(self) -> Result<Fields, ConfigError> {
        match self.value {
            Value::Map(fields) => Ok(Fields {
                place: self.place,
                fields,
            }),
            _ if self.place.is_empty() => Err(ConfigError::Field {
                place: "the file".to_owned(),
                problem: Problem::Kind,
            }),
            _ => self.type_error("an object with fields"),
        }
    }
}

impl Fields {
    /// Takes a field out; null if there is none.
    pub(super) fn take(&mut self, name: &str) -> Node {
        let index = self.fields.iter().position(|(field, _)| **field == name);
        Node {
            place: child_place(&self.place, name),
            value: index.map_or(Value::Null, |index| self.fields.swap_remove(index).1),
        }
    }

    pub(super) fn error(&self, problem: Problem) -> ConfigError {
        ConfigError::Field {
            place: self.place.clone(),
            problem,
        }
    }

    /// Refuses what was not taken.
    pub(super) fn finish(mut self, known: &'static str) -> Result<(), ConfigError> {
        self.fields.sort_by(|(left, _), (right, _)| left.cmp(right));
        self.fields.first().map_or(Ok(()), |(name, _)| {
            Err(ConfigError::Field {
                place: child_place(&self.place, printable_name(name)),
                problem: Problem::UnknownField { known },
            })
        })
    }
}

fn child_place(parent: &str, name: &str) -> String {
    if parent.is_empty() {
        name.to_owned()
    } else {
        format!("{parent}.{name}")
    }
}

/// A mistyped file may have a key where a field name belongs; the shortest one has 24 letters in base64.
fn printable_name(name: &str) -> &str {
    let is_name = name.len() < 20 && name.chars().all(|c| c.is_ascii_alphanumeric());
    if is_name { name } else { "(?)" }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Bool)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::OtherNumber, Value::Integer))
    }

    fn visit_i128<E>(self, _: i128) -> Result<Value, E> {
        Ok(Value::OtherNumber)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Value, E> {
        Ok(Value::OtherNumber)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::OtherNumber)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(Zeroizing::new(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element()? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, _>()? {
            fields.push((Zeroizing::new(name), value));
        }
        Ok(Value::Map(fields))
    }
}
