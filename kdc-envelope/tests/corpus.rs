//! Walks the corpus of good and bad inputs, which is the specification of the formats.
//!
//! An independent program wrote it (`testbed/python/corpus.py`). The folder names the format, the file the case; lines of
//! `name: value`, an empty line, then the input in hex. `expect` is `Ok` or the beginning of the error's `Debug`.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kdc_envelope::envelope::EnvelopeCipher;
use kdc_envelope::kmsv2::{DekSource, Value};
use kdc_envelope::local::{Keyring, LocalKek};
use kdc_envelope::snapshot::{self, Expected, OpenOptions, Trailer};
use kdc_envelope::{Aad, Key256, KeyEncryptionKey, KeyId, SecretBytes, WrappedKey};
use sha2::{Digest as _, Sha256};

struct Case {
    name: String,
    headers: BTreeMap<String, String>,
    input: Vec<u8>,
}

impl Case {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let (headers, digits) = text.split_once("\n\n").unwrap();
        let split = |line: &str| {
            line.split_once(": ")
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
        };
        Self {
            name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            headers: headers.lines().filter_map(split).collect(),
            input: hex::decode(digits.replace('\n', "")).unwrap(),
        }
    }

    fn text(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        hex::decode(self.text(name)).unwrap()
    }

    fn check<E: Debug>(&self, outcome: Result<SecretBytes, E>) {
        let expected = self.text("expect");
        match outcome {
            Ok(secret) => {
                assert_eq!(expected, "Ok", "{}", self.name);
                assert_eq!(secret.expose(), self.bytes("plaintext"), "{}", self.name);
            }
            Err(error) => {
                let error = format!("{error:?}");
                assert!(error.starts_with(expected), "{}: {error}", self.name);
            }
        }
    }
}

fn cases(format: &str) -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(format);
    let cases: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| Case::read(&entry.unwrap().path()))
        .collect();
    assert!(cases.len() > 10, "the corpus of {format} is there");
    cases
}

fn keyring() -> Keyring {
    let case = cases("keyring")
        .into_iter()
        .find(|case| case.name == "retired-current-and-readable");
    Keyring::parse(&String::from_utf8(case.unwrap().input).unwrap()).unwrap()
}

#[test]
fn keyrings() {
    for case in cases("keyring") {
        // The file's reader takes bytes that are no text for no keyring.
        let text = String::from_utf8(case.input.clone()).unwrap_or_default();
        let parsed = Keyring::parse(&text);
        if let Ok(keyring) = &parsed {
            assert_eq!(
                *keyring.to_text(),
                text,
                "{}: there is one way to write it",
                case.name
            );
        }
        case.check(parsed.map(|_| SecretBytes::new(Vec::new())));
    }
}

#[tokio::test]
async fn wrapped_keys() {
    let kek = LocalKek::new(keyring()).unwrap();
    for case in cases("wrapped-key") {
        let key_id = KeyId::new(case.text("key-id")).unwrap();
        let wrapped = WrappedKey::new(key_id, case.input.clone());
        case.check(kek.unwrap(&wrapped, Aad::new(&case.bytes("aad"))).await);
    }
}

#[tokio::test]
async fn envelopes() {
    let kek = Arc::new(LocalKek::new(keyring()).unwrap());
    for case in cases("envelope") {
        let cipher = EnvelopeCipher::new(kek.clone(), case.text("scope"), || Duration::ZERO);
        case.check(cipher.open(&case.input, &case.bytes("context")).await);
    }
}

#[test]
fn kmsv2_rows() {
    for case in cases("kmsv2-row") {
        let value = match Value::parse(&case.input) {
            Ok(value) => value,
            Err(error) => {
                case.check::<_>(Err(error));
                continue;
            }
        };
        let secret = SecretBytes::new(case.bytes("dek-source"));
        let source = DekSource::new(value.object.dek_source_type, secret).unwrap();
        case.check(source.open(&value.object, case.text("etcd-key").as_bytes()));
    }
}

#[test]
fn snapshots() {
    for case in cases("snapshot") {
        let dek = Key256::from_slice(&case.bytes("dek")).unwrap();
        let mut content = Vec::new();
        let input = case.input.as_slice();
        let opened = if case.text("format") == "1" {
            snapshot::v1::open(input, &mut content, &dek, Trailer::Unchecked).map(|_| ())
        } else {
            let mut expected = Expected::default();
            expected.cluster = Some(case.text("cluster").to_owned());
            let mut options = OpenOptions::default();
            options.trailer = Trailer::Unchecked;
            snapshot::open(input, &mut content, &dek, &expected, &options).map(|_| ())
        };
        match opened {
            Ok(()) => {
                assert_eq!(case.text("expect"), "Ok", "{}", case.name);
                let digest = hex::encode(Sha256::digest(&content));
                assert_eq!(digest, case.text("plaintext-sha256"), "{}", case.name);
            }
            Err(error) => {
                let error = format!("{error:?}");
                assert!(
                    error.starts_with(case.text("expect")),
                    "{}: {error}",
                    case.name
                );
            }
        }
    }
}
