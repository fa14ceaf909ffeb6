//! XML as S3 answers it, read strictly: one whole document or none.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};

/// A page of a listing has a thousand objects with some ten elements each.
const MAX_ELEMENTS: usize = 100_000;
const MAX_DEPTH: usize = 16;

/// An element with its text, and the elements in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    /// Without its prefix.
    name: String,
    /// Of the root alone.
    namespace: Option<String>,
    text: String,
    children: Vec<Self>,
}

impl Element {
    /// The root of a whole and well-formed document without a document type.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::from_reader(bytes);
        reader.config_mut().check_comments = true;
        let mut open: Vec<Self> = Vec::new();
        let mut root: Option<Self> = None;
        let mut count = 0_usize;
        loop {
            let (element, is_empty) = match reader.read_event().ok()? {
                Event::Eof => return root.filter(|_| open.is_empty()),
                Event::Start(start) => (Self::begin(&start)?, false),
                Event::Empty(start) => (Self::begin(&start)?, true),
                Event::End(_) => {
                    // The reader has compared the names.
                    let ended = open.pop()?;
                    place(ended, &mut open, &mut root);
                    continue;
                }
                Event::Text(text) => {
                    add_text(&mut open, &text.xml10_content().ok()?)?;
                    continue;
                }
                Event::CData(text) => {
                    open.last_mut()?.text.push_str(&text.decode().ok()?);
                    continue;
                }
                Event::GeneralRef(reference) => {
                    open.last_mut()?.text.push_str(&resolve(&reference)?);
                    continue;
                }
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) => continue,
                Event::DocType(_) => return None,
            };
            count += 1;
            if root.is_some() || count > MAX_ELEMENTS || open.len() >= MAX_DEPTH {
                return None;
            }
            match is_empty {
                true => place(element, &mut open, &mut root),
                false => open.push(element),
            }
        }
    }

    fn begin(start: &BytesStart<'_>) -> Option<Self> {
        let (name, prefix) = start.name().decompose();
        let mut namespace = None;
        for attribute in start.attributes() {
            let attribute = attribute.ok()?;
            let (key, key_prefix) = attribute.key.decompose();
            let declares = match (prefix, key_prefix) {
                (None, None) => key.as_ref() == b"xmlns",
                (Some(prefix), Some(xmlns)) => {
                    xmlns.as_ref() == b"xmlns" && key.as_ref() == prefix.as_ref()
                }
                _ => false,
            };
            if declares {
                let value = String::from_utf8(attribute.value.into_owned()).ok()?;
                namespace = Some(value);
            }
        }
        Some(Self {
            name: String::from_utf8(name.as_ref().to_vec()).ok()?,
            namespace,
            ..Self::default()
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is called so, in a namespace of S3 or in none.
    pub(super) fn is_of_s3(&self, name: &str) -> bool {
        let is_ours = |namespace: &String| namespace.contains("s3.amazonaws.com");
        self.name == name && self.namespace.as_ref().is_none_or(is_ours)
    }

    /// The elements of a name that are directly in it.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of the one element of a name that is directly in it and not empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let mut found = self.children.iter().filter(|child| child.name == name);
        let only = found.next().filter(|_| found.next().is_none())?;
        Some(only.text.as_str()).filter(|text| !text.is_empty())
    }
}

/// Where an element that has ended belongs.
fn place(ended: Element, open: &mut [Element], root: &mut Option<Element>) {
    match open.last_mut() {
        Some(parent) => parent.children.push(ended),
        None => *root = Some(ended),
    }
}

/// Text outside of the root may only be space.
fn add_text(open: &mut [Element], text: &str) -> Option<()> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return None,
    }
    Some(())
}

fn resolve(reference: &BytesRef<'_>) -> Option<Cow<'static, str>> {
    if let Some(character) = reference.resolve_char_ref().ok()? {
        return Some(Cow::Owned(character.to_string()));
    }
    resolve_predefined_entity(&reference.decode().ok()?).map(Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_whole() {
        let text = "\u{feff}<?xml version='1.0'?>\n<!-- x --><s:A xmlns:s='http://s3.amazonaws.com/doc/2006-03-01/'>\
                    <B>1&amp;&#x32;<![CDATA[<3>]]></B><C/><D> </D><C>x</C></s:A>\n";
        let root = Element::parse(text.as_bytes()).unwrap();
        assert!(root.is_of_s3("A") && !root.is_of_s3("B"));
        assert_eq!(root.text("B"), Some("1&2<3>"));
        assert_eq!(root.text("D"), Some(" "));
        // Which of two would be meant?
        assert_eq!(root.text("C"), None);
        assert_eq!(root.all("C").count(), 2);
    }

    #[test]
    fn what_is_not_one_whole_document_is_none() {
        let deep = format!("{}{}", "<a>".repeat(17), "</a>".repeat(17));
        let many = format!("<a>{}</a>", "<b/>".repeat(MAX_ELEMENTS));
        for bad in [
            "",
            " ",
            "text",
            "<A>",
            "<A><B></A>",
            "<A></A><A></A>",
            "<A/>text",
            "text<A/>",
            "<A>&unknown;</A>",
            "<A>&#0;</A>",
            "<A x=1/>",
            "<A><B>",
            "<!DOCTYPE A><A/>",
            "<!doctype html><html><body></body></html>",
            "<A/><B",
            &deep,
            &many,
        ] {
            assert_eq!(Element::parse(bad.as_bytes()), None, "{:.60}", bad);
        }
        assert!(Element::parse(b"<A>\xff</A>").is_none());
        let other = Element::parse(b"<A xmlns='http://www.w3.org/1999/xhtml'/>").unwrap();
        assert!(!other.is_of_s3("A"));
    }
}
