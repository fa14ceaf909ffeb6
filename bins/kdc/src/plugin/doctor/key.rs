//! The Transit key: what it is, and whether it wraps and unwraps.

use std::time::{Duration, Instant};

use kdc_envelope::random;
use kdc_envelope_bao::settings::TransitSettings;
use kdc_envelope_bao::{BaoError, Session, TransitKey, TransitKeyName, inspect};

use super::finding::{Check, Finding, Findings};
use super::login::{for_people, of_call};
use super::rights::Rights;
use crate::clock;

/// How often it is tried; the time in the middle counts.
const ROUNDS: usize = 3;
/// What the trial is bound to, and what it is not.
const AAD: &[u8] = b"kdc plugin doctor";
const WRONG_AAD: &[u8] = b"kdc plugin doctor, another";
/// As long as a seed of kube-apiserver.
const PLAINTEXT_LEN: usize = 32;
/// Goes through the policies and fails behind them.
const NO_CIPHERTEXT: &str = "vault:v1:AAAA";

const OF_KEY: [Check; 4] = [
    Check::KEY_TYPE,
    Check::KEY_SAFETY,
    Check::KEY_VERSIONS,
    Check::KEY_ROTATION,
];

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

/// Reads the key.
pub(super) async fn read(session: &Session, name: &TransitKeyName) -> Result<TransitKey, BaoError> {
    inspect::key(session, name).await
}

/// Encrypts random bytes, decrypts them, and tries to decrypt them with other associated data.
pub(super) async fn try_it(session: &Session, name: &TransitKeyName) -> Trial {
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
    let detail = format_args!("{every}; let nobody else rotate it at the same time");
    Finding::pass(check, name, detail)
}

/// The findings about using it. `limit` is how long the plugin waits for an answer.
pub(super) fn report_trial(
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
