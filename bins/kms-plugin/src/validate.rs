//! Checks without serving or asking OpenBao: everything that `run` would trip over, all of it and not just the first.

use kdc_envelope::KeyEncryptionKey as _;
use kdc_envelope::local::LocalKek;
use kdc_envelope::local::private_process::keep_private;
use kdc_envelope_kms::server::{ServeError, check_place};

use crate::failure::Failure;
use kdc_shared::checks;
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
    let failed = checks::print(checks).map_err(Failure::system("write to stdout"))?;
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
                (
                    "connection",
                    checks::connection(connection).map_err(Failure::from),
                ),
                ("login", checks::login(connection).map_err(Failure::from)),
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

fn check_socket(key: &KeySettings) -> Result<String, Failure> {
    let socket = &key.socket;
    check_place(socket).map_err(ServeError::from)?;
    Ok(format!(
        "{} can be taken, mode {}",
        socket.address, socket.mode
    ))
}
