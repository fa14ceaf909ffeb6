//! Whether the Transit key wraps and unwraps, and how fast.

use std::time::{Duration, Instant};

use kdc_envelope::random;
use kdc_envelope_bao::{BaoError, Session, TransitKeyName, inspect};

use super::finding::{Check, Finding, Findings};
use super::words::of_call;

/// How often it is tried; the time in the middle counts.
const ROUNDS: usize = 3;
/// What the trial is bound to, and what it is not.
const AAD: &[u8] = b"kdc plugin doctor";
const WRONG_AAD: &[u8] = b"kdc plugin doctor, another";
/// As long as a seed of kube-apiserver.
const PLAINTEXT_LEN: usize = 32;
/// Goes through the policies and fails behind them.
const NO_CIPHERTEXT: &str = "vault:v1:AAAA";

/// What came of using the key; `None` for what was not tried.
#[derive(Debug, Default)]
pub(super) struct Trial {
    /// How long one encryption took.
    pub(super) encrypted: Option<Result<Duration, BaoError>>,
    /// How long one decryption took.
    pub(super) decrypted: Option<Result<Duration, BaoError>>,
    /// Whether the policies let a decryption through that had nothing to decrypt.
    pub(super) may_decrypt: Option<bool>,
    fault: Option<Fault>,
}

/// An answer that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Other bytes came back.
    OtherPlaintext,
    /// It decrypts with other associated data too.
    NotBound,
    /// This machine gives no random bytes.
    NoRandom,
}

/// Encrypts random bytes, decrypts them, and tries to decrypt them with other associated data.
pub(super) async fn run(session: &Session, name: &TransitKeyName) -> Trial {
    let mut trial = Trial::default();
    let mut plaintext = [0; PLAINTEXT_LEN];
    if random::fill(&mut plaintext).is_err() {
        trial.fault = Some(Fault::NoRandom);
        return trial;
    }
    let (mut encryptions, mut decryptions) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let ciphertext = match inspect::encrypt(session, name, &plaintext, AAD).await {
            Ok(ciphertext) => ciphertext,
            Err(error) => {
                trial.encrypted = Some(Err(error));
                // Whether it may decrypt is worth knowing all the same.
                let probed = inspect::decrypt(session, name, NO_CIPHERTEXT, AAD).await;
                trial.may_decrypt = match probed {
                    Err(BaoError::Forbidden { .. }) => Some(false),
                    Ok(_) | Err(BaoError::Rejected { .. }) => Some(true),
                    Err(_) => None,
                };
                return trial;
            }
        };
        encryptions.push(started.elapsed());
        let started = Instant::now();
        match inspect::decrypt(session, name, &ciphertext, AAD).await {
            Ok(opened) if opened.expose() == plaintext => decryptions.push(started.elapsed()),
            Ok(_) => trial.fault = Some(Fault::OtherPlaintext),
            Err(error) => {
                trial.encrypted = Some(Ok(middle(encryptions)));
                trial.decrypted = Some(Err(error));
                return trial;
            }
        }
        if inspect::decrypt(session, name, &ciphertext, WRONG_AAD)
            .await
            .is_ok()
        {
            trial.fault = Some(Fault::NotBound);
        }
    }
    trial.encrypted = Some(Ok(middle(encryptions)));
    trial.decrypted = Some(Ok(middle(decryptions)));
    trial
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// The findings about using it. `limit` is how long the plugin waits for an answer.
pub(super) fn report(
    trial: &Trial,
    name: &TransitKeyName,
    limit: Duration,
    findings: &mut Findings<'_>,
) {
    findings.add(call(Check::WRAP, name, trial.encrypted.as_ref(), limit));
    let fault = match trial.fault {
        None => None,
        Some(Fault::OtherPlaintext) => Some((
            "other bytes came back than were wrapped",
            "do not use this key; is a proxy or cache in between?",
        )),
        Some(Fault::NotBound) => Some((
            "it unwraps with other associated data too, so nothing binds a wrapped key to its cluster",
            "make another key: `bao write -f MOUNT/keys/NAME type=aes256-gcm96`",
        )),
        Some(Fault::NoRandom) => Some((
            "this machine gives no random bytes",
            "see why getrandom(2) fails",
        )),
    };
    findings.add(match fault {
        Some((detail, cure)) => Finding::fail(Check::UNWRAP, name, detail, cure),
        None => call(Check::UNWRAP, name, trial.decrypted.as_ref(), limit),
    });
}

fn call(
    check: Check,
    name: &TransitKeyName,
    result: Option<&Result<Duration, BaoError>>,
    limit: Duration,
) -> Finding {
    let time = match result {
        None => return Finding::skip(check, name, "there is nothing to try it with"),
        Some(Err(BaoError::Forbidden { .. })) => {
            return Finding::skip(check, name, "the policies of the token do not allow it");
        }
        Some(Err(error)) => return of_call(check, &name.to_string(), error),
        Some(Ok(time)) => *time,
    };
    let cure = "bring OpenBao closer, or give it more processors; the policy `default` costs half of its throughput";
    let took = format!("works, {:.1} ms", time.as_secs_f64() * 1_000.0);
    if time > limit {
        let detail = format_args!("{took}; kms-plugin waits for {limit:?}");
        return Finding::fail(check, name, detail, cure);
    }
    if time > limit / 2 {
        let detail =
            format_args!("{took}, which is more than half of the time that kms-plugin waits");
        return Finding::warn(check, name, detail, cure);
    }
    Finding::pass(check, name, took)
}
