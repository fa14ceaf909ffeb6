//! How the quickstart shows its steps, and the name that all of them use.

use crate::failure::{Failure, escaped};
use crate::output::{Output, Tone};

/// The name of the provider in the EncryptionConfiguration.
pub(super) const PROVIDER: &str = "kdc-local";

pub(super) fn heading(out: &mut Output, number: u8, text: &str) -> Result<(), Failure> {
    if number > 1 {
        out.line("")?;
    }
    let text = out.paint(Tone::Strong, &format!("{number}. {text}"));
    out.line(text)
}

pub(super) fn command(out: &mut Output, command: std::fmt::Arguments<'_>) -> Result<(), Failure> {
    let command = out.paint(Tone::Faint, &format!("$ {command}"));
    out.line(command)
}

pub(super) fn say(out: &mut Output, text: std::fmt::Arguments<'_>) -> Result<(), Failure> {
    out.line(text)
}

pub(super) fn good(out: &mut Output, text: &str) -> Result<(), Failure> {
    let word = out.paint(Tone::Good, "ok");
    let text = escaped(text);
    out.line(format_args!("{word}: {text}"))
}
