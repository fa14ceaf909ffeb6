//! Checks without serving: everything that `run` would trip over, all of it and not just the first.

use std::io::{self, Write as _};

use kdc_envelope::KeyEncryptionKey as _;
use kdc_envelope::local::LocalKek;
use kdc_envelope_kms::server::{ServeError, check_place};

use crate::failure::Failure;
use crate::settings::{KeySource, Settings};

/// Prints a line for each check.
pub(crate) fn validate(settings: Settings) -> Result<(), Failure> {
    let checks = [
        ("key", check_key(&settings.key)),
        ("socket", check_socket(&settings)),
    ];
    let mut out = io::stdout();
    let mut faults = 0;
    for (name, result) in checks {
        let written = match result {
            Ok(detail) => writeln!(out, "ok    {name}: {detail}"),
            Err(failure) => {
                faults += 1;
                writeln!(out, "FAIL  {name}: {}", failure.line())
            }
        };
        written.map_err(Failure::system("write to stdout"))?;
    }
    match faults {
        0 => Ok(()),
        faults => Err(Failure::Invalid(faults)),
    }
}

fn check_key(source: &KeySource) -> Result<String, Failure> {
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

fn check_socket(settings: &Settings) -> Result<String, Failure> {
    let socket = &settings.socket;
    check_place(&socket.address).map_err(ServeError::from)?;
    Ok(format!(
        "{} can be taken, mode {}",
        socket.address, socket.mode
    ))
}
