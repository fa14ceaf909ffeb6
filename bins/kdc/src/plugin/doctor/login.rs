//! Logging in, once, as the plugin does when it starts.

use std::time::Duration;

use jiff::Timestamp;
use kdc_envelope_bao::{BaoError, LoginMethod, Session, inspect};

use super::finding::{Check, Finding, Findings};
use super::jwt::Claims;
use super::login_refused::explain;
use super::words::{described, for_people};
use crate::clock;

/// Logs in. `Err` says why nothing that needs a token can be looked at.
pub(super) async fn check(
    session: &Session,
    claims: Option<&Claims>,
    findings: &mut Findings<'_>,
) -> Result<(), &'static str> {
    let method = session.method();
    let subject = described(method);
    match inspect::wrapped_secret_id(session).await {
        Ok(None) => {}
        Ok(Some(wrapped)) => {
            findings.add(of_wrapped(&subject, method, &wrapped));
            return Err("a login would use up the wrapped secret id, which kms-plugin needs");
        }
        Err(error) => {
            findings.add(explain(&subject, &error, method, claims, None));
            return Err("there was no login");
        }
    }
    match session.log_in().await {
        Ok(()) => {
            let left = session.status().ttl_left;
            let left = left.map_or_else(
                || "without an end that is known".to_owned(),
                |left| format!("good for {}", for_people(left)),
            );
            findings.add(Finding::pass(
                Check::LOGIN,
                subject,
                format_args!("a token, {left}"),
            ));
            Ok(())
        }
        Err(error) => {
            let has_mount = match (method, &error) {
                (LoginMethod::Kubernetes { .. }, BaoError::LoginRefused { status: 403, .. }) => {
                    inspect::has_auth_mount(session).await.ok()
                }
                _ => None,
            };
            findings.add(explain(&subject, &error, method, claims, has_mount));
            Err("there was no login")
        }
    }
}

/// A wrapped secret id that is not opened yet. Whether it is good shows only when it is.
fn of_wrapped(subject: &str, method: &LoginMethod, wrapped: &inspect::WrappedSecretId) -> Finding {
    let path = &wrapped.creation_path;
    let expected = format!("auth/{}/role/", method.mount());
    let is_ours = path.starts_with(&expected) && path.ends_with("/secret-id");
    if !is_ours {
        let detail =
            format_args!("the wrapping token is not that of a secret id: it was made by `{path}`");
        let cure = "find out who put it there, and wrap a secret id of the role anew";
        return Finding::fail(Check::LOGIN, subject, detail, cure);
    }
    let made = wrapped
        .creation_time
        .parse::<Timestamp>()
        .map(|time| time.as_second());
    let here = i64::try_from(clock::now()).unwrap_or(i64::MAX);
    let age = made.map_or(0, |made| here.saturating_sub(made)).max(0);
    let left = wrapped.creation_ttl.saturating_sub(age.unsigned_abs());
    let left = for_people(Duration::from_secs(left));
    Finding::skip(
        Check::LOGIN,
        subject,
        format_args!(
            "the secret id is still wrapped, by `{path}`, and can be opened once in the next {left}; kms-plugin does that when it starts"
        ),
    )
}
