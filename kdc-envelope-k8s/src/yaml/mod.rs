//! Files as the programs of Kubernetes read them: `sigs.k8s.io/yaml`, which is YAML 1.1 by `go.yaml.in/yaml/v2`, and
//! `encoding/json` for what begins with `{`.
//!
//! A library for YAML 1.2 would read other things: there `yes` is text, and a tag or `<<` mean something else. So the events
//! of a parser are put together here by the rules of those two.
//!
//! Texts are wiped on drop, since some are keys.

mod compose;
mod scalar;
mod strict;

use core::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

pub(crate) use compose::documents;

/// A value with no more of its type than JSON can say.
#[derive(Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    /// One that no field of ours takes: a fraction, or too large.
    OtherNumber,
    Text(Zeroizing<String>),
    List(Vec<Self>),
    Map(Fields),
}

/// Names with their values, in the order of the file.
type Fields = Vec<(Zeroizing<String>, Value)>;

/// The first field whose name stands before it, too.
fn repeated(fields: &Fields) -> Option<usize> {
    let mut sorted: Vec<(&str, usize)> = fields
        .iter()
        .map(|(name, _)| name.as_str())
        .zip(0..)
        .collect();
    sorted.sort_unstable();
    let pairs = sorted.iter().zip(sorted.iter().skip(1));
    pairs
        .filter(|((one, _), (other, _))| one == other)
        .map(|(_, (_, index))| *index)
        .min()
}

/// Why a text is neither, and where; without a word of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// Counted from 1.
    pub(crate) line: u64,
    /// Counted from 1.
    pub(crate) column: u64,
    pub(crate) fault: Fault,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The parser is at a loss.
    Syntax,
    /// The same, of a text that must be JSON since it begins with `{`.
    Json,
    /// A field stands twice in one object.
    DuplicateField,
    /// More values, levels or aliases than any file has.
    Limits,
    /// A tab where a line is indented.
    Tab,
    /// A line break that is none to all.
    LineBreak,
    /// A text inside brackets that not all read alike.
    Ambiguous,
    /// What is allowed in YAML and not in the YAML that Kubernetes reads.
    Unsupported,
    /// The first document is good, and what follows cannot be read. Kubernetes does not look at it.
    Behind,
}

impl Fault {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "neither YAML nor JSON; check indentation and quotes here",
            Self::Json => {
                "no JSON, as which a file is read that begins with `{`; correct it here, or write `---` in front for YAML"
            }
            Self::DuplicateField => "the same field twice; remove one",
            Self::Limits => {
                "nested too deeply, too long, or too many YAML aliases; write it out plainly"
            }
            Self::Tab => "a tab where a line is indented; write spaces",
            Self::LineBreak => {
                "a line break that is none to all (U+0085, U+2028 or U+2029); write a line feed"
            }
            Self::Ambiguous => {
                "a text inside `{}` or `[]` that not all read alike; put it in quotes"
            }
            Self::Behind => {
                "what stands behind the first YAML document cannot be read; remove it, for Kubernetes never looks at it"
            }
            Self::Unsupported => {
                "a tag, key or directive that Kubernetes does not take; write it out plainly"
            }
        }
    }
}

impl Value {
    /// A field of an object; null means the same as none.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        let Self::Map(fields) = self else {
            return None;
        };
        let field = fields.iter().find(|(field, _)| **field == name);
        field
            .map(|(_, value)| value)
            .filter(|value| !matches!(value, Self::Null))
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Whether Kubernetes reads a file as JSON and as nothing else (`utilyaml.IsJSONBuffer`).
pub(crate) fn is_json(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// The one object of a text in JSON.
pub(crate) fn json(text: &str) -> Result<Value, SyntaxError> {
    serde_json::from_str(text).map_err(|error| SyntaxError {
        line: u64::try_from(error.line()).unwrap_or(0),
        column: u64::try_from(error.column()).unwrap_or(0),
        fault: match error.is_data() {
            // The one complaint of `ValueVisitor`.
            true => Fault::DuplicateField,
            false => Fault::Json,
        },
    })
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

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::OtherNumber, Value::Integer))
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
        let mut fields = Fields::new();
        while let Some((name, value)) = map.next_entry::<String, _>()? {
            fields.push((Zeroizing::new(name), value));
        }
        match repeated(&fields) {
            None => Ok(Value::Map(fields)),
            Some(_) => Err(serde::de::Error::custom("the same field twice")),
        }
    }
}
