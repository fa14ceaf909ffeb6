//! What a parser of YAML 1.2 takes and `go.yaml.in/yaml/v2` refuses, found in the text itself.

use core::ops::Range;

use super::{Fault, SyntaxError};

/// Looks at all lines before the first document: directives and ends of documents that may not stand there. Also refuses the
/// line breaks that only YAML 1.1 knows, so that no reader sees one line where another sees two.
pub(super) fn check_prologue(text: &str) -> Result<(), SyntaxError> {
    if let Some((at, _)) = text
        .char_indices()
        .find(|(_, c)| matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}'))
    {
        return Err(at_offset(text, at, Fault::LineBreak));
    }
    let mut lines = text
        .strip_prefix('\u{feff}')
        .unwrap_or(text)
        .lines()
        .zip(1..);
    let wrong = lines.find_map(|(line, number)| {
        let is_blank =
            line.trim_start_matches(' ').is_empty() || line.trim_start().starts_with('#');
        match line.strip_prefix('%') {
            Some(directive) => {
                let name = directive.split([' ', '\t']).next();
                let is_known = matches!(name, Some("YAML" | "TAG"));
                (!is_known).then_some(Some(number))
            }
            None if is_blank => None,
            None => Some(line.starts_with("...").then_some(number)),
        }
    });
    match wrong.flatten() {
        None => Ok(()),
        Some(line) => Err(SyntaxError {
            line,
            column: 1,
            fault: Fault::Unsupported,
        }),
    }
}

/// Looks for a tab in front of a token, where a line is indented or follows `-` or `?`. `inner` are the places of scalars and of
/// collections in flow style, in which tabs may stand.
pub(super) fn check_tabs(text: &str, mut inner: Vec<Range<usize>>) -> Result<(), SyntaxError> {
    // Sorted by its begin, and each as far as the ones before it reach, the last one that begins before a place decides.
    inner.sort_by_key(|range| range.start);
    let mut reached = 0;
    for range in &mut inner {
        reached = reached.max(range.end);
        range.end = reached;
    }
    let is_inner = |at: usize| {
        let before = inner.partition_point(|range| range.start <= at);
        let last = before.checked_sub(1).and_then(|last| inner.get(last));
        last.is_some_and(|range| at < range.end)
    };
    let mut begin = 0;
    for line in text.split_inclusive('\n') {
        let end = begin + line.len();
        let indent = line
            .find(|c| !matches!(c, ' ' | '-' | '?'))
            .unwrap_or(line.len());
        let at = begin + indent;
        let is_tab = line
            .get(indent..)
            .is_some_and(|rest| rest.starts_with('\t'));
        if is_tab && !is_inner(at) {
            return Err(at_offset(text, at, Fault::Tab));
        }
        begin = end;
    }
    Ok(())
}

/// Whether a text in double quotes, with them, escapes a slash, which JSON may and YAML 1.1 may not.
pub(super) fn escapes_slash(quoted: &str) -> bool {
    let mut rest = quoted.chars();
    while let Some(c) = rest.next() {
        if c == '\\' && rest.next() == Some('/') {
            return true;
        }
    }
    false
}

fn at_offset(text: &str, at: usize, fault: Fault) -> SyntaxError {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let before = text.get(..at).unwrap_or_default();
    let column = before.rsplit('\n').next().unwrap_or_default();
    SyntaxError {
        line: count(before.matches('\n').count()) + 1,
        column: count(column.chars().count()) + 1,
        fault,
    }
}
