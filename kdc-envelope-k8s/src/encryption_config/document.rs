//! From the text of a file to a tree that knows its places.
//!
//! The tree accepts any type anywhere, so that complaints about types are made by [`Node`] with the place and without the
//! value. A derived `Deserialize` would quote the value, which may be a key.

use zeroize::Zeroizing;

use super::{ConfigError, MAX_LEN, Problem};
use crate::yaml::{self, SyntaxError, Value};

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
    let text = match core::str::from_utf8(file) {
        Ok(text) => text,
        Err(error) => return Err(not_utf8(file, error.valid_up_to())),
    };
    let value = match yaml::is_json(text) {
        true => yaml::json(text).map_err(syntax_error)?,
        false => only_document(text)?,
    };
    Ok(Node {
        place: String::new(),
        value,
    })
}

/// kube-apiserver reads the first document and not a word of what follows, so that a second one is refused here:
/// its author expects that it counts.
fn only_document(text: &str) -> Result<Value, ConfigError> {
    let mut documents = yaml::documents(text).map_err(syntax_error)?.into_iter();
    let first = documents.next().map_or(Value::Null, |(_, value)| value);
    match documents.find(|(_, value)| !matches!(value, Value::Null)) {
        None => Ok(first),
        Some((line, _)) => Err(ConfigError::Syntax {
            line,
            column: 1,
            problem: "more than one YAML document, of which kube-apiserver reads the first alone; keep one per file",
        }),
    }
}

fn not_utf8(file: &[u8], at: usize) -> ConfigError {
    let before = file.get(..at).unwrap_or_default();
    let lines = before.split(|byte| *byte == b'\n');
    let column = lines.clone().next_back().map_or(0, <[u8]>::len);
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    ConfigError::Syntax {
        line: count(lines.count()),
        column: count(column) + 1,
        problem: "not UTF-8; save the file as UTF-8",
    }
}

const fn syntax_error(error: SyntaxError) -> ConfigError {
    ConfigError::Syntax {
        line: error.line,
        column: error.column,
        problem: error.fault.as_str(),
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
            Value::Bool(_) | Value::Integer(_) | Value::OtherNumber => {
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
