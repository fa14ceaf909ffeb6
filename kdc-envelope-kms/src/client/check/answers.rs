//! Checks of what the plugin answers to good requests.

use core::fmt::Write as _;
use std::time::Instant;

use kdc_envelope::KeyId;
use kdc_envelope::kek::MAX_WRAPPED_LEN;

use super::Finding;
use super::subject::{self, Sample, Subject, random_bytes, seed_like};
use crate::client::{CallError, EncryptAnswer, StatusAnswer};

/// Status calls in a row.
const REPEATS: usize = 20;
/// Attempts to see Status and Encrypt agree, in case a rotation falls between them.
const AGREEMENT_ATTEMPTS: usize = 3;

/// Lets a check end early with a finding.
macro_rules! or_return {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(finding) => return finding,
        }
    };
}
pub(super) use or_return;

pub(super) async fn socket(subject: &mut Subject) -> Finding {
    let begin = Instant::now();
    match subject.client.connect().await {
        Ok(()) => {
            subject.is_reachable = true;
            Finding::pass(format_args!("connected after {:.1?}", begin.elapsed()))
        }
        Err(reason) => Finding::fail(format_args!(
            "no connection to {} within {:?}: {reason}",
            subject.socket,
            subject.client.timeout()
        )),
    }
}

pub(super) async fn authority(subject: &mut Subject) -> Finding {
    if !subject.is_reachable {
        return Finding::skip("the socket cannot be reached");
    }
    let answer = subject.client.status().await;
    let finding = match &answer {
        Ok(_) => Finding::pass("Status answered"),
        Err(error @ CallError::Refused { .. }) => {
            Finding::pass(format_args!("answered with an error: {error}"))
        }
        Err(error) => Finding::fail(error),
    };
    subject.status = Some(answer);
    finding
}

pub(super) fn healthz(subject: &Subject) -> Finding {
    match &subject.status {
        Some(Ok(status)) if status.healthz == "ok" => Finding::pass("`ok`"),
        Some(Ok(status)) => Finding::fail(format_args!("`{}`", status.healthz.escape_debug())),
        Some(Err(error)) => Finding::fail(error),
        None => Finding::skip("the socket cannot be reached"),
    }
}

pub(super) fn version(subject: &Subject) -> Finding {
    let version = or_return!(subject.status()).version.as_str();
    match version {
        "v2" | "v2beta1" => Finding::pass(format_args!("`{version}`")),
        _ => Finding::fail(format_args!("`{}`", version.escape_debug())),
    }
}

pub(super) fn key_id(subject: &Subject) -> Finding {
    match KeyId::new(or_return!(subject.status()).key_id.as_str()) {
        Ok(key_id) => Finding::pass(format_args!("`{key_id}`, {} bytes", key_id.as_str().len())),
        Err(invalid) => Finding::fail(invalid),
    }
}

pub(super) async fn latency(subject: &mut Subject) -> Finding {
    or_return!(subject.status());
    let mut slowest = core::time::Duration::ZERO;
    for _ in 0..REPEATS {
        let begin = Instant::now();
        match subject.client.status().await {
            Ok(status) => subject.repeats.push(status),
            Err(error) => return Finding::fail(error),
        }
        slowest = slowest.max(begin.elapsed());
    }
    let observed = format!("slowest of {REPEATS}: {slowest:.1?}");
    if slowest > subject.leisurely() {
        return Finding::warn(observed);
    }
    Finding::pass(observed)
}

pub(super) fn steady(subject: &Subject) -> Finding {
    let first = or_return!(subject.status());
    judge_steadiness(first, &subject.repeats)
}

/// One change of key id may be a rotation; a key id that comes back never is.
pub(super) fn judge_steadiness(first: &StatusAnswer, later: &[StatusAnswer]) -> Finding {
    let mut seen = vec![first.key_id.as_str()];
    for status in later {
        if status.version != first.version {
            return Finding::fail(format_args!(
                "version changed from `{}` to `{}`",
                first.version.escape_debug(),
                status.version.escape_debug()
            ));
        }
        if seen.last() == Some(&status.key_id.as_str()) {
            continue;
        }
        if seen.contains(&status.key_id.as_str()) {
            return Finding::fail(format_args!(
                "key id `{}` went away and came back",
                status.key_id.escape_debug()
            ));
        }
        seen.push(&status.key_id);
    }
    let calls = later.len() + 1;
    match seen.len() {
        1 => Finding::pass(format_args!("the same in {calls} calls")),
        2 => Finding::warn(format_args!(
            "the key id changed once in {calls} calls; was it being rotated?"
        )),
        ids => Finding::fail(format_args!("{ids} key ids in {calls} calls")),
    }
}

pub(super) async fn ciphertext(subject: &mut Subject) -> Finding {
    if !subject.is_reachable {
        return Finding::skip("the socket cannot be reached");
    }
    let plaintext = or_return!(seed_like());
    let wrapped = match subject.client.encrypt(&plaintext).await {
        Ok(wrapped) => wrapped,
        Err(error) => return Finding::fail(error),
    };
    let (len, in_row) = (wrapped.ciphertext.len(), stored_len(&wrapped));
    subject.sample = Some(Sample { plaintext, wrapped });
    match len {
        1..=MAX_WRAPPED_LEN => Finding::pass(format_args!(
            "{len} bytes; with key id and annotations {in_row} bytes in every row"
        )),
        _ => Finding::fail(format_args!("{len} bytes")),
    }
}

fn stored_len(wrapped: &EncryptAnswer) -> usize {
    let annotations = wrapped.annotations.iter();
    let annotations: usize = annotations
        .map(|(key, value)| key.len() + value.len())
        .sum();
    wrapped.ciphertext.len() + wrapped.key_id.len() + annotations
}

pub(super) async fn same_key_id(subject: &Subject) -> Finding {
    or_return!(subject.status());
    let mut wrapped = or_return!(subject.sample()).wrapped;
    let mut observed = String::new();
    for _ in 0..AGREEMENT_ATTEMPTS {
        let status = match subject.client.status().await {
            Ok(status) => status,
            Err(error) => return Finding::fail(error),
        };
        if !(1..=KeyId::MAX_LEN).contains(&wrapped.key_id.len()) {
            return Finding::fail(format_args!("{} bytes", wrapped.key_id.len()));
        }
        if wrapped.key_id == status.key_id {
            return Finding::pass(format_args!("`{}` in both", status.key_id.escape_debug()));
        }
        observed = format!(
            "Status names `{}`, Encrypt used `{}`",
            status.key_id.escape_debug(),
            wrapped.key_id.escape_debug()
        );
        wrapped = match subject.client.encrypt(&or_return!(seed_like())).await {
            Ok(wrapped) => wrapped,
            Err(error) => return Finding::fail(error),
        };
    }
    Finding::fail(observed)
}

pub(super) fn annotations(subject: &Subject) -> Finding {
    let annotations = or_return!(subject.sample()).wrapped.annotations;
    let count = annotations.len();
    match kdc_envelope::Annotations::try_from_iter(annotations) {
        Ok(_) if count == 0 => Finding::pass("none"),
        Ok(_) => Finding::pass(format_args!("{count}")),
        Err(invalid) => Finding::fail(invalid),
    }
}

pub(super) fn conceals(subject: &Subject) -> Finding {
    let Sample { plaintext, wrapped } = or_return!(subject.sample());
    let contains = |bytes: &[u8]| bytes.windows(plaintext.len()).any(|part| part == plaintext);
    if contains(&wrapped.ciphertext) {
        return Finding::fail("the ciphertext contains the plaintext");
    }
    match wrapped
        .annotations
        .iter()
        .find(|(_, value)| contains(value))
    {
        Some((key, _)) => Finding::fail(format_args!(
            "annotation `{}` contains the plaintext",
            key.escape_debug()
        )),
        None => Finding::pass("not found"),
    }
}

pub(super) async fn fresh(subject: &Subject) -> Finding {
    let Sample { plaintext, wrapped } = or_return!(subject.sample());
    match subject.client.encrypt(&plaintext).await {
        Ok(again) if again.ciphertext == wrapped.ciphertext => {
            Finding::warn("the same ciphertext twice")
        }
        Ok(_) => Finding::pass("two different ciphertexts"),
        Err(error) => Finding::fail(error),
    }
}

pub(super) async fn round_trip(subject: &Subject) -> Finding {
    let Sample { plaintext, wrapped } = or_return!(subject.sample());
    match subject.client.decrypt(&wrapped).await {
        Ok(unwrapped) if unwrapped.expose() == plaintext => Finding::pass("the same 32 bytes"),
        Ok(unwrapped) => Finding::fail(format_args!("{} other bytes", unwrapped.expose().len())),
        Err(error) => Finding::fail(error),
    }
}

pub(super) async fn empty_uid(subject: &Subject) -> Finding {
    let Sample { plaintext, wrapped } = or_return!(subject.sample());
    let encrypted = subject.client.encrypt_as(String::new(), &plaintext).await;
    let decrypted = subject.client.decrypt_as(String::new(), &wrapped).await;
    match encrypted.map(|_| ()).and(decrypted) {
        Ok(unwrapped) if unwrapped.expose() == plaintext => Finding::pass("served"),
        Ok(_) => Finding::fail("Decrypt gave back other bytes"),
        Err(error @ CallError::Refused { .. }) => Finding::warn(error),
        Err(error) => Finding::fail(error),
    }
}

pub(super) async fn other_lengths(subject: &Subject) -> Finding {
    or_return!(subject.sample());
    let mut observed = String::new();
    for len in [0, 1, 16, 24, 33, 64] {
        let plaintext = or_return!(random_bytes(len));
        let reaction = match subject.client.encrypt(&plaintext).await {
            Err(CallError::Refused { .. }) => "refused",
            Err(error) => return Finding::fail(format_args!("{len} bytes: {error}")),
            Ok(wrapped) => match subject.client.decrypt(&wrapped).await {
                Ok(unwrapped) if unwrapped.expose() == plaintext => "given back",
                Ok(_) => return Finding::fail(format_args!("{len} bytes: came back changed")),
                Err(error) => {
                    return Finding::fail(format_args!("{len} bytes: wrapped, but then: {error}"));
                }
            },
        };
        let separator = if observed.is_empty() { "" } else { ", " };
        let written = write!(observed, "{separator}{len}: {reaction}");
        debug_assert!(written.is_ok(), "a String takes everything");
    }
    Finding::pass(observed)
}

pub(super) use subject::round_trip as round_trip_of;
