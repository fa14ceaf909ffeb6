//! Results on standard output: plain when piped, coloured on a terminal, quiet when the reader has closed the pipe.

use std::fmt;
use std::io::{self, IsTerminal as _, StdoutLock, Write as _};

use serde::Serialize;

use crate::failure::{Exit, Failure, escaped};

/// How a result is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    #[value(alias = "table")]
    Text,
    /// For programs.
    Json,
}

/// A colour of the terminal, by what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Bad,
    Warning,
    Strong,
    Faint,
}

impl Tone {
    const ALL: [Self; 5] = [
        Self::Good,
        Self::Bad,
        Self::Warning,
        Self::Strong,
        Self::Faint,
    ];

    /// Parameters of the escape sequence "select graphic rendition" (ECMA-48).
    const fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Bad => "31;1",
            Self::Warning => "33",
            Self::Strong => "1",
            Self::Faint => "2",
        }
    }
}

/// Standard output, and whether it is a terminal with colours.
#[derive(Debug)]
pub(crate) struct Output {
    stdout: StdoutLock<'static>,
    is_terminal: bool,
    has_colour: bool,
}

impl Output {
    pub(crate) fn new() -> Self {
        let stdout = io::stdout().lock();
        let is_terminal = stdout.is_terminal();
        Self {
            stdout,
            is_terminal,
            has_colour: is_terminal && wants_colour(),
        }
    }

    /// Whether standard output is a terminal.
    pub(crate) const fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// `text` in a colour, where there are colours. Control characters in it are escaped.
    pub(crate) fn paint(&self, tone: Tone, text: &str) -> String {
        let text = escaped(text);
        if self.has_colour {
            format!("\u{1b}[{}m{text}\u{1b}[0m", tone.code())
        } else {
            text
        }
    }

    /// Writes a line, without control characters except for the colours of [`paint`](Self::paint).
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> Result<(), Failure> {
        let line = harmless(&line.to_string(), self.has_colour);
        writeln!(self.stdout, "{line}").map_err(|error| write_failure(&error))
    }

    /// Writes exactly these bytes, unescaped.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stdout
            .write_all(bytes)
            .map_err(|error| write_failure(&error))
    }

    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text =
            serde_json::to_string_pretty(value).map_err(|error| Failure::of(Exit::Io, &error))?;
        // Control characters are escaped in JSON, in its own way.
        writeln!(self.stdout, "{text}").map_err(|error| write_failure(&error))
    }

    /// Columns, each as wide as its widest cell. The first row holds the headings. `tone` colours a whole row by its number,
    /// counted from 0 below the headings.
    pub(crate) fn table(
        &mut self,
        rows: &[Vec<String>],
        tone: impl Fn(usize) -> Option<Tone>,
    ) -> Result<(), Failure> {
        let rows: Vec<Vec<String>> = rows
            .iter()
            .map(|row| row.iter().map(|cell| escaped(cell)).collect())
            .collect();
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        for (number, row) in rows.iter().enumerate() {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = width(column);
                line.push_str(&format!("{cell:width$}  "));
            }
            let tone = match number.checked_sub(1) {
                None => Some(Tone::Strong),
                Some(number) => tone(number),
            };
            let line = line.trim_end();
            self.line(tone.map_or_else(|| line.to_owned(), |tone| self.paint(tone, line)))?;
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.stdout.flush().map_err(|error| write_failure(&error))
    }
}

/// The text with all escaped that [`escaped`] escapes, but for line feeds and tabs, and for our own colours if there are any.
fn harmless(text: &str, has_colour: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let colour = has_colour.then(|| colour_at(rest)).flatten();
        let len = match (colour, character) {
            (Some(colour), _) => {
                out.push_str(colour);
                colour.len()
            }
            (None, '\n' | '\t') => {
                out.push(character);
                character.len_utf8()
            }
            (None, _) => {
                let mut utf8 = [0; 4];
                out.push_str(&escaped(character.encode_utf8(&mut utf8)));
                character.len_utf8()
            }
        };
        rest = rest.get(len..).unwrap_or_default();
    }
    out
}

/// The sequence that begins or ends one of our colours, if `text` begins with one.
fn colour_at(text: &str) -> Option<&str> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let (code, _) = parameters.split_once('m')?;
    let is_ours = code == "0" || Tone::ALL.iter().any(|tone| tone.code() == code);
    is_ours.then(|| text.get(..code.len() + 3)).flatten()
}

/// See <https://no-color.org>.
fn wants_colour() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// The failure for standard output that cannot be written; a closed pipe is reported as success.
pub(crate) fn write_failure(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::closed_output();
    }
    Failure::at(Exit::Io, "cannot write to standard output", error)
}

/// A step of a longer work on standard error.
pub(crate) fn step(phase: &str, what: &str) {
    // A closed standard error is no reason to fail.
    let _ = writeln!(io::stderr(), "kdc: {phase}: {}", escaped(what));
}

/// A remark on standard error, for people; results stay alone on standard output.
pub(crate) fn note(remark: &str) {
    // A closed standard error is no reason to fail.
    let _ = writeln!(io::stderr(), "kdc: note: {}", escaped(remark));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_our_colours_and_no_other_command() {
        let name = "key\u{1b}]0;title\u{7}\u{1b}[2J\u{202e}ring";
        let shown = "key\\u{1b}]0;title\\u{7}\\u{1b}[2J\\u{202e}ring";
        assert_eq!(harmless(name, true), shown);
        assert_eq!(harmless(name, false), shown);
        let painted = "\u{1b}[31;1mbad\u{1b}[0m\tand é\n";
        assert_eq!(harmless(painted, true), painted);
        let plain = "\\u{1b}[31;1mbad\\u{1b}[0m\tand é\n";
        assert_eq!(harmless(painted, false), plain);
    }
}
