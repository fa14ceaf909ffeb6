//! Key histories: the corpus, and that nothing is ever lost.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kdc_envelope::SecretBytes;
use kdc_envelope::kmsv2::ProviderName;
use kdc_envelope::providers::KeyName;
use kdc_envelope_k8s::GroupResource;
use kdc_envelope_k8s::encryption_config::{KmsProvider, LocalKey, LocalProvider, Transformer};
use kdc_envelope_k8s::rotation::history::{HistoryError, KeyHistory, RecordError};
use kdc_envelope_k8s::rotation::{Revision, Timestamp};
use proptest::prelude::*;

fn gcm(name: &str, byte: u8) -> Transformer {
    let name = KeyName::new(name).unwrap();
    let key = LocalKey::new(
        LocalProvider::Aesgcm,
        name,
        SecretBytes::new(vec![byte; 32]),
    );
    Transformer::Local(key.unwrap())
}

fn kms(name: &str) -> Transformer {
    let name = ProviderName::new(name).unwrap();
    let second = Duration::from_secs(1);
    Transformer::Kms(Arc::new(KmsProvider::v2(
        &name,
        "unix:///run/kms.sock",
        second,
    )))
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_secs(seconds)
}

fn revision(number: u64, writer: &Transformer) -> Revision {
    let writers = [(GroupResource::from_text("secrets"), writer.clone())];
    Revision {
        number,
        writers: writers.into(),
    }
}

#[test]
fn the_corpus_is_read_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/key-history");
    let mut outcomes = BTreeMap::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let case = std::fs::read_to_string(&path).unwrap();
        let (header, text) = case.split_once("\n\n").unwrap();
        let expected = header.strip_prefix("expect: ").unwrap();
        let outcome = KeyHistory::parse(text);
        let said = match &outcome {
            Ok(history) => {
                assert_eq!(*history.to_text(), text);
                "Ok".to_owned()
            }
            Err(error) => format!("{error:?}"),
        };
        assert_eq!(said, expected, "{}", path.display());
        *outcomes.entry(outcome.is_ok()).or_insert(0) += 1;
    }
    assert_eq!(outcomes[&true], 2);
    assert!(outcomes[&false] > 40, "{outcomes:?}");
}

#[test]
fn the_good_one_has_what_was_put_in() {
    let mut history = KeyHistory::default();
    let (one, two, plugin) = (gcm("key one", 1), gcm("b", 2), kms("vault"));
    assert!(history.keep(&one, true, at(10)));
    assert!(history.keep(&two, false, at(20)));
    assert!(!history.keep(&one, false, at(30)), "it is there");
    assert!(!history.keep(&Transformer::Identity, true, at(30)));
    history.keep(&plugin, false, at(40));
    history.record(revision(1, &two), at(50)).unwrap();
    history
        .record(revision(2, &Transformer::Identity), at(60))
        .unwrap();

    let read = KeyHistory::parse(&history.to_text()).unwrap();
    assert_eq!(read, history);
    let used: Vec<_> = read
        .entries()
        .iter()
        .map(|entry| (entry.used, entry.added))
        .collect();
    assert_eq!(used, [(true, at(10)), (true, at(20)), (false, at(40))]);
    assert_eq!(read.local_keys().count(), 2);
    let keyring = read.keyring();
    assert_eq!(keyring.kept.len(), 3);
    assert_eq!(keyring.revision, Some(revision(2, &Transformer::Identity)));
    assert_eq!(read.revisions().len(), 2);
}

#[test]
fn a_revision_only_follows_and_its_writers_are_kept_first() {
    let mut history = KeyHistory::default();
    let key = gcm("a", 1);
    let refused = history.record(revision(1, &key), at(1)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "aesgcm key `a` is not in the key history; keep it before it writes"
    );
    history.keep(&key, false, at(1));
    history.record(revision(7, &key), at(2)).unwrap();
    history.record(revision(7, &key), at(3)).unwrap();
    for other in [revision(7, &Transformer::Identity), revision(6, &key)] {
        let refused = history.record(other, at(3)).unwrap_err();
        assert!(matches!(refused, RecordError::NotNewer { newest: 7, .. }));
    }
    assert_eq!(history.revisions().len(), 1);
}

#[test]
fn merging_loses_nothing_and_never_unmarks() {
    let mut ours = KeyHistory::default();
    ours.keep(&gcm("a", 1), true, at(1));
    ours.keep(&gcm("b", 2), false, at(2));
    let mut theirs = KeyHistory::default();
    theirs.keep(&gcm("b", 2), true, at(3));
    theirs.keep(&gcm("a", 9), false, at(4));
    theirs.keep(&gcm("a", 1), false, at(5));
    ours.merge(&theirs);
    let all: Vec<_> = ours
        .entries()
        .iter()
        .map(|entry| (entry.transformer.clone(), entry.used))
        .collect();
    assert_eq!(
        all,
        [
            (gcm("a", 1), true),
            (gcm("b", 2), true),
            (gcm("a", 9), false)
        ]
    );
}

#[test]
fn errors_say_what_to_do_and_show_no_key() {
    let mut history = KeyHistory::default();
    history.keep(&gcm("a", 1), true, at(1));
    let text = history.to_text();
    let secret = "AQEBAQEB";
    assert!(text.contains(secret));
    assert!(!format!("{history:?}").contains(secret));
    let damaged = text.replace(secret, "BQEBAQEB");
    let error = KeyHistory::parse(&damaged).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the checksum in the last line does not fit; take the history of another node, and see which lines differ"
    );
    let long = " ".repeat((1 << 20) + 1);
    assert!(matches!(
        KeyHistory::parse(&long),
        Err(HistoryError::TooLong(_))
    ));
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        keys in proptest::collection::vec(("[^\u{0}]{1,6}", any::<u8>(), any::<bool>(), any::<u64>()), 0..8),
        resource in "[^\n]{0,8}",
        number in any::<u64>(),
    ) {
        let mut history = KeyHistory::default();
        for (name, byte, used, time) in &keys {
            history.keep(&gcm(name, *byte), *used, at(*time));
        }
        let writer = history.entries().first().map_or(Transformer::Identity, |entry| entry.transformer.clone());
        let writers = [(GroupResource::from_text(&resource), writer)];
        history.record(Revision { number, writers: writers.into() }, at(0)).unwrap();
        let text = history.to_text();
        prop_assert_eq!(KeyHistory::parse(&text).unwrap(), history);
        // Any other byte anywhere is found out.
        let mut changed = text.as_bytes().to_vec();
        let place = usize::try_from(number % u64::try_from(changed.len()).unwrap()).unwrap();
        changed[place] ^= 1;
        if let Ok(changed) = String::from_utf8(changed) {
            prop_assert!(KeyHistory::parse(&changed).is_err());
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC*") {
        let _ = KeyHistory::parse(&text);
        let _ = KeyHistory::parse(&format!("kdc-key-history 1\n{text}"));
    }
}
