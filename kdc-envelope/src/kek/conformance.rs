//! What every [`KeyEncryptionKey`] must do, as code.
//!
//! Run [`check`] against a backend in its own tests, and [`check_rotation`] with whatever makes that backend take a new
//! version. Both stop at the first rule that does not hold and say what was seen instead.

use core::fmt::Debug;

use super::{Aad, KekError, KekErrorKind, KeyEncryptionKey, KeyId, MAX_PLAINTEXT_LEN, WrappedKey};
use super::{MAX_WRAPPED_LEN, check_annotations};

const AAD: Aad<'static> = Aad::new(b"conformance");
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// A rule that a backend breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {seen}")]
#[non_exhaustive]
pub struct Violation {
    /// What must hold.
    pub rule: &'static str,
    /// What was seen instead.
    pub seen: String,
}

type Outcome = Result<(), Violation>;

fn demand(rule: &'static str, holds: bool, seen: &dyn Debug) -> Outcome {
    if holds {
        return Ok(());
    }
    Err(Violation {
        rule,
        seen: format!("{seen:?}"),
    })
}

fn succeeds<T>(rule: &'static str, outcome: Result<T, KekError>) -> Result<T, Violation> {
    outcome.map_err(|error| Violation {
        rule,
        seen: format!("{:?}: {error}", error.kind()),
    })
}

fn fails<T: Debug>(
    rule: &'static str,
    outcome: &Result<T, KekError>,
    kinds: &[KekErrorKind],
) -> Outcome {
    let expected = matches!(outcome, Err(error) if kinds.contains(&error.kind()));
    demand(rule, expected, outcome)
}

/// Checks all rules that need no rotation.
///
/// # Errors
/// The first [`Violation`].
pub async fn check(kek: &dyn KeyEncryptionKey) -> Outcome {
    round_trips(kek).await?;
    limits(kek).await?;
    binding(kek).await?;
    foreign_keys(kek).await?;
    damage(kek).await
}

/// Checks that a rotation moves writing forward and loses nothing. `rotate` makes a new version current.
///
/// # Errors
/// The first [`Violation`].
pub async fn check_rotation(kek: &dyn KeyEncryptionKey, rotate: impl AsyncFnOnce()) -> Outcome {
    let old = succeeds("wrap works", kek.wrap(SECRET, AAD).await)?;
    let before = succeeds("status is healthy", kek.status())?;
    let unmoved = succeeds("rewrap works", kek.rewrap(&old, AAD).await)?;
    demand("rewrap leaves what is newest", unmoved.is_none(), &unmoved)?;

    rotate().await;

    let after = succeeds("status is healthy", kek.status())?;
    demand(
        "a rotation changes the key id",
        after.key_id != before.key_id,
        &after,
    )?;
    demand(
        "versions go forward",
        after.version > before.version,
        &after,
    )?;
    let new = succeeds("wrap works", kek.wrap(SECRET, AAD).await)?;
    demand(
        "wrap uses the new version",
        new.key_id == after.key_id,
        &new.key_id,
    )?;
    opens(kek, "the old version still unwraps", &old).await?;

    let moved = succeeds("rewrap works", kek.rewrap(&old, AAD).await)?;
    let Some(moved) = moved else {
        return demand("rewrap moves what is old", false, &moved);
    };
    demand(
        "rewrap moves to the new version",
        moved.key_id == after.key_id,
        &moved.key_id,
    )?;
    opens(kek, "a rewrapped key holds the same secret", &moved).await?;

    let mixed = WrappedKey {
        key_id: new.key_id,
        ..old
    };
    let outcome = kek.unwrap(&mixed, AAD).await;
    let kinds = [KekErrorKind::Malformed, KekErrorKind::Authentication];
    fails("a key id of another version is refused", &outcome, &kinds)
}

async fn opens(kek: &dyn KeyEncryptionKey, rule: &'static str, wrapped: &WrappedKey) -> Outcome {
    let secret = succeeds(rule, kek.unwrap(wrapped, AAD).await)?;
    demand(rule, secret.expose() == SECRET, &secret)
}

async fn round_trips(kek: &dyn KeyEncryptionKey) -> Outcome {
    for len in [1, 16, 32, 33, MAX_PLAINTEXT_LEN] {
        let secret = vec![0x5a; len];
        let wrapped = succeeds(
            "every length up to the limit wraps",
            kek.wrap(&secret, AAD).await,
        )?;
        let opened = succeeds("what was wrapped unwraps", kek.unwrap(&wrapped, AAD).await)?;
        demand(
            "unwrap gives the secret",
            opened.expose() == secret,
            &opened,
        )?;
        let status = succeeds("status is healthy", kek.status())?;
        demand(
            "status and wrap agree",
            status.key_id == wrapped.key_id,
            &status,
        )?;
        let id_len = wrapped.key_id.as_str().len();
        demand("key ids are short", id_len <= KeyId::MAX_OWN_LEN, &id_len)?;
        let len = wrapped.ciphertext.len();
        demand(
            "wrapped keys are short",
            (1..=MAX_WRAPPED_LEN).contains(&len),
            &len,
        )?;
        let annotations = check_annotations(wrapped.annotations.iter());
        demand("annotations obey KMS v2", annotations.is_ok(), &annotations)?;
    }
    let one = succeeds("wrap works", kek.wrap(SECRET, AAD).await)?;
    let two = succeeds("wrap works", kek.wrap(SECRET, AAD).await)?;
    demand(
        "two ciphertexts of one secret differ",
        one != two,
        &one.key_id,
    )
}

async fn limits(kek: &dyn KeyEncryptionKey) -> Outcome {
    for len in [0, MAX_PLAINTEXT_LEN + 1] {
        let outcome = kek.wrap(&vec![0; len], AAD).await;
        fails(
            "no secret beyond the limits is wrapped",
            &outcome,
            &[KekErrorKind::Misuse],
        )?;
    }
    Ok(())
}

async fn binding(kek: &dyn KeyEncryptionKey) -> Outcome {
    let wrapped = succeeds("wrap works", kek.wrap(SECRET, AAD).await)?;
    for other in [
        Aad::EMPTY,
        Aad::new(b"conformance "),
        Aad::new(b"onformance"),
    ] {
        let outcome = kek.unwrap(&wrapped, other).await;
        let kinds = [KekErrorKind::Authentication];
        fails("another AAD does not authenticate", &outcome, &kinds)?;
    }
    Ok(())
}

async fn foreign_keys(kek: &dyn KeyEncryptionKey) -> Outcome {
    let wrapped = succeeds("wrap works", kek.wrap(SECRET, AAD).await)?;
    let own = wrapped.key_id.as_str().to_owned();
    let kinds = [KekErrorKind::UnknownKey];
    let foreign = [
        "x".to_owned(),
        format!("{own} "),
        own.chars().skip(1).collect(),
        "k".repeat(KeyId::MAX_LEN),
    ];
    for id in foreign {
        let Ok(key_id) = KeyId::new(id) else { continue };
        let wrapped = WrappedKey {
            key_id,
            ..wrapped.clone()
        };
        fails(
            "an unknown key id is refused",
            &kek.unwrap(&wrapped, AAD).await,
            &kinds,
        )?;
        fails(
            "an unknown key id is refused",
            &kek.rewrap(&wrapped, AAD).await,
            &kinds,
        )?;
    }
    Ok(())
}

async fn damage(kek: &dyn KeyEncryptionKey) -> Outcome {
    let wrapped = succeeds("wrap works", kek.wrap(SECRET, AAD).await)?;
    let kinds = [KekErrorKind::Malformed, KekErrorKind::Authentication];
    for at in 0..wrapped.ciphertext.len() {
        let mut flipped = wrapped.clone();
        if let Some(byte) = flipped.ciphertext.get_mut(at) {
            *byte ^= 1;
        }
        fails(
            "changed bytes are refused",
            &kek.unwrap(&flipped, AAD).await,
            &kinds,
        )?;
        let mut cut = wrapped.clone();
        cut.ciphertext.truncate(at);
        fails(
            "missing bytes are refused",
            &kek.unwrap(&cut, AAD).await,
            &kinds,
        )?;
    }
    let mut longer = wrapped.clone();
    longer.ciphertext.push(0);
    fails(
        "trailing bytes are refused",
        &kek.unwrap(&longer, AAD).await,
        &kinds,
    )?;
    opens(kek, "refusals leave no trace", &wrapped).await
}
