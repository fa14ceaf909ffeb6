//! Does a KMS v2 plugin keep the contract, as kube-apiserver would see it?
//!
//! [`run`] puts any plugin through every [`Check`] and changes nothing in it: it only calls Status, Encrypt and Decrypt.
//! Of bad requests it expects a gRPC error and a plugin that lives on. What cannot be seen from outside, such as a
//! rotation, is not checked.

mod answers;
mod catalogue;
mod hostile;
mod pressure;
mod subject;

use core::time::Duration;
use std::fmt;
use std::time::Instant;

use serde::{Serialize, Serializer};

use super::KmsClient;
use crate::server::SocketAddress;
pub use catalogue::Check;
use subject::Subject;

/// How to check.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CheckOptions {
    /// Time allowed for each call, as `timeout` in EncryptionConfiguration.
    pub timeout: Duration,
    /// Encrypt and Decrypt pairs made at once by [`Check::Parallel`].
    pub pairs: usize,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self {
            timeout: KmsClient::DEFAULT_TIMEOUT,
            pairs: 100,
        }
    }
}

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Outcome {
    /// As it should be.
    Pass,
    /// Could not be tried, because something before it failed.
    Skip,
    /// kube-apiserver does not mind, but another client may.
    Warn,
    /// The contract is broken.
    Fail,
}

/// One check and what came of it.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct CheckResult {
    /// Which.
    pub check: Check,
    /// What it verifies.
    pub verifies: &'static str,
    /// What came of it.
    pub outcome: Outcome,
    /// What was seen; for [`Outcome::Skip`], why it was not tried.
    pub observed: String,
    /// What kube-apiserver does with a plugin that fails here.
    pub on_failure: &'static str,
    /// How long it took, serialised in seconds.
    #[serde(rename = "seconds", serialize_with = "as_seconds")]
    pub elapsed: Duration,
}

/// All checks of one plugin, in the order in which they were made.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The socket, as [`SocketAddress`] displays it.
    pub socket: String,
    /// The sum of all results.
    pub verdict: Verdict,
    /// One result for each of [`Check::ALL`].
    pub results: Vec<CheckResult>,
}

/// The sum of all results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Verdict {
    /// Every check passed.
    Conforms,
    /// No check failed, some warned.
    ConformsWithWarnings,
    /// At least one check failed.
    Violates,
}

impl Report {
    /// The result of one check.
    #[must_use]
    pub fn result(&self, check: Check) -> Option<&CheckResult> {
        self.results.iter().find(|result| result.check == check)
    }

    /// The number of results with this outcome.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.results
            .iter()
            .filter(|result| result.outcome == outcome)
            .count()
    }
}

/// Makes all checks of the plugin at `socket`; `on_result` sees each result as soon as it is there.
pub async fn run(
    socket: &SocketAddress,
    options: &CheckOptions,
    mut on_result: impl FnMut(&CheckResult),
) -> Report {
    let mut subject = Subject::new(socket, options);
    let mut results = Vec::with_capacity(Check::ALL.len());
    for check in Check::ALL {
        let begin = Instant::now();
        let finding = examine(check, &mut subject).await;
        let result = CheckResult {
            check,
            verifies: check.verifies(),
            outcome: finding.outcome,
            observed: finding.observed,
            on_failure: check.on_failure(),
            elapsed: begin.elapsed(),
        };
        on_result(&result);
        results.push(result);
    }
    let worst = results.iter().map(|result| result.outcome).max();
    Report {
        socket: socket.to_string(),
        verdict: match worst {
            Some(Outcome::Fail) => Verdict::Violates,
            Some(Outcome::Warn) => Verdict::ConformsWithWarnings,
            _ => Verdict::Conforms,
        },
        results,
    }
}

async fn examine(check: Check, subject: &mut Subject) -> Finding {
    match check {
        Check::Socket => answers::socket(subject).await,
        Check::Authority => answers::authority(subject).await,
        Check::StatusHealthz => answers::healthz(subject),
        Check::StatusVersion => answers::version(subject),
        Check::StatusKeyId => answers::key_id(subject),
        Check::StatusLatency => answers::latency(subject).await,
        Check::StatusSteady => answers::steady(subject),
        Check::EncryptCiphertext => answers::ciphertext(subject).await,
        Check::EncryptKeyId => answers::same_key_id(subject).await,
        Check::EncryptAnnotations => answers::annotations(subject),
        Check::EncryptConceals => answers::conceals(subject),
        Check::EncryptFresh => answers::fresh(subject).await,
        Check::DecryptRoundTrip => answers::round_trip(subject).await,
        Check::EmptyUid => answers::empty_uid(subject).await,
        Check::OtherLengths => answers::other_lengths(subject).await,
        Check::UnknownKeyId => hostile::unknown_key_id(subject).await,
        Check::AlteredKeyId => hostile::altered_key_id(subject).await,
        Check::TamperedCiphertext => hostile::tampered(subject).await,
        Check::TruncatedCiphertext => hostile::truncated(subject).await,
        Check::ChangedAnnotations => hostile::changed_annotations(subject).await,
        Check::LargestMessages => hostile::largest(subject).await,
        Check::ErrorCodes => hostile::error_codes(subject),
        Check::Parallel => pressure::parallel(subject).await,
        Check::StatusUnderLoad => pressure::status_under_load(subject),
        Check::AbandonedCalls => pressure::abandoned(subject).await,
        Check::Alive => pressure::alive(subject).await,
    }
}

/// What a check saw.
#[derive(Debug)]
struct Finding {
    outcome: Outcome,
    observed: String,
}

impl Finding {
    fn new(outcome: Outcome, observed: impl fmt::Display) -> Self {
        Self {
            outcome,
            observed: observed.to_string(),
        }
    }

    fn pass(observed: impl fmt::Display) -> Self {
        Self::new(Outcome::Pass, observed)
    }

    fn skip(reason: impl fmt::Display) -> Self {
        Self::new(Outcome::Skip, reason)
    }

    fn warn(observed: impl fmt::Display) -> Self {
        Self::new(Outcome::Warn, observed)
    }

    fn fail(observed: impl fmt::Display) -> Self {
        Self::new(Outcome::Fail, observed)
    }
}

/// Durations in reports are numbers of seconds.
pub(super) fn as_seconds<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}
