//! Checks without asking the cluster or OpenBao: what running would trip over.

use std::io::{self, Write as _};

use kdc_envelope_bao::Client;
use kdc_envelope_bao::settings::BaoConnection;
use kdc_shared::console;

use crate::PROGRAM;
use crate::cli::ServeOptions;
use crate::failure::Failure;
use crate::settings::Settings;

/// Prints a line for each check.
pub(crate) fn validate(options: ServeOptions) -> Result<(), Failure> {
    let (common, own) = options.gather(PROGRAM.name)?;
    let settings = Settings::resolve(own)?;
    let leader = &common.leader;
    let keys = &settings.keys;
    let lease = format!(
        "{}/{}, as `{}`",
        leader.namespace, leader.name, leader.identity
    );
    let names = format!(
        "{} at mount {}, looked at every {:?}",
        keys.names, keys.mount, keys.interval
    );
    let checks = [
        ("lease", Ok(lease)),
        ("keys", Ok(names)),
        ("connection", check_connection(&settings.connection)),
        ("login", check_login(&settings.connection)),
    ];
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
        written.map_err(Failure::Output)?;
    }
    match failed {
        0 => Ok(()),
        failed => Err(Failure::Invalid(failed)),
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
