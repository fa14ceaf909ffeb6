//! The conformance check: a good plugin passes, and every check fails for the plugin that breaks its rule.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::double::{Fault, Served};
use crate::own_plugin::OwnPlugin;
use kdc_envelope_kms::client::check::{self, Check, CheckOptions, Outcome, Report, Verdict};
use kdc_envelope_kms::server::SocketAddress;

/// Which plugin is found out by which check, and how.
const FOUND_OUT: &[(Fault, Check, Outcome)] = &[
    (Fault::StatusError, Check::StatusHealthz, Outcome::Fail),
    (Fault::HealthzText, Check::StatusHealthz, Outcome::Fail),
    (Fault::VersionV1, Check::StatusVersion, Outcome::Fail),
    (Fault::EmptyKeyId, Check::StatusKeyId, Outcome::Fail),
    (Fault::LongKeyId, Check::StatusKeyId, Outcome::Fail),
    (Fault::SlowStatus, Check::StatusLatency, Outcome::Warn),
    (Fault::HungStatus, Check::StatusLatency, Outcome::Fail),
    (Fault::KeyIdFlips, Check::StatusSteady, Outcome::Fail),
    (Fault::ManyKeyIds, Check::StatusSteady, Outcome::Fail),
    (Fault::VersionFlips, Check::StatusSteady, Outcome::Fail),
    (Fault::KeyIdChangesOnce, Check::StatusSteady, Outcome::Warn),
    (Fault::EncryptError, Check::EncryptCiphertext, Outcome::Fail),
    (
        Fault::EmptyCiphertext,
        Check::EncryptCiphertext,
        Outcome::Fail,
    ),
    (
        Fault::LongCiphertext,
        Check::EncryptCiphertext,
        Outcome::Fail,
    ),
    (
        Fault::EncryptUsesOtherKeyId,
        Check::EncryptKeyId,
        Outcome::Fail,
    ),
    (
        Fault::AnnotationNotADomain,
        Check::EncryptAnnotations,
        Outcome::Fail,
    ),
    (
        Fault::AnnotationsTooLarge,
        Check::EncryptAnnotations,
        Outcome::Fail,
    ),
    (
        Fault::PlaintextInCiphertext,
        Check::EncryptConceals,
        Outcome::Fail,
    ),
    (
        Fault::PlaintextInAnnotation,
        Check::EncryptConceals,
        Outcome::Fail,
    ),
    (Fault::Deterministic, Check::EncryptFresh, Outcome::Warn),
    (Fault::DecryptError, Check::DecryptRoundTrip, Outcome::Fail),
    (
        Fault::WrongPlaintext,
        Check::DecryptRoundTrip,
        Outcome::Fail,
    ),
    (
        Fault::ShortPlaintext,
        Check::DecryptRoundTrip,
        Outcome::Fail,
    ),
    (Fault::NeedsUid, Check::EmptyUid, Outcome::Warn),
    (Fault::DiesWithoutUid, Check::EmptyUid, Outcome::Fail),
    (Fault::CutsAt32Bytes, Check::OtherLengths, Outcome::Fail),
    (Fault::IgnoresKeyId, Check::UnknownKeyId, Outcome::Fail),
    (
        Fault::WrongPlaintextForForeignKeyId,
        Check::UnknownKeyId,
        Outcome::Fail,
    ),
    (
        Fault::WrongPlaintextForForeignKeyId,
        Check::AlteredKeyId,
        Outcome::Fail,
    ),
    (Fault::TrimsKeyId, Check::AlteredKeyId, Outcome::Warn),
    (Fault::Malleable, Check::TamperedCiphertext, Outcome::Fail),
    (
        Fault::IgnoresLastByte,
        Check::TamperedCiphertext,
        Outcome::Warn,
    ),
    (
        Fault::PanicsOnShort,
        Check::TruncatedCiphertext,
        Outcome::Fail,
    ),
    (
        Fault::EmptyPlaintextOnShort,
        Check::TruncatedCiphertext,
        Outcome::Fail,
    ),
    (
        Fault::IgnoresAnnotations,
        Check::ChangedAnnotations,
        Outcome::Warn,
    ),
    (Fault::PanicsOnLarge, Check::LargestMessages, Outcome::Fail),
    (
        Fault::RefusesAsUnavailable,
        Check::ErrorCodes,
        Outcome::Warn,
    ),
    (Fault::RefusesAsUnknown, Check::ErrorCodes, Outcome::Warn),
    (Fault::RefusesAsCancelled, Check::ErrorCodes, Outcome::Warn),
    (Fault::RefusesWhenBusy, Check::Parallel, Outcome::Fail),
    (Fault::MixesUpWhenBusy, Check::Parallel, Outcome::Fail),
    (
        Fault::StatusSlowWhenBusy,
        Check::StatusUnderLoad,
        Outcome::Warn,
    ),
    (
        Fault::StatusFailsWhenBusy,
        Check::StatusUnderLoad,
        Outcome::Fail,
    ),
    (Fault::SickWhenBusy, Check::StatusUnderLoad, Outcome::Fail),
    (
        Fault::QueuesAbandonedCalls,
        Check::AbandonedCalls,
        Outcome::Fail,
    ),
    (Fault::ForgetsOldCiphertexts, Check::Alive, Outcome::Fail),
];

fn options_for(fault: Fault) -> CheckOptions {
    let mut options = CheckOptions::default();
    match fault {
        Fault::SlowStatus => options.timeout = Duration::from_millis(400),
        Fault::HungStatus => options.timeout = Duration::from_millis(200),
        // Enough to be busy with after the abandoned calls, not with these pairs.
        Fault::QueuesAbandonedCalls => {
            options.pairs = 1;
            options.timeout = Duration::from_millis(1_500);
        }
        _ => {}
    }
    options
}

async fn check_with(fault: Fault) -> Report {
    let served = Served::new(fault);
    check::run(&served.socket, &options_for(fault), |_| {}).await
}

fn table(report: &Report) -> String {
    let lines = report.results.iter().map(|result| {
        format!(
            "{} {:?}: {}\n",
            result.check, result.outcome, result.observed
        )
    });
    lines.collect()
}

fn outcome(report: &Report, check: Check) -> Outcome {
    report.result(check).unwrap().outcome
}

#[tokio::test]
async fn a_good_plugin_conforms() {
    for fault in [
        Fault::None,
        Fault::NoAnnotations,
        Fault::NoAnnotationsAndStrict,
    ] {
        let report = check_with(fault).await;
        assert_eq!(report.verdict, Verdict::Conforms, "{}", table(&report));
        assert_eq!(report.count(Outcome::Pass), Check::ALL.len());
    }
}

#[tokio::test]
async fn our_own_plugin_conforms() {
    let plugin = OwnPlugin::start().await;
    let mut seen = Vec::new();
    let options = CheckOptions::default();
    let report = check::run(&plugin.socket, &options, |result| seen.push(result.check)).await;
    assert_eq!(report.verdict, Verdict::Conforms, "{}", table(&report));
    assert_eq!(seen, Check::ALL);
    assert_eq!(report.socket, plugin.socket.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_is_found_by_its_check() {
    let mut wrong = String::new();
    for (fault, check, expected) in FOUND_OUT {
        let report = check_with(*fault).await;
        if outcome(&report, *check) != *expected {
            wrong += &format!(
                "{fault:?} at {check}, expected {expected:?}:\n{}\n",
                table(&report)
            );
        }
        let verdict = match report.results.iter().map(|result| result.outcome).max() {
            Some(Outcome::Fail) => Verdict::Violates,
            _ => Verdict::ConformsWithWarnings,
        };
        assert_eq!(report.verdict, verdict, "{fault:?}");
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn no_check_is_without_a_plugin_that_fails_it() {
    let found: BTreeSet<Check> = FOUND_OUT.iter().map(|(_, check, _)| *check).collect();
    let missing: Vec<Check> = Check::ALL
        .into_iter()
        .filter(|check| !found.contains(check))
        .collect();
    // These two need no plugin at all, or one without gRPC: see below.
    assert_eq!(missing, [Check::Socket, Check::Authority]);
}

fn only_skipped_but(report: &Report, failed: Check) {
    for result in &report.results {
        match result.check {
            Check::Socket if failed != Check::Socket => {
                assert_eq!(result.outcome, Outcome::Pass, "{}", table(report));
            }
            check if check == failed => {
                assert_eq!(result.outcome, Outcome::Fail, "{}", table(report));
            }
            _ => {}
        }
    }
    assert_eq!(report.verdict, Verdict::Violates);
}

#[tokio::test]
async fn a_missing_socket_fails_once_and_skips_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let socket = SocketAddress::Path(folder.path().join("missing.sock"));
    let mut options = CheckOptions::default();
    options.timeout = Duration::from_millis(100);
    let report = check::run(&socket, &options, |_| {}).await;
    only_skipped_but(&report, Check::Socket);
    assert_eq!(report.count(Outcome::Skip), Check::ALL.len() - 1);
    let observed = &report.result(Check::Socket).unwrap().observed;
    assert!(observed.contains("No such file or directory"), "{observed}");
}

#[tokio::test]
async fn a_socket_that_hangs_up_or_never_answers_fails_at_authority() {
    for answers in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mute.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let hang_up = tokio::spawn(async move {
            let mut open = Vec::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if !answers {
                    open.push(stream);
                }
            }
        });
        let mut options = CheckOptions::default();
        options.timeout = Duration::from_millis(100);
        let report = check::run(&SocketAddress::Path(path), &options, |_| {}).await;
        only_skipped_but(&report, Check::Authority);
        hang_up.abort();
    }
}

#[tokio::test]
async fn a_plugin_that_cannot_encrypt_skips_what_needs_a_ciphertext() {
    let report = check_with(Fault::EncryptError).await;
    for check in [
        Check::DecryptRoundTrip,
        Check::TamperedCiphertext,
        Check::Parallel,
        Check::Alive,
    ] {
        let result = report.result(check).unwrap();
        assert_eq!(result.outcome, Outcome::Skip);
        assert_eq!(result.observed, "Encrypt does not answer");
    }
    assert_eq!(outcome(&report, Check::StatusSteady), Outcome::Pass);
}

#[tokio::test]
async fn the_report_serialises_with_stable_names() {
    let report = serde_json::to_value(check_with(Fault::Deterministic).await).unwrap();
    assert_eq!(report["verdict"], "conforms-with-warnings");
    let fresh = &report["results"][11];
    assert_eq!(fresh["check"], "encrypt-fresh");
    assert_eq!(fresh["outcome"], "warn");
    assert_eq!(fresh["observed"], "the same ciphertext twice");
    assert!(fresh["seconds"].is_f64());
    assert!(fresh["on_failure"].is_string() && fresh["verifies"].is_string());
}
