//! Checks without serving or asking OpenBao: everything that `run` would trip over, all of it and not just the first.

use std::io::{self, Write as _};

use kdc_envelope::KeyEncryptionKey as _;
use kdc_envelope::local::LocalKek;
use kdc_envelope::local::private_process::keep_private;
use kdc_envelope_bao::Client;
use kdc_envelope_bao::settings::BaoConnection;
use kdc_envelope_kms::server::{ServeError, check_place};

use crate::failure::Failure;
use kdc_shared::console;
use kdc_shared::plugin::Given;
use kdc_shared::plugin::{BaoSource, FileSource, KeySettings, KeySource, Settings};

/// Prints a line for each check.
pub(crate) fn validate(given: Given) -> Result<(), Failure> {
    // What cannot be kept private is told by `run`, which keeps keys for longer.
    let _ = keep_private();
    let has_names = given.keys.is_some();
    let (settings, faults) = Settings::examine(given);
    let mut checks: Vec<Check> = faults
        .into_iter()
        .map(|fault| ("settings".to_owned(), Err(fault.into())))
        .collect();
    for key in &settings.keys {
        let prefix = match has_names {
            true => format!("{} ", key.name),
            false => String::new(),
        };
        let of_key = checks_of(key).into_iter();
        checks.extend(of_key.map(|(name, result)| (format!("{prefix}{name}"), result)));
    }
    let mut out = io::stdout();
    let mut failed = 0;
    for (name, result) in checks {
        let written = match result {
            Ok(detail) => writeln!(out, "ok    {name}: {detail}"),
            Err(failure) => {
                failed += 1;
                writeln!(out, "FAIL  {name}: {}", console::line(&failure))
            }
        };
        written.map_err(Failure::system("write to stdout"))?;
    }
    match failed {
        0 => Ok(()),
        failed => Err(Failure::Invalid(failed)),
    }
}

/// What was looked at, and what was found or is wrong.
type Check = (String, Result<String, Failure>);

fn checks_of(key: &KeySettings) -> Vec<(&'static str, Result<String, Failure>)> {
    let mut checks = match &key.source {
        KeySource::File(source) => vec![("key", check_file(source))],
        KeySource::Bao(source) => {
            let connection = &source.connection;
            vec![
                ("key", Ok(describe(source))),
                ("connection", check_connection(connection)),
                ("login", check_login(connection)),
                ("outage", Ok(source.outage())),
            ]
        }
    };
    checks.push(("socket", check_socket(key)));
    checks
}

fn check_file(source: &FileSource) -> Result<String, Failure> {
    let kek = LocalKek::new(source.load()?)?;
    let path = source.path().display();
    Ok(kek.status().map_or_else(
        |error| format!("{path}: {error}"),
        |status| {
            format!(
                "{path} wraps with version {}, key id {}",
                status.version, status.key_id
            )
        },
    ))
}

fn describe(source: &BaoSource) -> String {
    let key = source.transit.key_name();
    match source.connection.client_config().namespace {
        Some(namespace) => format!("{key} in namespace {namespace} of OpenBao"),
        None => format!("{key} in OpenBao"),
    }
}

fn check_connection(connection: &BaoConnection) -> Result<String, Failure> {
    let config = connection.client_config();
    let addresses: Vec<String> = config.addresses.iter().map(ToString::to_string).collect();
    Client::new(config)?;
    Ok(format!("{}; not tried", addresses.join(", ")))
}

fn check_login(connection: &BaoConnection) -> Result<String, Failure> {
    let method = connection.login_method();
    method.check_files()?;
    let (name, mount, role) = (method.name(), method.mount(), method.role());
    Ok(format!("{name} at mount {mount}, role {role}; not tried"))
}

fn check_socket(key: &KeySettings) -> Result<String, Failure> {
    let socket = &key.socket;
    check_place(socket).map_err(ServeError::from)?;
    Ok(format!(
        "{} can be taken, mode {}",
        socket.address, socket.mode
    ))
}
