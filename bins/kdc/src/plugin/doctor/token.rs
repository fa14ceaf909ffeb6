//! The token: how long it lives, and what its policies cost.

use std::time::Duration;

use kdc_envelope_bao::inspect::TokenInfo;
use kdc_envelope_bao::{BaoError, LoginMethod, Session, inspect};

use super::finding::{Check, Finding, Findings};
use super::words::{for_people, of_call};
use crate::clock;

/// A token that lives shorter makes the plugin log in all the time.
const SHORT: Duration = Duration::from_secs(120);
/// A token that an operator must replace should last longer.
const REPLACED_BY_HAND: Duration = Duration::from_secs(30 * 24 * 3_600);

/// What the token says about itself, if it may ask.
pub(super) async fn check(
    session: &Session,
    findings: &mut Findings<'_>,
) -> Result<TokenInfo, BaoError> {
    let looked_up = inspect::token(session).await;
    let method = session.method();
    match &looked_up {
        Ok(info) => {
            findings.add(life(info, method));
            findings.add(default_policy(info, method));
        }
        Err(BaoError::Forbidden { .. }) => {
            let why = "the token may not look itself up";
            findings.skip(&[Check::TOKEN, Check::DEFAULT_POLICY], "token", why);
        }
        Err(error) => {
            findings.add(of_call(Check::TOKEN, "token", error));
            findings.skip(&[Check::DEFAULT_POLICY], "token", "`token` failed");
        }
    }
    looked_up
}

fn life(info: &TokenInfo, method: &LoginMethod) -> Finding {
    let (check, subject) = (Check::TOKEN, "token");
    let is_from_file = matches!(method, LoginMethod::TokenFile(_));
    let shown = described(info);
    if let Some(left) = info.uses_left {
        let detail = format_args!("{shown}; it ends after {left} more requests");
        let cure = "make a token, or role, without num_uses (token_num_uses=0)";
        return Finding::fail(check, subject, detail, cure);
    }
    let Some(ttl) = info.ttl else {
        let cure = "make a renewable token with a period instead: `bao token create -period=24h -policy=...`";
        return Finding::warn(check, subject, format_args!("{shown}; it never ends"), cure);
    };
    if is_from_file && info.period.is_none() {
        return from_file(info, ttl, &shown);
    }
    if ttl < SHORT {
        let cure = "give the role a token_ttl of an hour or so";
        return Finding::warn(check, subject, format_args!("{shown}; that is short"), cure);
    }
    Finding::pass(check, subject, shown)
}

/// Only the writer of the file can get another one.
fn from_file(info: &TokenInfo, ttl: Duration, shown: &str) -> Finding {
    let (check, subject) = (Check::TOKEN, "token");
    let cure = "let something write a new token into the file in time, or make one with a period: \
                `bao token create -period=24h -policy=...`";
    if !info.is_renewable {
        let detail = format_args!("{shown}; when it ends, the file must hold another one");
        return Finding::warn(check, subject, detail, cure);
    }
    let age = Duration::from_secs(clock::now().saturating_sub(info.created));
    let until_max = info.explicit_max_ttl.map(|max| max.saturating_sub(age));
    if let Some(left) = until_max.filter(|left| *left < REPLACED_BY_HAND) {
        let left = for_people(left);
        let detail =
            format_args!("{shown}; no renewal reaches beyond its maximum, {left} from now");
        return Finding::warn(check, subject, detail, cure);
    }
    if ttl < SHORT {
        let detail = format_args!("{shown}; it ends when kms-plugin does not run for so long");
        return Finding::warn(check, subject, detail, cure);
    }
    Finding::pass(check, subject, shown)
}

fn described(info: &TokenInfo) -> String {
    let ttl = info
        .ttl
        .map(|ttl| format!(", good for {}", for_people(ttl)));
    let kind = match (info.is_batch, info.period, info.is_renewable) {
        (true, ..) => "batch token".to_owned(),
        (_, Some(period), _) => format!("renewable for ever, by {} each time", for_people(period)),
        (_, None, true) => "renewable".to_owned(),
        (_, None, false) => "not renewable".to_owned(),
    };
    let policies = match info.policies.is_empty() {
        true => "no policies".to_owned(),
        false => format!("policies {}", info.policies.join(", ")),
    };
    format!("{kind}{}, {policies}", ttl.unwrap_or_default())
}

fn default_policy(info: &TokenInfo, method: &LoginMethod) -> Finding {
    let (check, subject) = (Check::DEFAULT_POLICY, "token");
    if !info.policies.iter().any(|policy| policy == "default") {
        return Finding::pass(check, subject, "not attached");
    }
    let how = match method {
        LoginMethod::TokenFile(_) => "make the token with -no-default-policy",
        _ => "set token_no_default_policy=true in the role",
    };
    let detail = "the policy `default` is attached; evaluating it costs OpenBao about half of its throughput";
    let cure = format_args!(
        "{how}, and add to its own policy: path \"auth/token/renew-self\" {{ capabilities = [\"update\"] }} \
         path \"auth/token/lookup-self\" {{ capabilities = [\"read\"] }}"
    );
    Finding::warn(check, subject, detail, cure)
}
