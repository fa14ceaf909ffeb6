//! Every number and rule of kube-apiserver's provider, on a clock that the test moves.

use core::time::Duration;

use kdc_envelope::kmsv2::{
    DekSource, InvalidObject, LegacyKey, LegacyRowSealer, ProviderName, SEED_LEN, Seed, Value,
};
use kdc_envelope::{KeyId, SecretBytes, WrappedKey};

use super::*;
use crate::client::{CallError, EncryptAnswer, Method, StatusAnswer};

const KEY: &[u8] = b"/registry/secrets/default/a";

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn provider() -> Provider {
    Provider::new(ProviderName::new("demo").unwrap())
}

fn status(key_id: &str) -> StatusAnswer {
    StatusAnswer {
        version: "v2".into(),
        healthz: "ok".into(),
        key_id: key_id.into(),
    }
}

fn wrapped(key_id: &str) -> EncryptAnswer {
    EncryptAnswer {
        ciphertext: Seed::random().unwrap().expose().to_vec(),
        key_id: key_id.into(),
        annotations: [("a.example.com".to_owned(), vec![1])].into(),
    }
}

fn down() -> CallError {
    CallError::Deadline {
        method: Method::Status,
        timeout: secs(3),
    }
}

/// A check whose Status and, if it comes to that, Encrypt answer as given. Second: the number of calls made.
fn check(
    provider: &mut Provider,
    now: Duration,
    status: Result<StatusAnswer, CallError>,
    encrypt_key_id: &str,
) -> (Result<(), CheckError>, u32) {
    match provider.plan(now) {
        Plan::Cached(outcome) => return (outcome, 0),
        Plan::CallStatus => {}
    }
    match provider.status_answered(now, status) {
        AfterStatus::Done(outcome) => (outcome, 1),
        AfterStatus::CallEncrypt(rotation) => {
            let answer = (Seed::random().unwrap(), wrapped(encrypt_key_id));
            (provider.encrypt_answered(now, rotation, Ok(answer)), 2)
        }
    }
}

fn good(provider: &mut Provider, now: Duration, key_id: &str) -> u32 {
    let (outcome, calls) = check(provider, now, Ok(status(key_id)), key_id);
    outcome.unwrap();
    calls
}

fn problem(outcome: Result<(), CheckError>) -> Problem {
    let error = outcome.unwrap_err();
    assert_eq!(error.problems().len(), 1, "{error}");
    error.problems()[0].clone()
}

fn row(provider: &mut Provider, now: Duration) -> Vec<u8> {
    provider.sealer(now).unwrap().seal(b"data", KEY).unwrap()
}

fn dek_source_of(row: &[u8]) -> Vec<u8> {
    Value::parse(row)
        .unwrap()
        .object
        .encrypted_dek_source
        .to_vec()
}

#[test]
fn a_start_costs_one_status_and_one_encrypt_and_then_only_status() {
    let mut provider = provider();
    assert_eq!(good(&mut provider, secs(0), "k1"), 2);
    for minute in 1..100 {
        assert_eq!(good(&mut provider, secs(60 * minute), "k1"), 1);
    }
}

#[test]
fn a_good_result_answers_for_20_seconds_and_a_bad_one_for_3() {
    let mut provider = provider();
    good(&mut provider, secs(0), "k1");
    let almost = secs(20).saturating_sub(Duration::from_nanos(1));
    assert!(matches!(provider.plan(almost), Plan::Cached(Ok(()))));
    assert!(matches!(provider.plan(secs(20)), Plan::CallStatus));

    let (outcome, _) = check(&mut provider, secs(20), Err(down()), "k1");
    assert_eq!(problem(outcome), Problem::Status(down()));
    let almost = secs(23).saturating_sub(Duration::from_nanos(1));
    assert!(matches!(provider.plan(almost), Plan::Cached(Err(_))));
    assert!(matches!(provider.plan(secs(23)), Plan::CallStatus));
}

#[test]
fn the_background_loop_waits_60_seconds_when_healthy_and_10_until_then() {
    let mut provider = provider();
    assert_eq!(provider.poll_interval(), secs(10));
    good(&mut provider, secs(0), "k1");
    assert_eq!(provider.poll_interval(), secs(60));
    let (outcome, _) = check(&mut provider, secs(60), Err(down()), "k1");
    outcome.unwrap_err();
    assert_eq!(provider.poll_interval(), secs(10));
    good(&mut provider, secs(70), "k1");
    assert_eq!(provider.poll_interval(), secs(60));
}

#[test]
fn writing_ends_3_minutes_after_the_last_good_check_and_reading_never() {
    let mut provider = provider();
    good(&mut provider, secs(0), "k1");
    let stored = row(&mut provider, secs(0));
    let (outcome, _) = check(&mut provider, secs(60), Err(down()), "k1");
    outcome.unwrap_err();

    assert!(provider.sealer(secs(180)).is_ok(), "the end is inclusive");
    let late = secs(180) + Duration::from_nanos(1);
    assert_eq!(
        provider.sealer(late).unwrap_err(),
        WriteError::Expired {
            since: Duration::from_nanos(1)
        }
    );
    let object = Value::parse(&stored).unwrap().object;
    assert!(matches!(provider.plan_read(&object), Ok(ReadPlan::Open(_))));
    assert!(!provider.is_stale(&object));

    // The plugin comes back with the same key id: no Encrypt, and the same seed.
    assert_eq!(good(&mut provider, secs(3_600), "k1"), 1);
    let rewritten = row(&mut provider, secs(3_780));
    assert_eq!(dek_source_of(&rewritten), dek_source_of(&stored));
}

#[test]
fn a_new_key_id_brings_a_new_seed_and_makes_old_rows_stale_once() {
    let mut provider = provider();
    good(&mut provider, secs(0), "k1");
    let old = row(&mut provider, secs(0));
    assert_eq!(good(&mut provider, secs(60), "k2"), 2);
    assert_eq!(provider.key_id(), Some("k2"));
    let new = row(&mut provider, secs(60));
    assert_ne!(dek_source_of(&old), dek_source_of(&new));
    assert!(provider.is_stale(&Value::parse(&old).unwrap().object));
    assert!(!provider.is_stale(&Value::parse(&new).unwrap().object));
    let ReadPlan::Open(source) = provider
        .plan_read(&Value::parse(&old).unwrap().object)
        .unwrap()
    else {
        panic!("the old seed is still cached");
    };
    let opened = source
        .open(&Value::parse(&old).unwrap().object, KEY)
        .unwrap();
    assert_eq!(opened.expose(), b"data");
}

#[test]
fn a_mismatch_keeps_the_old_state_and_encrypts_again_with_every_check() {
    let mut provider = provider();
    good(&mut provider, secs(0), "k1");
    for now in [60, 70, 80] {
        let (outcome, calls) = check(&mut provider, secs(now), Ok(status("k2")), "k1");
        assert_eq!(calls, 2);
        assert_eq!(
            problem(outcome),
            Problem::KeyIdMismatch {
                status: "k2".into(),
                encrypt: "k1".into()
            }
        );
    }
    assert_eq!(provider.key_id(), Some("k1"));
    assert!(provider.sealer(secs(180)).is_ok());
    assert!(
        provider.sealer(secs(181)).is_err(),
        "a mismatch extends nothing"
    );
}

#[test]
fn a_failed_encrypt_is_tried_again_with_the_next_check() {
    let mut provider = provider();
    let AfterStatus::CallEncrypt(rotation) = provider.status_answered(secs(0), Ok(status("k1")))
    else {
        panic!("the first status leads to a seed");
    };
    let refused = Problem::Encrypt(down());
    let outcome = provider.encrypt_answered(secs(3), rotation, Err(refused.clone()));
    assert_eq!(problem(outcome), refused);
    assert_eq!(
        provider.sealer(secs(3)).unwrap_err(),
        WriteError::NoState(NoState)
    );
    assert_eq!(good(&mut provider, secs(10), "k1"), 2);
}

#[test]
fn the_write_window_begins_with_status_not_with_the_end_of_encrypt() {
    let mut provider = provider();
    let AfterStatus::CallEncrypt(rotation) = provider.status_answered(secs(0), Ok(status("k1")))
    else {
        panic!("the first status leads to a seed");
    };
    let answer = (Seed::random().unwrap(), wrapped("k1"));
    provider
        .encrypt_answered(secs(2), rotation, Ok(answer))
        .unwrap();
    assert!(provider.sealer(secs(180)).is_ok());
    assert!(provider.sealer(secs(181)).is_err());
}

#[test]
fn bad_healthz_fails_the_check_but_extends_writing_as_upstream_does() {
    let mut provider = provider();
    good(&mut provider, secs(0), "k1");
    for now in (20..1_000).step_by(10) {
        let sick = StatusAnswer {
            healthz: "bad".into(),
            ..status("k1")
        };
        let (outcome, calls) = check(&mut provider, secs(now), Ok(sick), "k1");
        assert_eq!(problem(outcome), Problem::Healthz("bad".into()));
        assert_eq!(calls, 1);
        assert!(provider.sealer(secs(now)).is_ok());
    }
}

#[test]
fn version_is_v2_or_v2beta1_and_stays_what_it_was() {
    for version in ["v2", "v2beta1"] {
        let mut provider = provider();
        let answer = |version: &str| StatusAnswer {
            version: version.into(),
            ..status("k1")
        };
        let (outcome, _) = check(&mut provider, secs(0), Ok(answer(version)), "k1");
        outcome.unwrap();
        let other = if version == "v2" { "v2beta1" } else { "v2" };
        let (outcome, _) = check(&mut provider, secs(60), Ok(answer(other)), "k1");
        let changed = Problem::VersionChanged {
            first: version.into(),
            now: other.into(),
        };
        assert_eq!(problem(outcome), changed);
        for (now, bad) in [(70, ""), (80, "v1"), (90, "v2alpha1"), (100, "V2")] {
            let (outcome, _) = check(&mut provider, secs(now), Ok(answer(bad)), "k1");
            assert_eq!(problem(outcome), Problem::Version(bad.into()));
        }
    }
}

#[test]
fn key_ids_in_status_have_1_to_1024_bytes() {
    for (len, is_good) in [(0, false), (1, true), (1024, true), (1025, false)] {
        let mut provider = provider();
        let key_id = "k".repeat(len);
        let (outcome, calls) = check(&mut provider, secs(0), Ok(status(&key_id)), &key_id);
        if is_good {
            assert_eq!((outcome, calls), (Ok(()), 2));
        } else {
            assert_eq!(problem(outcome), Problem::KeyIdLength(len));
            assert_eq!(calls, 1, "no Encrypt for a key id that cannot be stored");
        }
    }
}

#[test]
fn an_empty_key_id_lets_the_write_window_run_out() {
    let mut provider = provider();
    good(&mut provider, secs(0), "k1");
    let (outcome, _) = check(&mut provider, secs(170), Ok(status("")), "");
    outcome.unwrap_err();
    assert!(provider.sealer(secs(181)).is_err());
}

#[test]
fn all_problems_of_one_answer_are_reported() {
    let mut provider = provider();
    let answer = StatusAnswer {
        version: "v3".into(),
        healthz: "no".into(),
        key_id: String::new(),
    };
    let (outcome, _) = check(&mut provider, secs(0), Ok(answer), "");
    assert_eq!(
        outcome.unwrap_err().to_string(),
        "healthz is `no`, not `ok`; version is `v3`, not `v2` or `v2beta1`; \
         the key id in Status has 0 bytes; 1 to 1024 are allowed"
    );
}

#[test]
fn an_answer_that_must_not_be_stored_is_not_taken() {
    let answers = [
        (
            EncryptAnswer {
                ciphertext: vec![],
                ..wrapped("k1")
            },
            InvalidObject::DekSourceLength(0),
        ),
        (
            EncryptAnswer {
                ciphertext: vec![0; 1025],
                ..wrapped("k1")
            },
            InvalidObject::DekSourceLength(1025),
        ),
        (
            EncryptAnswer {
                annotations: [("nodots".to_owned(), vec![])].into(),
                ..wrapped("k1")
            },
            InvalidObject::Annotation(kdc_envelope::kek::InvalidAnnotation::Domain(
                "nodots".into(),
            )),
        ),
        (wrapped(""), InvalidObject::KeyIdLength(0)),
    ];
    for (answer, fault) in answers {
        let mut provider = provider();
        let AfterStatus::CallEncrypt(rotation) =
            provider.status_answered(secs(0), Ok(status("k1")))
        else {
            panic!("the first status leads to a seed");
        };
        let answer = Ok((Seed::random().unwrap(), answer));
        let outcome = provider.encrypt_answered(secs(0), rotation, answer);
        assert_eq!(problem(outcome), Problem::InvalidAnswer(fault));
        assert_eq!(provider.key_id(), None);
    }
}

#[test]
fn nothing_is_read_or_written_before_the_first_good_check() {
    let mut writer = provider();
    good(&mut writer, secs(0), "k1");
    let stored = row(&mut writer, secs(0));
    let object = Value::parse(&stored).unwrap().object;

    let mut restarted = provider();
    let (outcome, _) = check(&mut restarted, secs(0), Err(down()), "k1");
    outcome.unwrap_err();
    assert_eq!(restarted.plan_read(&object).unwrap_err(), NoState);
    assert_eq!(
        restarted.sealer(secs(0)).unwrap_err(),
        WriteError::NoState(NoState)
    );
    good(&mut restarted, secs(10), "k1");
    assert!(matches!(
        restarted.plan_read(&object),
        Ok(ReadPlan::CallDecrypt(_))
    ));
}

#[test]
fn a_thousand_rows_share_one_wrapped_seed() {
    let mut provider = provider();
    good(&mut provider, secs(0), "k1");
    let sources: std::collections::BTreeSet<Vec<u8>> = (0..1000)
        .map(|_| dek_source_of(&row(&mut provider, secs(0))))
        .collect();
    assert_eq!(sources.len(), 1);
    assert_eq!(provider.dek_sources(), 1);
}

/// A row that another process wrote under `key_id`, and its seed.
fn foreign_row(key_id: &str) -> (Vec<u8>, Vec<u8>) {
    let mut writer = provider();
    let AfterStatus::CallEncrypt(rotation) = writer.status_answered(secs(0), Ok(status(key_id)))
    else {
        panic!("the first status leads to a seed");
    };
    let seed = Seed::random().unwrap();
    let bytes = seed.expose().to_vec();
    writer
        .encrypt_answered(secs(0), rotation, Ok((seed, wrapped(key_id))))
        .unwrap();
    (row(&mut writer, secs(0)), bytes)
}

fn read_by_decrypt(provider: &mut Provider, now: Duration, row: &[u8], seed: Vec<u8>) {
    let object = Value::parse(row).unwrap().object;
    let Ok(ReadPlan::CallDecrypt(need)) = provider.plan_read(&object) else {
        panic!("the seed is not cached");
    };
    let source = provider
        .decrypt_answered(now, need, SecretBytes::new(seed))
        .unwrap();
    assert_eq!(source.open(&object, KEY).unwrap().expose(), b"data");
}

fn is_cached(provider: &Provider, row: &[u8]) -> bool {
    let object = Value::parse(row).unwrap().object;
    matches!(provider.plan_read(&object), Ok(ReadPlan::Open(_)))
}

#[test]
fn an_unwrapped_seed_is_kept_24_hours_and_until_the_next_insertion() {
    let mut provider = provider();
    good(&mut provider, secs(0), "k1");
    let (stored, seed) = foreign_row("k0");
    assert!(!is_cached(&provider, &stored));
    read_by_decrypt(&mut provider, secs(0), &stored, seed);
    let day = secs(24 * 60 * 60);
    good(&mut provider, day, "k1");
    assert!(
        is_cached(&provider, &stored),
        "expired, but nothing was put in"
    );
    provider.sealer(day - Duration::from_nanos(1)).unwrap();
    assert!(
        is_cached(&provider, &stored),
        "an insertion before the end leaves it"
    );
    provider.sealer(day).unwrap();
    assert!(
        !is_cached(&provider, &stored),
        "a write puts in, and removes the expired"
    );
    assert_eq!(provider.dek_sources(), 1);
}

#[test]
fn every_part_of_a_wrapped_key_tells_cache_entries_apart() {
    let mut provider = provider();
    good(&mut provider, secs(0), "k1");
    let (stored, seed) = foreign_row("k0");
    read_by_decrypt(&mut provider, secs(0), &stored, seed);
    let value = Value::parse(&stored).unwrap();
    let wrapped_dek_source = value.object.encrypted_dek_source.to_vec();
    type Change = fn(&mut kdc_envelope::kmsv2::EncryptedObject<'_>);
    let changes: [Change; 5] = [
        |object| object.key_id = "k9",
        |object| object.encrypted_dek_source = b"other",
        |object| object.annotations.clear(),
        |object| object.annotations[0].1 = b"other",
        |object| object.dek_source_type = kdc_envelope::kmsv2::DekSourceType::AesGcmKey,
    ];
    for change in changes {
        let mut other = value.object.clone();
        change(&mut other);
        assert!(matches!(
            provider.plan_read(&other),
            Ok(ReadPlan::CallDecrypt(_))
        ));
    }
    assert_eq!(value.object.encrypted_dek_source, wrapped_dek_source);
    assert!(is_cached(&provider, &stored));
}

#[test]
fn rows_of_the_older_type_are_readable_and_stale_under_the_same_key_id() {
    let mut provider = provider();
    good(&mut provider, secs(0), "k1");
    let key = LegacyKey::random().unwrap();
    let bytes = key.expose().to_vec();
    let wrapped = WrappedKey::new(KeyId::new("k1").unwrap(), b"wrapped".to_vec());
    let sealer = LegacyRowSealer::new(provider.name(), key, &wrapped, [1, 2, 3, 4]).unwrap();
    let stored = sealer.seal(b"data", KEY).unwrap();
    assert!(provider.is_stale(&Value::parse(&stored).unwrap().object));
    read_by_decrypt(&mut provider, secs(0), &stored, bytes);
}

#[test]
fn bytes_of_a_wrong_length_from_decrypt_are_refused_and_not_kept() {
    let mut provider = provider();
    good(&mut provider, secs(0), "k1");
    let (stored, _) = foreign_row("k0");
    let object = Value::parse(&stored).unwrap().object;
    let Ok(ReadPlan::CallDecrypt(need)) = provider.plan_read(&object) else {
        panic!("the seed is not cached");
    };
    let short = SecretBytes::new(vec![0; SEED_LEN - 1]);
    let refused: Result<std::sync::Arc<DekSource>, _> =
        provider.decrypt_answered(secs(0), need, short);
    assert_eq!(
        refused.unwrap_err(),
        kdc_envelope::kmsv2::OpenError::DekSourceLength(SEED_LEN - 1)
    );
    assert!(!is_cached(&provider, &stored));
}
