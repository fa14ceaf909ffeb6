//! Words that several checks share.

use std::time::Duration;

use kdc_envelope_bao::{BaoError, LoginMethod};

use super::finding::{Check, Finding};
use crate::failure::chain;

/// How and where the login happens.
pub(super) fn described(method: &LoginMethod) -> String {
    let (name, mount, role) = (method.name(), method.mount(), method.role());
    match method {
        LoginMethod::TokenFile(_) => "token from a file".to_owned(),
        _ => format!("{name} at auth/{mount}, role {role}"),
    }
}

/// In whole seconds.
pub(super) fn for_people(time: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(time.as_secs()))
}

/// The words for whatever needs a token and was refused.
pub(super) fn of_call(check: Check, subject: &str, error: &BaoError) -> Finding {
    let cure = match error {
        BaoError::Unauthenticated { .. } => "the token was revoked just now; log in again",
        BaoError::NotFound { .. } => "correct --bao-key, --bao-mount or --bao-namespace",
        BaoError::TokenRefused { .. } => {
            "correct the role, or give --bao-address of one OpenBao alone"
        }
        _ => "check OpenBao's log",
    };
    let mut finding = Finding::of_error(check, subject, error, cure);
    finding.detail = chain(error);
    finding
}
