//! Checks without asking the cluster or OpenBao: what running would trip over.

use kdc_shared::checks;

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
        (
            "connection",
            checks::connection(&settings.connection).map_err(Failure::from),
        ),
        (
            "login",
            checks::login(&settings.connection).map_err(Failure::from),
        ),
    ];
    let failed = checks::print(checks).map_err(Failure::Output)?;
    match failed {
        0 => Ok(()),
        failed => Err(Failure::Invalid(failed)),
    }
}
