//! From the events of a YAML parser to values, as `go.yaml.in/yaml/v2` puts them together in strict mode.

use core::ops::Range;
use std::collections::BTreeMap;

use serde_saphyr::granit_parser::{
    self, Event, Parser, ScalarStyle, Span, StrInput, StructureStyle,
};
use zeroize::Zeroizing;

use super::scalar::{Tag, resolve};
use super::strict::{check_prologue, check_tabs, escapes_slash};
use super::{Fault, Fields, SyntaxError, Value, repeated};

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
    check_prologue(text)?;
    let mut composer = Composer {
        text,
        parser: Parser::new_from_str_with_options(text, options),
        anchors: BTreeMap::new(),
        inner: Vec::new(),
        flow: 0,
        values: 0,
        aliases: 0,
    };
    let documents = composer.documents()?;
    check_tabs(text, composer.inner)?;
    Ok(documents)
}

struct Composer<'t> {
    text: &'t str,
    parser: Parser<'t, StrInput<'t>>,
    /// Finished nodes that have one.
    anchors: BTreeMap<usize, (Value, usize)>,
    /// Where scalars and collections in flow style stand, in bytes.
    inner: Vec<Range<usize>>,
    /// How many collections in flow style are open.
    flow: usize,
    values: usize,
    aliases: usize,
}

impl<'t> Composer<'t> {
    fn documents(&mut self) -> Result<Vec<(u64, Value)>, SyntaxError> {
        let mut documents = Vec::new();
        loop {
            match self.document() {
                Ok(Some(document)) => documents.push(document),
                Ok(None) => return Ok(documents),
                Err(error) if documents.is_empty() => return Err(error),
                Err(error) => {
                    let fault = Fault::Behind;
                    return Err(SyntaxError { fault, ..error });
                }
            }
        }
    }

    /// The next one, with the line where it begins.
    fn document(&mut self) -> Result<Option<(u64, Value)>, SyntaxError> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::DocumentStart(_, version) => {
                    let is_known =
                        version.is_none_or(|version| (version.major, version.minor) == (1, 1));
                    if !is_known {
                        return Err(error(span, Fault::Unsupported));
                    }
                    self.anchors.clear();
                    let value = self.value(0)?;
                    return Ok(Some((error(span, Fault::Syntax).line, value)));
                }
                Event::StreamEnd => return Ok(None),
                _ => {}
            }
        }
    }

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
                self.check_notation(&text, style, tag.is_some(), span)?;
                let tag = tag.as_deref().map_or(Tag::None, known_tag);
                let value = resolve(&text, style == ScalarStyle::Plain, tag);
                (
                    value.ok_or_else(|| error(span, Fault::Unsupported))?,
                    anchor,
                )
            }
            Event::SequenceStart(style, anchor, _) => {
                let list = self.collection(style, span, |composer| composer.list(depth))?;
                (list, anchor)
            }
            Event::MappingStart(style, anchor, _) => {
                let map = self.collection(style, span, |composer| composer.map(depth))?;
                (map, anchor)
            }
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

    /// Refuses what YAML 1.1 reads otherwise.
    fn check_notation(
        &mut self,
        text: &str,
        style: ScalarStyle,
        is_tagged: bool,
        span: Span,
    ) -> Result<(), SyntaxError> {
        let place = span.byte_range().unwrap_or_default();
        let source = self.text.get(place.clone()).unwrap_or_default();
        if style == ScalarStyle::DoubleQuoted && escapes_slash(source) {
            return Err(error(span, Fault::Unsupported));
        }
        // There a `?` ends a text, and a tag takes brackets and commas into its name.
        let is_ambiguous =
            text.contains('?') || text.starts_with(':') || (is_tagged && text.is_empty());
        if self.flow > 0 && style == ScalarStyle::Plain && is_ambiguous {
            return Err(error(span, Fault::Ambiguous));
        }
        self.inner.push(place);
        Ok(())
    }

    /// A list or map, up to its end.
    fn collection(
        &mut self,
        style: StructureStyle,
        span: Span,
        content: impl FnOnce(&mut Self) -> Result<(Value, Span), SyntaxError>,
    ) -> Result<Value, SyntaxError> {
        let is_flow = style == StructureStyle::Flow;
        self.flow += usize::from(is_flow);
        let (value, end) = content(self)?;
        if is_flow {
            self.flow -= 1;
            let offsets = (span.start.byte_offset(), end.end.byte_offset());
            if let (Some(begin), Some(end)) = offsets {
                self.inner.push(begin..end);
            }
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

    fn list(&mut self, depth: usize) -> Result<(Value, Span), SyntaxError> {
        let mut values = Vec::new();
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::SequenceEnd => return Ok((Value::List(values), span)),
                event => values.push(self.value_of(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<(Value, Span), SyntaxError> {
        let mut fields = Fields::new();
        let mut spans = Vec::new();
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::MappingEnd => {
                    let twice = repeated(&fields).and_then(|index| spans.get(index));
                    return match twice {
                        None => Ok((Value::Map(fields), span)),
                        Some(second) => Err(error(*second, Fault::DuplicateField)),
                    };
                }
                event if is_merge(&event) => merge(&mut fields, self.value(depth + 1)?, span)?,
                event => {
                    let name = match self.value_of(event, span, depth + 1)? {
                        Value::Text(name) => name,
                        Value::Integer(number) => Zeroizing::new(number.to_string()),
                        Value::Bool(value) => Zeroizing::new(value.to_string()),
                        _ => return Err(error(span, Fault::Unsupported)),
                    };
                    fields.push((name, self.value(depth + 1)?));
                }
            }
            spans.resize(fields.len(), span);
        }
    }
}

/// Adds the fields of one map or several, of which the last one goes first.
fn merge(fields: &mut Fields, merged: Value, span: Span) -> Result<(), SyntaxError> {
    let all = match merged {
        Value::List(values) => values,
        value => vec![value],
    };
    for value in all.into_iter().rev() {
        let Value::Map(merged) = value else {
            return Err(error(span, Fault::Unsupported));
        };
        fields.extend(merged);
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
