//! The program `kms-plugin`: a KMS v2 plugin over keys in OpenBao or on this machine.
//!
//! * [`cli`]: the command line and the text of `--help`; `openshift`: other flags that are taken too;
//! * `exit`: which failure ends with which exit code, and their table; `failure`: what ends the program;
//! * `key`: opens the keys, and keeps them usable;
//! * `run`, `validate`: the two things it does.
//!
//! Its settings are in `kdc_shared::plugin`.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

pub mod cli;
mod exit;
mod failure;
mod key;
mod openshift;
mod run;
mod validate;

use cli::{Cli, Command};
use failure::Failure;
use kdc_shared::exit::Exit;
use kdc_shared::plugin::{Settings, merged};
use kdc_shared::{console, usage};

/// Does what `arguments` say and gives the exit code of the process.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match openshift::translate(arguments.into_iter().collect()) {
        Ok(arguments) => arguments,
        Err(error) => {
            console::complain(NAME, &format!("{error}; see `kms-plugin --help`"));
            return Exit::Usage.into();
        }
    };
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            let line = usage::line(&error);
            console::complain(NAME, &format!("{line}; see `kms-plugin --help`"));
            return Exit::Usage.into();
        }
        Err(help) => {
            return console::printed(NAME, help.print());
        }
    };
    let result = match cli.command {
        Some(Command::Completions { shell }) => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), NAME, &mut text);
            return console::printed(NAME, io::stdout().write_all(&text));
        }
        Some(Command::Validate(options)) => merged(*options)
            .map_err(Failure::from)
            .and_then(validate::validate),
        None => Settings::gather(cli.options)
            .map_err(Failure::from)
            .and_then(run::run),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            console::report(NAME, &console::line(&failure));
            failure.exit().into()
        }
    }
}

/// As its messages call it.
const NAME: &str = "kms-plugin";
