//! What a JSON web token claims (RFC 7519), read without verifying it: only OpenBao can do that, and it says little about why it refuses.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::finding::{Check, Finding};
use crate::clock;
use crate::failure::chain;

/// The claims that a login is about. None of them is a secret.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Claims {
    #[serde(default)]
    sub: String,
    #[serde(default)]
    iss: String,
    #[serde(default)]
    aud: Audiences,
    #[serde(default)]
    exp: Option<f64>,
    #[serde(default)]
    nbf: Option<f64>,
}

/// One audience or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Several(Vec<String>),
}

impl Default for Audiences {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

impl Claims {
    /// The claims of the token in `path`.
    pub(super) fn read(path: &Path) -> Result<Self, Finding> {
        let subject = path.display();
        let bad = |detail: &str| {
            let cure = "write the token of a service account into it: three parts in base64 with dots between";
            Finding::fail(Check::JWT, &subject, detail, cure)
        };
        let text = std::fs::read_to_string(path).map(Zeroizing::new);
        let text = text.map_err(|error| {
            let cure = "see the findings about files";
            Finding::fail(Check::JWT, &subject, chain(&error), cure)
        })?;
        let payload = text.trim().split('.').nth(1);
        let payload = payload.ok_or_else(|| bad("it does not hold a JSON web token"))?;
        let json = URL_SAFE_NO_PAD
            .decode(payload.trim_end_matches('='))
            .map(Zeroizing::new);
        let json = json.map_err(|_| bad("the token's claims are not base64"))?;
        serde_json::from_slice(&json).map_err(|_| bad("the token's claims are not JSON"))
    }

    /// Whether its time is now.
    pub(super) fn finding(&self, path: &Path) -> Finding {
        #[expect(
            clippy::cast_precision_loss,
            reason = "seconds since 1970 stay far below 2^52"
        )]
        let now = clock::now() as f64;
        let subject = path.display();
        match (self.exp, self.nbf) {
            (Some(end), _) if end <= now => {
                let since = seconds(now - end);
                let detail = format_args!("the token of {} expired {since} ago", self.who());
                let cure = "mount a projected token, which kubelet replaces in time, or write a new one into the file";
                Finding::fail(Check::JWT, subject, detail, cure)
            }
            (_, Some(begin)) if begin > now + LEEWAY => {
                let wait = seconds(begin - now);
                let detail = format_args!(
                    "the token of {} is not valid for another {wait}",
                    self.who()
                );
                let cure = "set the clocks of this machine and of the issuer of the token";
                Finding::fail(Check::JWT, subject, detail, cure)
            }
            (Some(end), _) => {
                let left = seconds(end - now);
                let detail = format_args!("{}, good for {left}", self.who());
                Finding::pass(Check::JWT, subject, detail)
            }
            (None, _) => {
                let detail = format_args!("{}, never expires", self.who());
                let cure = "prefer a projected token, which ends soon after the pod";
                Finding::warn(Check::JWT, subject, detail, cure)
            }
        }
    }

    fn who(&self) -> String {
        let (subject, audiences) = (&self.subject(), self.audiences());
        format!("{subject}, audience {audiences}")
    }

    /// Whom the token is about.
    pub(super) fn subject(&self) -> String {
        match self.sub.strip_prefix("system:serviceaccount:") {
            Some(account) => format!("service account `{}`", account.replacen(':', "/", 1)),
            None if self.sub.is_empty() => "nobody".to_owned(),
            None => format!("`{}`", self.sub),
        }
    }

    /// Namespace and name of the service account, if it is one.
    pub(super) fn service_account(&self) -> Option<(&str, &str)> {
        let account = self.sub.strip_prefix("system:serviceaccount:")?;
        account.split_once(':')
    }

    /// For whom the token is meant.
    pub(super) fn audiences(&self) -> String {
        match &self.aud {
            Audiences::One(one) => format!("`{one}`"),
            Audiences::Several(all) if all.is_empty() => "none".to_owned(),
            Audiences::Several(all) => format!("`{}`", all.join("`, `")),
        }
    }

    /// Who made the token.
    pub(super) fn issuer(&self) -> &str {
        &self.iss
    }
}

/// What servers forgive at the beginning of a token's life, in seconds.
const LEEWAY: f64 = 150.0;

/// A time for people, in whole seconds.
fn seconds(seconds: f64) -> humantime::FormattedDuration {
    // Saturates at both ends.
    let whole = std::time::Duration::try_from_secs_f64(seconds.max(0.0).round());
    humantime::format_duration(whole.unwrap_or(std::time::Duration::MAX))
}
