//! From the events of a YAML parser to values, as `go.yaml.in/yaml/v2` puts them together in strict mode.

use std::collections::BTreeMap;

use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle, Span, StrInput};
use zeroize::Zeroizing;

use super::scalar::{Tag, resolve};
use super::{Fault, SyntaxError, Value};

/// Bounds that no honest file meets. An alias copies what it names, so that copies are counted as well.
const MAX_VALUES: usize = 100_000;
const MAX_DEPTH: usize = 32;
const MAX_ALIASES: usize = 100;

/// All documents of a text in their order, each with the line where it begins; an empty one is null.
pub(crate) fn documents(text: &str) -> Result<Vec<(u64, Value)>, SyntaxError> {
    let options = granit_parser::options! {
        emit_comments: false,
        block_scalar_eof_without_line_feed: true,
        bom_inside_document_as_content: true,
    };
    let mut composer = Composer {
        parser: Parser::new_from_str_with_options(text, options),
        anchors: BTreeMap::new(),
        values: 0,
        aliases: 0,
    };
    let mut documents = Vec::new();
    loop {
        let (event, span) = composer.next()?;
        match event {
            Event::DocumentStart(_, version) => {
                let is_known = version.is_none_or(|version| (version.major, version.minor) == (1, 1));
                if !is_known {
                    return Err(error(span, Fault::Unsupported));
                }
                composer.anchors.clear();
                documents.push((error(span, Fault::Syntax).line, composer.value(0)?));
            }
            Event::StreamEnd => return Ok(documents),
            _ => {}
        }
    }
}

struct Composer<'t> {
    parser: Parser<'t, StrInput<'t>>,
    /// Finished nodes that have one.
    anchors: BTreeMap<usize, (Value, usize)>,
    values: usize,
    aliases: usize,
}

impl<'t> Composer<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), SyntaxError> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(problem)) => Err(at(problem.marker(), Fault::Syntax)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    /// The next node with all that is in it.
    fn value(&mut self, depth: usize) -> Result<Value, SyntaxError> {
        let (event, span) = self.next()?;
        self.value_of(event, span, depth)
    }

    fn value_of(
        &mut self,
        event: Event<'t>,
        span: Span,
        depth: usize,
    ) -> Result<Value, SyntaxError> {
        let before = self.values;
        self.count(1, depth, span)?;
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_deref().map_or(Tag::None, known_tag);
                let value = resolve(&text, style == ScalarStyle::Plain, tag);
                (value.ok_or_else(|| error(span, Fault::Unsupported))?, anchor)
            }
            Event::SequenceStart(_, anchor, _) => (self.list(depth)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.map(depth)?, anchor),
            Event::Alias(anchor) => {
                self.aliases += 1;
                // Not there while the node that it names is not finished, for it would contain itself.
                let (value, size) = self
                    .anchors
                    .get(&anchor)
                    .cloned()
                    .ok_or_else(|| error(span, Fault::Unsupported))?;
                self.count(size, depth, span)?;
                (value, 0)
            }
            _ => return Err(error(span, Fault::Syntax)),
        };
        if anchor != 0 {
            let size = self.values - before;
            self.anchors.insert(anchor, (value.clone(), size));
        }
        Ok(value)
    }

    fn count(&mut self, more: usize, depth: usize, span: Span) -> Result<(), SyntaxError> {
        self.values += more;
        let is_too_much =
            self.values > MAX_VALUES || depth > MAX_DEPTH || self.aliases > MAX_ALIASES;
        match is_too_much {
            true => Err(error(span, Fault::Limits)),
            false => Ok(()),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, SyntaxError> {
        let mut values = Vec::new();
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::SequenceEnd => return Ok(Value::List(values)),
                event => values.push(self.value_of(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, SyntaxError> {
        let mut fields = Vec::new();
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::MappingEnd => return Ok(Value::Map(fields)),
                event if is_merge(&event) => {
                    let merged = self.value(depth + 1)?;
                    merge(&mut fields, merged, span)?;
                }
                event => {
                    let name = match self.value_of(event, span, depth + 1)? {
                        Value::Text(name) => name,
                        Value::Integer(number) => Zeroizing::new(number.to_string()),
                        Value::Bool(value) => Zeroizing::new(value.to_string()),
                        _ => return Err(error(span, Fault::Unsupported)),
                    };
                    let value = self.value(depth + 1)?;
                    add(&mut fields, name, value, span)?;
                }
            }
        }
    }
}

type Fields = Vec<(Zeroizing<String>, Value)>;

fn add(
    fields: &mut Fields,
    name: Zeroizing<String>,
    value: Value,
    span: Span,
) -> Result<(), SyntaxError> {
    if fields.iter().any(|(field, _)| *field == name) {
        return Err(error(span, Fault::DuplicateField));
    }
    fields.push((name, value));
    Ok(())
}

/// Nothing may be there already, neither from the map itself nor from another one.
fn merge(fields: &mut Fields, merged: Value, span: Span) -> Result<(), SyntaxError> {
    let all = match merged {
        Value::List(values) => values,
        value => vec![value],
    };
    for value in all.into_iter().rev() {
        let Value::Map(merged) = value else {
            return Err(error(span, Fault::Unsupported));
        };
        for (name, value) in merged {
            add(fields, name, value, span)?;
        }
    }
    Ok(())
}

fn is_merge(event: &Event<'_>) -> bool {
    match event {
        Event::Scalar(text, style, _, tag) => {
            let is_implicit = tag.is_none() && *style == ScalarStyle::Plain;
            let is_tagged = || {
                let tag = tag.as_deref();
                tag.is_some_and(|tag| tag.suffix_in_namespace(CORE).as_deref() == Some("merge"))
            };
            text == "<<" && (is_implicit || is_tagged())
        }
        _ => false,
    }
}

fn known_tag(tag: &granit_parser::Tag) -> Tag {
    match tag.suffix_in_namespace(CORE).as_deref() {
        Some("str") => Tag::Text,
        Some("bool") => Tag::Bool,
        Some("int") => Tag::Integer,
        Some("float") => Tag::Float,
        Some("null") => Tag::Null,
        Some("timestamp") => Tag::Timestamp,
        Some("binary") => Tag::Binary,
        _ => Tag::Unknown,
    }
}

const CORE: &str = "tag:yaml.org,2002:";

fn error(span: Span, fault: Fault) -> SyntaxError {
    at(&span.start, fault)
}

fn at(marker: &granit_parser::Marker, fault: Fault) -> SyntaxError {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    SyntaxError {
        line: count(marker.line()),
        column: count(marker.col()) + 1,
        fault,
    }
}
