//! The program `kdc-manager`: makes, rotates and deletes the keys of tenants in OpenBao as their KMSKeys say, and lets the plugins of
//! their clusters use them.
//!
//! * [`cli`]: the command line and the text of `--help`;
//! * [`settings`]: what it is told, besides what all managers are;
//! * [`openbao`]: the port of the controllers, on the administrator's side of OpenBao;
//! * `rbac`, `validate`: what it prints;
//! * `failure`: what ends the program, and with which exit code.
//!
//! What it does is in `kdc_envelope_k8s::keys`.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory as _, Parser as _};
use kdc_envelope_k8s::crd::KMS_KEYS;
use kdc_envelope_k8s::keys::KeysControllers;
use kdc_shared::exit::Exit;
use kdc_shared::manager::{self, Program, Setup, Work};
use kdc_shared::{console, usage};

pub mod cli;
mod clock;
mod failure;
pub mod openbao;
pub mod rbac;
pub mod settings;
mod validate;

use cli::{Cli, Command, ServeOptions};
use failure::Failure;
use openbao::OpenBao;
use settings::Settings;

/// What the program is to the cluster.
const PROGRAM: Program = Program {
    name: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    reporter: "security.kube-dc.com/kdc-manager",
    metrics: "kdc_manager",
};

/// Does what `arguments` say and gives the exit code of the process.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let name = PROGRAM.name;
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            let line = usage::line(&error);
            console::complain(name, &format!("{line}; see `kdc-manager --help`"));
            return Exit::Usage.into();
        }
        Err(help) => return console::printed(name, help.print()),
    };
    let result = match cli.command {
        None => serve(*cli.options),
        Some(Command::Validate(options)) => validate::validate(*options),
        Some(Command::Crd) => return print(KMS_KEYS.yaml),
        Some(Command::Rbac(place)) => return print(&rbac::manifests(&place)),
        Some(Command::Completions { shell }) => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), name, &mut text);
            return console::printed(name, io::stdout().write_all(&text));
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            console::report(name, &console::line(&failure));
            failure.exit().into()
        }
    }
}

fn serve(options: ServeOptions) -> Result<(), Failure> {
    let (common, own) = options.gather(PROGRAM.name)?;
    let mut settings = Settings::resolve(own)?;
    settings.keys.namespaces = common.watch_namespaces.clone();
    let service = OpenBao::connect(&settings.connection)?;
    manager::run(&PROGRAM, &common, |setup| work(setup, service, settings))?;
    Ok(())
}

/// The controllers, and what keeps this program logged in to OpenBao.
fn work(setup: &mut Setup, service: OpenBao, settings: Settings) -> Work {
    let session = service.session().clone();
    let controllers = KeysControllers::new(
        &setup.objects,
        Arc::new(service),
        setup.recorder.clone(),
        settings.keys,
        clock::now,
    )
    .with_metrics(setup.registry.sub_registry_with_prefix(PROGRAM.metrics));
    let stop = setup.stop.clone();
    Work {
        health: controllers.health(),
        run: Box::pin(async move {
            tokio::select! {
                () = controllers.run(stop) => {}
                // Never ends.
                () = session.maintain() => {}
            }
        }),
    }
}

fn print(text: &str) -> ExitCode {
    console::printed(PROGRAM.name, io::stdout().write_all(text.as_bytes()))
}
