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

use clap::{CommandFactory as _, Parser as _};
use kdc_envelope_k8s::crd::{KDC_CLUSTERS, KMS_KEYS};
use kdc_shared::exit::Exit;
use kdc_shared::{console, usage};

mod cli;
mod failure;
mod run;
mod settings;

use cli::{Cli, Command};

/// What it is called in messages.
const NAME: &str = run::PROGRAM.name;
/// The rights that the program needs, as a ClusterRole.
const RBAC: &str = include_str!("rbac.yaml");

/// Does what `arguments` say and gives the exit code of the process.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            let line = usage::line(&error);
            console::complain(NAME, &format!("{line}; see `k8-manager --help`"));
            return Exit::Usage.into();
        }
        Err(help) => return console::printed(NAME, help.print()),
    };
    let outcome = match cli.command {
        Some(Command::Crd) => {
            let definitions = [KMS_KEYS, KDC_CLUSTERS].map(|definition| definition.yaml);
            return print(definitions.join("---\n").as_bytes());
        }
        Some(Command::Rbac) => return print(RBAC.as_bytes()),
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
            return print(&script);
        }
        Some(Command::Validate(options)) => settings::gather(*options).map(drop),
        None => settings::gather(cli.options).and_then(|settings| run::run(&settings)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            console::report(NAME, &console::line(&failure));
            failure.exit().into()
        }
    }
}

fn print(text: &[u8]) -> ExitCode {
    console::printed(NAME, io::stdout().write_all(text))
}
