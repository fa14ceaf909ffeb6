//! The Transit key: what it is, and how it is rotated.

use std::time::Duration;

use kdc_envelope_bao::settings::TransitSettings;
use kdc_envelope_bao::{BaoError, Session, TransitKey, TransitKeyName, inspect};

use super::finding::{Check, Finding, Findings};
use super::rights::Rights;
use super::words::{for_people, of_call};
use crate::clock;

const OF_KEY: [Check; 4] = [
    Check::KEY_TYPE,
    Check::KEY_SAFETY,
    Check::KEY_VERSIONS,
    Check::KEY_ROTATION,
];

/// Reads the key.
pub(super) async fn read(session: &Session, name: &TransitKeyName) -> Result<TransitKey, BaoError> {
    inspect::key(session, name).await
}

/// The findings about the key itself.
pub(super) fn report(
    found: &Result<TransitKey, BaoError>,
    settings: &TransitSettings,
    rights: &Rights,
    findings: &mut Findings<'_>,
) {
    let name = settings.key_name();
    let key = match found {
        Ok(key) => key,
        Err(error) => {
            findings.add(missing(&name, error));
            findings.skip(&OF_KEY, &name, "the key cannot be read");
            return;
        }
    };
    let count = key.versions.len();
    findings.add(Finding::pass(
        Check::KEY,
        &name,
        format_args!("exists, with {count} version(s)"),
    ));
    findings.add(match key.check(&name) {
        Ok(()) => Finding::pass(
            Check::KEY_TYPE,
            &name,
            format_args!("{}, not derived", key.kind),
        ),
        Err(error) => {
            let cure = "make another key: `bao write -f MOUNT/keys/NAME type=aes256-gcm96`";
            Finding::of_error(Check::KEY_TYPE, &name, &error, cure)
        }
    });
    let warnings = key.warnings();
    if warnings.is_empty() {
        let detail = "cannot be exported, backed up in plaintext, or deleted";
        findings.add(Finding::pass(Check::KEY_SAFETY, &name, detail));
    }
    for warning in warnings {
        let (what, cure) = warning
            .split_once("; ")
            .unwrap_or((warning, "make another key"));
        findings.add(Finding::warn(Check::KEY_SAFETY, &name, what, cure));
    }
    let hold = settings.options().hold;
    findings.add(versions(key, &name, hold));
    findings.add(rotation(key, &name, hold, rights));
}

fn missing(name: &TransitKeyName, error: &BaoError) -> Finding {
    let mount = name.mount();
    match error {
        BaoError::NotFound { message, .. } if message.contains("no handler for route") => {
            let detail = format_args!("nothing is mounted at `{mount}` in this namespace");
            let cure = format_args!(
                "correct --bao-mount or --bao-namespace, or `bao secrets enable -path={mount} transit`"
            );
            Finding::fail(Check::KEY, name, detail, cure)
        }
        BaoError::NotFound { message, .. } => {
            let detail = format_args!("there is no such key{message}");
            let cure = format_args!(
                "correct --bao-key or --bao-namespace, or `bao write -f {mount}/keys/{} type=aes256-gcm96`",
                name.name()
            );
            Finding::fail(Check::KEY, name, detail, cure)
        }
        BaoError::Forbidden { .. } => {
            let why =
                "the policies of the token do not let it read the key; or nothing is mounted there";
            Finding::skip(Check::KEY, name, why)
        }
        error => of_call(Check::KEY, &name.to_string(), error),
    }
}

fn versions(key: &TransitKey, name: &TransitKeyName, hold: Duration) -> Finding {
    let check = Check::KEY_VERSIONS;
    let latest = key.latest_version;
    let oldest = key.min_decryption_version.max(1);
    let mut detail = format!("newest is {latest}, {oldest} and newer decrypt");
    if key.min_encryption_version > 0 {
        detail.push_str(&format!(
            ", {} and newer encrypt",
            key.min_encryption_version
        ));
    }
    let age = key
        .versions
        .get(&latest)
        .map(|made| clock::now().saturating_sub(*made));
    let left = age.map(|age| hold.saturating_sub(Duration::from_secs(age)));
    if let Some(left) = left.filter(|left| !left.is_zero() && key.versions.len() > 1) {
        detail.push_str(&format!("; the newest wraps in {}", for_people(left)));
    }
    if key.min_available_version > 0 {
        let gone = key.min_available_version;
        let detail = format_args!("{detail}; versions before {gone} are destroyed for good");
        return Finding::pass(check, name, detail);
    }
    if oldest > 1 {
        let detail = format_args!("{detail}; what older versions wrapped cannot be read");
        let cure = format_args!(
            "if rows or backups of older versions exist: `bao write {}/keys/{}/config min_decryption_version=1`",
            name.mount(),
            name.name()
        );
        return Finding::warn(check, name, detail, cure);
    }
    Finding::pass(check, name, detail)
}

fn rotation(key: &TransitKey, name: &TransitKeyName, hold: Duration, rights: &Rights) -> Finding {
    let check = Check::KEY_ROTATION;
    let period = Duration::from_secs(key.auto_rotate_period);
    if period.is_zero() {
        return Finding::pass(check, name, "OpenBao does not rotate it by itself");
    }
    let every = format!("OpenBao rotates it every {}", for_people(period));
    let off = format!(
        "`bao write {}/keys/{}/config auto_rotate_period=0`",
        name.mount(),
        name.name()
    );
    if rights.may_rotate(name) {
        let detail = format_args!(
            "{every}, and this token may rotate it too: two rotations at once can lose a version and what it wrapped"
        );
        let cure = format_args!("let only one rotate: {off}, or take `rotate` out of the policy");
        return Finding::warn(check, name, detail, cure);
    }
    if period <= hold {
        let detail = format_args!("{every}; no version gets old enough to wrap (--bao-hold)");
        let cure = format_args!("rotate less often: {off}");
        return Finding::warn(check, name, detail, cure);
    }
    let detail = format_args!("{every}; let nothing else rotate it at the same time");
    Finding::pass(check, name, detail)
}
