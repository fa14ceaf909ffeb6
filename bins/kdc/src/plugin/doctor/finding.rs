//! What was found, each thing once: what was looked at, how it is, and what to do.

use std::error::Error;
use std::fmt;

use kdc_envelope::evidence::{Conclusion, Evidence, Gap, GapKind};
use serde::{Serialize, Serializer};

use crate::failure::chain;

/// The name of a check, the same in text and JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct Check(&'static str);

impl Check {
    pub(super) const SETTINGS: Self = Self("settings");
    pub(super) const KEY_FILE: Self = Self("key-file");
    pub(super) const LOGIN_FILES: Self = Self("login-files");
    pub(super) const JWT: Self = Self("jwt");
    pub(super) const TLS_FILES: Self = Self("tls-files");
    pub(super) const CA_FILE: Self = Self("ca-file");
    pub(super) const CLIENT_CERTIFICATE: Self = Self("client-certificate");

    pub(super) const DNS: Self = Self("dns");
    pub(super) const TCP: Self = Self("tcp");
    pub(super) const TLS: Self = Self("tls");
    pub(super) const TLS_NAME: Self = Self("tls-name");
    pub(super) const TLS_EXPIRY: Self = Self("tls-expiry");
    pub(super) const HEALTH: Self = Self("health");
    pub(super) const VERSION: Self = Self("version");
    pub(super) const CLOCK: Self = Self("clock");
    pub(super) const CLUSTER: Self = Self("cluster");

    pub(super) const LOGIN: Self = Self("login");
    pub(super) const TOKEN: Self = Self("token");
    pub(super) const DEFAULT_POLICY: Self = Self("default-policy");
    pub(super) const MAY_ENCRYPT: Self = Self("may-encrypt");
    pub(super) const MAY_DECRYPT: Self = Self("may-decrypt");
    pub(super) const MAY_READ_KEY: Self = Self("may-read-key");
    pub(super) const MAY_RENEW: Self = Self("may-renew");
    pub(super) const MAY_LOOK_UP: Self = Self("may-look-up");
    pub(super) const MAY_REWRAP: Self = Self("may-rewrap");
    pub(super) const MAY_TOO_MUCH: Self = Self("may-too-much");

    pub(super) const KEY: Self = Self("key");
    pub(super) const KEY_TYPE: Self = Self("key-type");
    pub(super) const KEY_SAFETY: Self = Self("key-safety");
    pub(super) const KEY_VERSIONS: Self = Self("key-versions");
    pub(super) const KEY_ROTATION: Self = Self("key-rotation");
    pub(super) const WRAP: Self = Self("wrap");
    pub(super) const UNWRAP: Self = Self("unwrap");

    pub(super) const SOCKET_FOLDER: Self = Self("socket-folder");
    pub(super) const SOCKET: Self = Self("socket");
    pub(super) const PLUGIN: Self = Self("plugin");

    pub(super) const ENCRYPTION_CONFIG: Self = Self("encryption-config");
    pub(super) const KMS_PROVIDER: Self = Self("kms-provider");
    pub(super) const PROVIDER_ORDER: Self = Self("provider-order");
    pub(super) const PROVIDER_TIMEOUT: Self = Self("provider-timeout");
    pub(super) const IDENTITY: Self = Self("identity");

    pub(super) const APISERVER: Self = Self("apiserver");
    pub(super) const APISERVER_START: Self = Self("apiserver-start");
    pub(super) const APISERVER_CONFIG: Self = Self("apiserver-config");
    pub(super) const APISERVER_RELOAD: Self = Self("apiserver-reload");
    pub(super) const APISERVER_MOUNT: Self = Self("apiserver-mount");
    pub(super) const APISERVER_PROBES: Self = Self("apiserver-probes");

    /// Those of each address, in their order; each needs the ones before it.
    pub(super) const OF_ADDRESS: [Self; 8] = [
        Self::DNS,
        Self::TCP,
        Self::TLS,
        Self::TLS_NAME,
        Self::TLS_EXPIRY,
        Self::HEALTH,
        Self::VERSION,
        Self::CLOCK,
    ];
    /// Those that need a token.
    pub(super) const OF_TOKEN: [Self; 16] = [
        Self::TOKEN,
        Self::DEFAULT_POLICY,
        Self::MAY_ENCRYPT,
        Self::MAY_DECRYPT,
        Self::MAY_READ_KEY,
        Self::MAY_RENEW,
        Self::MAY_LOOK_UP,
        Self::MAY_REWRAP,
        Self::MAY_TOO_MUCH,
        Self::KEY,
        Self::KEY_TYPE,
        Self::KEY_SAFETY,
        Self::KEY_VERSIONS,
        Self::KEY_ROTATION,
        Self::WRAP,
        Self::UNWRAP,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        self.0
    }
}

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// As it should be.
    Pass,
    /// It works, and is unwise.
    Warn,
    /// It must be fixed.
    Fail,
    /// It was looked at, and it cannot be told.
    Unknown,
    /// Not looked at.
    Skip,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) check: Check,
    /// The name of the key that it concerns, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    /// What was looked at: an address, a file, a path in OpenBao.
    pub(super) subject: String,
    pub(super) outcome: Outcome,
    /// What was found, or why nothing was looked for.
    pub(super) detail: String,
    /// What to do; always there for what warns, fails or is not known.
    #[serde(serialize_with = "none_if_empty")]
    pub(super) cure: String,
}

fn none_if_empty<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    (!text.is_empty()).then_some(text).serialize(serializer)
}

impl Finding {
    fn new(
        check: Check,
        subject: impl fmt::Display,
        outcome: Outcome,
        detail: impl fmt::Display,
        cure: impl fmt::Display,
    ) -> Self {
        Self {
            check,
            key: None,
            subject: subject.to_string(),
            outcome,
            detail: detail.to_string(),
            cure: cure.to_string(),
        }
    }

    pub(super) fn pass(
        check: Check,
        subject: impl fmt::Display,
        detail: impl fmt::Display,
    ) -> Self {
        Self::new(check, subject, Outcome::Pass, detail, "")
    }

    pub(super) fn warn(
        check: Check,
        subject: impl fmt::Display,
        detail: impl fmt::Display,
        cure: impl fmt::Display,
    ) -> Self {
        Self::new(check, subject, Outcome::Warn, detail, cure)
    }

    pub(super) fn fail(
        check: Check,
        subject: impl fmt::Display,
        detail: impl fmt::Display,
        cure: impl fmt::Display,
    ) -> Self {
        Self::new(check, subject, Outcome::Fail, detail, cure)
    }

    /// What nothing follows from; the detail says why.
    pub(super) fn unknown(
        check: Check,
        subject: impl fmt::Display,
        why: impl fmt::Display,
        cure: impl fmt::Display,
    ) -> Self {
        let detail = format_args!("cannot tell: {why}");
        Self::new(check, subject, Outcome::Unknown, detail, cure)
    }

    pub(super) fn skip(check: Check, subject: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::new(check, subject, Outcome::Skip, why, "")
    }

    pub(super) fn is_failure(&self) -> bool {
        self.outcome == Outcome::Fail
    }

    /// A failure in the words of an error, which say what is wrong and, after a semicolon, what to do; `otherwise` is what to do if they
    /// do not.
    pub(super) fn of_error(
        check: Check,
        subject: impl fmt::Display,
        error: &(dyn Error + 'static),
        otherwise: &str,
    ) -> Self {
        let words = error.to_string();
        let (what, cure) = words.split_once("; ").unwrap_or((&words, otherwise));
        let causes = error.source().map(chain);
        match causes.filter(|causes| *causes != words) {
            Some(causes) => Self::fail(check, subject, format_args!("{what}: {causes}"), cure),
            None => Self::fail(check, subject, what, cure),
        }
    }
}

/// All findings in their order; each is told as soon as it is known.
pub(super) struct Findings<'a> {
    all: Vec<Finding>,
    key: Option<String>,
    tell: &'a mut dyn FnMut(&Finding),
}

impl<'a> Findings<'a> {
    pub(super) fn new(tell: &'a mut dyn FnMut(&Finding)) -> Self {
        Self {
            all: Vec::new(),
            key: None,
            tell,
        }
    }

    /// What is added from now on concerns this key, or none in particular.
    pub(super) fn concern(&mut self, key: Option<&str>) {
        self.key = key.map(str::to_owned);
    }

    pub(super) fn add(&mut self, mut finding: Finding) {
        finding.key.clone_from(&self.key);
        (self.tell)(&finding);
        self.all.push(finding);
    }

    pub(super) fn skip(&mut self, checks: &[Check], subject: impl fmt::Display, why: &str) {
        for check in checks {
            self.add(Finding::skip(*check, &subject, why));
        }
    }

    pub(super) fn into_report(self) -> Report {
        Report {
            verdict: verdict(&self.all),
            results: self.all,
        }
    }
}

/// What follows from all findings about the statement that nothing must be fixed: what was skipped says nothing about it.
fn verdict(findings: &[Finding]) -> Verdict {
    let of = |outcome| {
        findings
            .iter()
            .filter(move |finding| finding.outcome == outcome)
    };
    let count = |outcome| u64::try_from(of(outcome).count()).unwrap_or(u64::MAX);
    let mut evidence = Evidence::new();
    evidence.agrees(count(Outcome::Pass).saturating_add(count(Outcome::Warn)));
    evidence.contradicts(count(Outcome::Fail));
    for finding in of(Outcome::Unknown) {
        evidence.add_gap(Gap::new(GapKind::Unreadable, 1, &finding.subject));
    }
    match evidence.conclude() {
        Conclusion::Refuted { .. } => Verdict::NotReady,
        Conclusion::Proven { .. } if count(Outcome::Warn) > 0 => Verdict::ReadyWithWarnings,
        Conclusion::Proven { .. } => Verdict::Ready,
        _ => Verdict::CannotTell,
    }
}

/// What all findings come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    Ready,
    ReadyWithWarnings,
    NotReady,
    /// Nothing that was understood must be fixed, and something was not understood.
    CannotTell,
}

/// The whole of it, as `--output json` shows it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) verdict: Verdict,
    pub(super) results: Vec<Finding>,
}

impl Report {
    pub(super) fn count(&self, outcome: Outcome) -> usize {
        let all = self.results.iter();
        all.filter(|finding| finding.outcome == outcome).count()
    }
}
