//! The program `k8-manager`: brings encryption at rest to hosted control planes, as their KdcClusters ask for it.
//!
//! * `cli`: the command line and the text of `--help`;
//! * `settings`: what is the same for every cluster;
//! * `run`: the controller; everything that it does is in [`kdc_envelope_k8s::hosted`];
//! * `failure`: what ends the program, and with which exit code.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use kdc_envelope_k8s::crd::{KDC_CLUSTERS, KMS_KEYS};
use kdc_shared::exit::Exit;
use kdc_shared::{logging, usage};

mod cli;
mod failure;
mod run;
mod settings;

use cli::{Cli, Command};
use failure::Failure;

/// The rights that the program needs, as a ClusterRole.
const RBAC: &str = include_str!("rbac.yaml");

/// Does what `arguments` say and gives the exit code of the process.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            complain(&format!("{}; see `k8-manager --help`", usage::line(&error)));
            return Exit::Usage.into();
        }
        Err(help) => return printed(help.print()),
    };
    let outcome = match cli.command {
        Some(Command::Crd) => {
            let definitions = [KMS_KEYS, KDC_CLUSTERS].map(|definition| definition.yaml);
            return printed(io::stdout().write_all(definitions.join("---\n").as_bytes()));
        }
        Some(Command::Rbac) => return printed(io::stdout().write_all(RBAC.as_bytes())),
        Some(Command::Validate(options)) => settings::gather(*options).map(drop),
        None => settings::gather(cli.options).and_then(|settings| run::run(&settings)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report(&failure);
            failure.exit().into()
        }
    }
}

/// The end of a text that was asked for. A reader that goes away, as `head` does, is no failure.
fn printed(written: io::Result<()>) -> ExitCode {
    match written.and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("cannot write to standard output: {error}"));
            Exit::Io.into()
        }
        _ => ExitCode::SUCCESS,
    }
}

/// One line, in the form that logs have when they have one.
fn report(failure: &Failure) {
    if logging::is_structured() {
        tracing::error!(error = failure.line(), "k8-manager failed");
    } else {
        complain(&failure.line());
    }
}

fn complain(line: &str) {
    // Nothing is left to do if standard error is closed.
    let _ = writeln!(io::stderr(), "k8-manager: error: {line}");
}
