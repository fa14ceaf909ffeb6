//! Checks of what the plugin does with requests that must not succeed.

use std::collections::{BTreeMap, BTreeSet};

use kdc_envelope::KeyId;
use kdc_envelope::kek::{MAX_ANNOTATIONS_LEN, MAX_WRAPPED_LEN};
use tonic::Code;

use super::answers::or_return;
use super::subject::{Reaction, Sample, Subject, random_bytes};
use super::{Finding, Outcome};
use crate::client::EncryptAnswer;

/// A bad request and what is bad about it.
type Variant = (String, EncryptAnswer);

pub(super) async fn unknown_key_id(subject: &mut Subject) -> Finding {
    let sample = or_return!(subject.sample());
    let stranger = format!("never-existed-{}", uuid::Uuid::new_v4());
    let variant = with(&sample, "own ciphertext under it", |wrapped| {
        wrapped.key_id = stranger;
    });
    judge(subject, &sample, vec![variant], Outcome::Fail).await
}

pub(super) async fn altered_key_id(subject: &mut Subject) -> Finding {
    let sample = or_return!(subject.sample());
    let key_id = &sample.wrapped.key_id;
    let shortened: String = key_id.chars().skip(1).collect();
    let altered = [
        ("none", String::new()),
        ("one character more", format!("{key_id}0")),
        ("a space more", format!("{key_id} ")),
        ("one character less", shortened),
    ];
    let variants = altered
        .into_iter()
        .map(|(what, altered)| with(&sample, what, |wrapped| wrapped.key_id = altered))
        .collect();
    judge(subject, &sample, variants, Outcome::Warn).await
}

pub(super) async fn tampered(subject: &mut Subject) -> Finding {
    let sample = or_return!(subject.sample());
    let last = sample.wrapped.ciphertext.len().saturating_sub(1);
    let places: BTreeSet<usize> = (0..=4).map(|quarter| last * quarter / 4).collect();
    let variants = places
        .into_iter()
        .map(|at| {
            with(&sample, format!("byte {at} changed"), |wrapped| {
                if let Some(byte) = wrapped.ciphertext.get_mut(at) {
                    *byte ^= 1;
                }
            })
        })
        .collect();
    judge(subject, &sample, variants, Outcome::Warn).await
}

pub(super) async fn truncated(subject: &mut Subject) -> Finding {
    let sample = or_return!(subject.sample());
    let whole = sample.wrapped.ciphertext.len();
    let lengths: BTreeSet<usize> = [0, 1, 4, 12, 16, whole / 2, whole.saturating_sub(1)]
        .into_iter()
        .filter(|len| *len < whole)
        .collect();
    let variants = lengths
        .into_iter()
        .map(|len| {
            with(&sample, format!("first {len} bytes only"), |wrapped| {
                wrapped.ciphertext.truncate(len);
            })
        })
        .collect();
    judge(subject, &sample, variants, Outcome::Fail).await
}

pub(super) async fn changed_annotations(subject: &mut Subject) -> Finding {
    let sample = or_return!(subject.sample());
    let added = with(&sample, "one added", |wrapped| {
        let annotation = ("added.example.com".to_owned(), b"1".to_vec());
        wrapped.annotations.extend([annotation]);
    });
    if sample.wrapped.annotations.is_empty() {
        // Ignoring what it never wrote takes nothing from a plugin without annotations.
        return judge(subject, &sample, vec![added], Outcome::Pass).await;
    }
    let dropped = with(&sample, "all dropped", |wrapped| {
        wrapped.annotations.clear()
    });
    let changed = with(&sample, "values changed", |wrapped| {
        for value in wrapped.annotations.values_mut() {
            value.push(b'x');
        }
    });
    judge(
        subject,
        &sample,
        vec![added, dropped, changed],
        Outcome::Warn,
    )
    .await
}

pub(super) async fn largest(subject: &mut Subject) -> Finding {
    let sample = or_return!(subject.sample());
    let noise = |len| random_bytes(len);
    let most = or_return!(noise(MAX_WRAPPED_LEN));
    let over = or_return!(noise(MAX_WRAPPED_LEN + 1));
    let key = "largest.example.com".to_owned();
    let annotation = vec![b'x'; MAX_ANNOTATIONS_LEN - key.len()];
    let annotations = BTreeMap::from([(key, annotation)]);
    let variants = vec![
        with(&sample, "1024 random bytes", |wrapped| {
            wrapped.ciphertext = most.clone()
        }),
        with(&sample, "1025 random bytes", |wrapped| {
            wrapped.ciphertext = over
        }),
        with(&sample, "key id of 1025 bytes", |wrapped| {
            wrapped.key_id = "k".repeat(KeyId::MAX_LEN + 1);
        }),
        with(&sample, "everything at its limit", |wrapped| {
            wrapped.ciphertext = most;
            wrapped.key_id = "k".repeat(KeyId::MAX_LEN);
            wrapped.annotations = annotations;
        }),
    ];
    judge(subject, &sample, variants, Outcome::Warn).await
}

/// Codes of everything that was refused so far.
pub(super) fn error_codes(subject: &Subject) -> Finding {
    if subject.refusals.is_empty() {
        return Finding::skip("nothing was refused");
    }
    let mut counts = BTreeMap::<String, usize>::new();
    for (code, _) in &subject.refusals {
        *counts.entry(format!("{code:?}")).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(code, count)| format!("{count} × {code}"))
        .collect();
    let counts = counts.join(", ");
    let misleading = |(code, _): &&(Code, String)| blame(*code).is_some();
    match subject.refusals.iter().find(misleading) {
        Some((code, message)) => Finding::warn(format_args!(
            "{counts}; {code:?} {}: \"{}\"",
            blame(*code).unwrap_or_default(),
            message.escape_debug()
        )),
        None => Finding::pass(counts),
    }
}

/// What is wrong with answering a hopeless request with `code`.
const fn blame(code: Code) -> Option<&'static str> {
    match code {
        Code::Unavailable | Code::ResourceExhausted | Code::Aborted => {
            Some("invites the caller to try again")
        }
        Code::Cancelled | Code::DeadlineExceeded => Some("blames the caller's patience"),
        Code::Unknown | Code::Unimplemented | Code::Ok => Some("says nothing about the cause"),
        _ => None,
    }
}

fn with(
    sample: &Sample,
    what: impl Into<String>,
    change: impl FnOnce(&mut EncryptAnswer),
) -> Variant {
    let mut wrapped = sample.wrapped.clone();
    change(&mut wrapped);
    (what.into(), wrapped)
}

/// Tries every variant; the worst reaction decides. Giving out the right plaintext nevertheless counts as `if_same`.
async fn judge(
    subject: &mut Subject,
    sample: &Sample,
    variants: Vec<Variant>,
    if_same: Outcome,
) -> Finding {
    let tried = variants.len();
    let mut worst = Outcome::Pass;
    let mut accepted = Vec::new();
    for (what, wrapped) in variants {
        let (outcome, reaction) = match subject.provoke(sample, &wrapped).await {
            Reaction::Refused => continue,
            Reaction::SamePlaintext => (if_same, "accepted".to_owned()),
            Reaction::OtherPlaintext(len) => {
                (Outcome::Fail, format!("answered with {len} wrong bytes"))
            }
            Reaction::NoAnswer(error) => (Outcome::Fail, error.to_string()),
        };
        worst = worst.max(outcome);
        accepted.push(format!("{what}: {reaction}"));
    }
    match (accepted.is_empty(), tried) {
        (true, 1) => Finding::pass("refused"),
        (true, _) => Finding::pass(format_args!("all {tried} refused")),
        (false, _) => Finding::new(worst, accepted.join("; ")),
    }
}
