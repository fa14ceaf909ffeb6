//! `kdc keyring`: the life of a keyring file.

mod edit;
mod list;
mod retire;

use std::fmt;
use std::path::PathBuf;

use clap::Subcommand;
use kdc_envelope::local::{Keyring, VersionState, keyring_file};

use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone};

const VERIFY_EXAMPLES: &str = "\
Example:
  kdc keyring verify /etc/kms-plugin/keyring && echo fine";

/// A version is added (it reads), promoted once every replica has it (it writes), and retired in the end (it is gone).
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true)]
pub(crate) enum Command {
    /// Create a keyring file with one version, readable by its owner alone.
    Init(edit::Init),
    /// Add a version that can decrypt; it encrypts only after `promote`.
    Add(edit::Add),
    /// Make a newer version the one that encrypts.
    Promote(edit::Promote),
    /// Wipe the key of an old version. Data encrypted under it is lost.
    Retire(Box<retire::Retire>),
    /// Show versions, states and key ids; never a key.
    List(list::List),
    /// Check permissions, format and every living version.
    Verify(Verify),
}

#[derive(Debug, clap::Args)]
#[command(after_help = VERIFY_EXAMPLES)]
pub(crate) struct Verify {
    /// The keyring file.
    file: PathBuf,
}

pub(crate) fn run(command: Command, out: &mut Output) -> Result<Exit, Failure> {
    match command {
        Command::Init(arguments) => edit::init(&arguments, out),
        Command::Add(arguments) => edit::add(&arguments, out),
        Command::Promote(arguments) => edit::promote(&arguments, out),
        Command::Retire(arguments) => retire::run(&arguments, out),
        Command::List(arguments) => list::run(&arguments, out),
        Command::Verify(arguments) => verify(&arguments, out),
    }
}

fn verify(arguments: &Verify, out: &mut Output) -> Result<Exit, Failure> {
    let keyring = keyring_file::load(&arguments.file)?;
    let living = keyring.self_test().map_err(|(version, error)| {
        let place = format!("`{}`: version {version}", arguments.file.display());
        Failure::at(Exit::Negative, place, &error)
    })?;
    let current = keyring.current();
    let good = out.paint(Tone::Good, "ok");
    let file = out.paint(Tone::Strong, &arguments.file.display().to_string());
    out.line(format_args!(
        "{good}: {file} has {living} living version(s), each wraps and unwraps; version {current} writes"
    ))?;
    Ok(Exit::Ok)
}

/// Tells what was done. Where that cannot be written, the error says so too: an operator who only sees a failure tries again.
fn tell<T: fmt::Display>(
    out: &mut Output,
    done: impl fmt::Display,
    lines: impl IntoIterator<Item = T>,
) -> Result<Exit, Failure> {
    let mut lines = lines.into_iter();
    let told = lines.try_for_each(|line| out.line(line));
    match told.and_then(|()| out.flush()) {
        Ok(()) => Ok(Exit::Ok),
        Err(failure) if failure.line().is_none() => Err(failure),
        Err(failure) => Err(failure.hint(&format!("but {done}: do not repeat it"))),
    }
}

/// The key id of a version, for messages.
fn key_id(keyring: &Keyring, number: u32) -> String {
    keyring
        .versions()
        .find(|(other, _)| *other == number)
        .map_or_else(String::new, |(_, version)| version.key_id().to_string())
}

/// One word for a state.
const fn word(state: VersionState) -> &'static str {
    match state {
        VersionState::Current => "current",
        VersionState::Readable => "readable",
        VersionState::Retired { .. } => "retired",
        _ => "unknown",
    }
}
