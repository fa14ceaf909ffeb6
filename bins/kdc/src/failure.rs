//! One line for whatever goes wrong, and the exit code that goes with it.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io;
use std::path::Path;

use kdc_envelope::ErrorChain;
use kdc_envelope::kek::KekErrorKind;
use kdc_envelope::local::keyring_file::KeyringFileError;
use kdc_envelope::local::private_file::PrivateFileError;
use kdc_shared::exit;
pub(crate) use kdc_shared::exit::Exit;

/// What each exit code means here; the end of `kdc --help`.
pub(crate) fn exit_codes() -> String {
    exit::table(&[
        (Exit::Ok, "done"),
        (
            Exit::Negative,
            "the answer is no: a check failed, a step is refused, no key fits",
        ),
        (Exit::Usage, "wrong command line"),
        (Exit::Data, "damaged data, or data of another format"),
        (Exit::NoInput, "a file or row is not there"),
        (Exit::Unavailable, "a server or plugin does not answer"),
        (Exit::CannotCreate, "a file cannot be created"),
        (Exit::Io, "reading or writing failed"),
        (
            Exit::Denied,
            "permissions are too narrow, or too wide for a secret",
        ),
        (Exit::Config, "wrong configuration file"),
    ])
}

/// Why a command ends early. Its text is one line without control characters: what, where, what to do.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    line: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, line: impl fmt::Display) -> Self {
        Self {
            exit,
            line: escaped(&line.to_string()),
        }
    }

    /// `error` and all its sources, each said once.
    pub(crate) fn of(exit: Exit, error: &(dyn Error + 'static)) -> Self {
        Self::new(exit, chain(error))
    }

    /// The same after some words on where it happened.
    pub(crate) fn at(exit: Exit, place: impl fmt::Display, error: &(dyn Error + 'static)) -> Self {
        Self::new(exit, format_args!("{place}: {}", chain(error)))
    }

    /// A file that cannot be read, with the flag that named it.
    pub(crate) fn unreadable(flag: &str, path: &Path, error: &io::Error) -> Self {
        let place = format_args!("{flag}: cannot read `{}`", path.display());
        Self::at(exit_of_io(error), place, error)
    }

    /// The same with advice.
    pub(crate) fn hint(mut self, advice: &str) -> Self {
        self.line.push_str("; ");
        self.line.push_str(advice);
        self
    }

    /// The reader of our output went away, as `head` does: nothing to report.
    pub(crate) const fn closed_output() -> Self {
        Self {
            exit: Exit::Ok,
            line: String::new(),
        }
    }

    pub(crate) const fn exit(&self) -> Exit {
        self.exit
    }

    /// What to print, if anything.
    pub(crate) fn line(&self) -> Option<&str> {
        (!self.line.is_empty()).then_some(&self.line)
    }
}

/// The exit code of a failed read.
pub(crate) fn exit_of_io(error: &io::Error) -> Exit {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::IsADirectory => Exit::NoInput,
        io::ErrorKind::PermissionDenied => Exit::Denied,
        _ => Exit::Io,
    }
}

/// The exit code of a file of secrets that cannot be read or written.
pub(crate) fn exit_of_private_file(error: &PrivateFileError) -> Exit {
    match error {
        PrivateFileError::Io { source, .. } => exit_of_io(source),
        PrivateFileError::NotAFile { .. } => Exit::NoInput,
        PrivateFileError::TooOpen { .. } | PrivateFileError::ForeignOwner { .. } => Exit::Denied,
        PrivateFileError::Exists { .. } => Exit::CannotCreate,
        PrivateFileError::TooLarge { .. } => Exit::Data,
        _ => Exit::Io,
    }
}

/// The exit code of a key encryption key that does not do what it was asked.
pub(crate) const fn exit_of_kek(kind: KekErrorKind) -> Exit {
    match kind {
        KekErrorKind::UnknownKey => Exit::Negative,
        KekErrorKind::Denied => Exit::Denied,
        KekErrorKind::Unavailable | KekErrorKind::Exhausted => Exit::Unavailable,
        KekErrorKind::Malformed | KekErrorKind::Authentication => Exit::Data,
        _ => Exit::Io,
    }
}

impl From<KeyringFileError> for Failure {
    fn from(error: KeyringFileError) -> Self {
        let exit = match &error {
            KeyringFileError::File(error) => exit_of_private_file(error),
            KeyringFileError::Edit { .. } => Exit::Negative,
            KeyringFileError::RootSecretLength { .. } | KeyringFileError::Parse { .. } => {
                Exit::Data
            }
            _ => Exit::Io,
        };
        Self::of(exit, &error)
    }
}

/// An error and its sources, separated by colons.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    ErrorChain::new(error).to_string()
}

/// The text with control characters escaped: file names and rows may hold line feeds and terminal commands. So are those that make
/// a terminal or a browser show text in another order than it has.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || is_reordering(character) {
            // Writing to a string cannot fail.
            let _ = write!(out, "{}", character.escape_debug());
        } else {
            out.push(character);
        }
    }
    out
}

/// The bidirectional controls of Unicode (UAX #9), and its separators of lines and paragraphs.
pub(crate) const fn is_reordering(character: char) -> bool {
    matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line() {
        let source = io::Error::new(io::ErrorKind::NotFound, "no\nsuch\u{1b}[31m file");
        let failure = Failure::unreadable("--file", Path::new("a\nb"), &source);
        assert_eq!(
            failure.line(),
            Some("--file: cannot read `a\\nb`: no\\nsuch\\u{1b}[31m file")
        );
        assert_eq!(failure.exit(), Exit::NoInput);
    }

    #[test]
    fn nothing_in_a_text_commands_a_terminal_or_reorders_what_it_shows() {
        let text = "a\u{1b}[31m\u{9b}b\u{202e}txt.exe\u{2066}\u{200f}\u{2028}é";
        assert_eq!(
            escaped(text),
            "a\\u{1b}[31m\\u{9b}b\\u{202e}txt.exe\\u{2066}\\u{200f}\\u{2028}é"
        );
    }
}
