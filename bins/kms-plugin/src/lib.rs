//! The program `kms-plugin`: a KMS v2 plugin over keys in OpenBao or on this machine.
//!
//! * [`cli`]: flags, environment and the text of `--help`; `openshift`: other flags that are taken too;
//! * [`settings`]: the same settings from a YAML file, merged and checked;
//! * [`group`]: finds the number of a group;
//! * `failure`: what ends the program, and with which exit code;
//! * `key`: opens the keys, and keeps them usable;
//! * `logging`, `notify`, and `telemetry` (feature `otel`): what the outside learns;
//! * `run`, `validate`: the two things it does; `signals`: what stops the first.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory as _, Parser as _};

pub mod cli;
mod failure;
pub mod group;
mod key;
mod logging;
mod notify;
mod openshift;
mod run;
pub mod settings;
mod signals;
#[cfg(feature = "otel")]
pub mod telemetry;
mod validate;

use cli::{Cli, Command};
use failure::{EXIT_USAGE, Failure};
use settings::Settings;

/// Does what `arguments` say and gives the exit code of the process.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match openshift::translate(arguments.into_iter().collect()) {
        Ok(arguments) => arguments,
        Err(error) => {
            complain(&format!("{error}; see `kms-plugin --help`"));
            return EXIT_USAGE.into();
        }
    };
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            complain(&usage_line(&error));
            return EXIT_USAGE.into();
        }
        Err(help) => {
            return end_of_output(help.print());
        }
    };
    let result = match cli.command {
        Some(Command::Completions { shell }) => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "kms-plugin", &mut text);
            return end_of_output(io::stdout().write_all(&text));
        }
        Some(Command::Validate(options)) => settings::merged(*options)
            .map_err(Failure::from)
            .and_then(validate::validate),
        None => Settings::gather(cli.options).and_then(run::run),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report(&failure);
            failure.exit_code().into()
        }
    }
}

/// The end of a text that was asked for. Whoever stops reading has had enough.
fn end_of_output(written: io::Result<()>) -> ExitCode {
    match written.and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let failure = Failure::system("write to standard output")(error);
            report(&failure);
            failure.exit_code().into()
        }
        _ => ExitCode::SUCCESS,
    }
}

/// One line, in the form that logs have when they have one.
fn report(failure: &Failure) {
    if logging::is_structured() {
        tracing::error!(error = failure.line(), "kms-plugin failed");
    } else {
        complain(&failure.line());
    }
}

fn complain(line: &str) {
    // Nothing is left to do if standard error is closed.
    let _ = writeln!(io::stderr(), "kms-plugin: error: {line}");
}

/// What clap says about a mistake, up to the first empty line, in one line. Values of settings of remote services are left out: they
/// may be credentials in the wrong place.
fn usage_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let first: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    let line = first.join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let value = context(ContextKind::InvalidValue);
    let argument = context(ContextKind::InvalidArg);
    let is_remote = argument.starts_with("--bao-") || argument.starts_with("--otel-");
    let line = match is_remote {
        true => line
            .replace(&format!("'{value}'"), "'...'")
            .replace(&format!("`{value}`"), "`...`"),
        _ => line.to_owned(),
    };
    format!("{line}; see `kms-plugin --help`")
}
