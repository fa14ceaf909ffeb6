//! What `validate` of a program looks at, without asking any server.

use std::error::Error;
use std::io::{self, Write as _};

use kdc_envelope_bao::settings::BaoConnection;
use kdc_envelope_bao::{Client, CredentialError};

use crate::console;

/// Prints a line for each check, and tells how many failed.
///
/// # Errors
/// If standard output cannot be written.
pub fn print<E: Error + 'static>(
    checks: impl IntoIterator<Item = (impl AsRef<str>, Result<String, E>)>,
) -> io::Result<usize> {
    let mut out = io::stdout();
    let mut failed = 0;
    for (name, result) in checks {
        let name = name.as_ref();
        match result {
            Ok(detail) => writeln!(out, "ok    {name}: {detail}")?,
            Err(failure) => {
                failed += 1;
                writeln!(out, "FAIL  {name}: {}", console::line(&failure))?;
            }
        }
    }
    Ok(failed)
}

/// The addresses and certificates of a connection to OpenBao.
///
/// # Errors
/// [`CredentialError`] of a certificate.
pub fn connection(connection: &BaoConnection) -> Result<String, CredentialError> {
    let config = connection.client_config();
    let addresses: Vec<String> = config.addresses.iter().map(ToString::to_string).collect();
    Client::new(config)?;
    Ok(format!("{}; not tried", addresses.join(", ")))
}

/// The files of a login to OpenBao.
///
/// # Errors
/// [`CredentialError`] of one of them.
pub fn login(connection: &BaoConnection) -> Result<String, CredentialError> {
    let method = connection.login_method();
    method.check_files()?;
    let (name, mount, role) = (method.name(), method.mount(), method.role());
    Ok(format!("{name} at mount {mount}, role {role}; not tried"))
}
