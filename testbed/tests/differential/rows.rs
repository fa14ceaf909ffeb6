//! Rows of KMS v1 and v2.

use std::collections::BTreeMap;

use kdc_envelope::kmsv2::{
    DekSource, LegacyKey, LegacyRowSealer, ProviderName, RowSealer, Seed, Value,
};
use kdc_envelope::providers::kmsv1::{self, BodyCipher};
use kdc_envelope::{Annotations, KeyId, SecretBytes, WrappedKey};
use kdc_testbed::oracle::{KmsKey, Provider};
use kdc_testbed::{Oracle, Random};

use crate::oracle;

const ROWS: usize = 400;

fn kms_key(random: &mut Random) -> KmsKey {
    let annotations: BTreeMap<String, Vec<u8>> = (0..random.below(4))
        .map(|index| {
            let len = random.below(20);
            (format!("a{index}.example.com"), random.bytes(len))
        })
        .collect();
    let wrapped_len = 1 + random.below(200);
    KmsKey {
        name: (*random.pick(&["kms", "a-b", "\u{e9}", "0"])).to_owned(),
        dek_source: None,
        wrapped: random.bytes(wrapped_len),
        key_id: format!("key-{}", random.below(1000)),
        annotations,
    }
}

/// Not empty: upstream's cache of derived keys panics without one, and etcd has no empty key.
fn etcd_key(random: &mut Random) -> Vec<u8> {
    format!("/{}", random.text("/abc", 30)).into_bytes()
}

fn wrapped_key(key: &KmsKey) -> WrappedKey {
    let annotations = key
        .annotations
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_slice()));
    WrappedKey::new(
        KeyId::new(key.key_id.as_str()).unwrap(),
        key.wrapped.clone(),
    )
    .with_annotations(Annotations::try_from_iter(annotations).unwrap())
}

/// What kube-apiserver does with a plugin that knows `key` only.
fn open_v2(key: &KmsKey, row: &[u8], etcd_key: &[u8]) -> Option<Vec<u8>> {
    let value = Value::parse(row).ok()?;
    if value.provider != key.name.as_bytes() || value.object.wrapped_key().ok()? != wrapped_key(key)
    {
        return None;
    }
    let secret = SecretBytes::new(key.dek_source.clone()?);
    let source = DekSource::new(value.object.dek_source_type, secret).ok()?;
    let plaintext = source.open(&value.object, etcd_key).ok()?;
    Some(plaintext.expose().to_vec())
}

fn open_v1(key: &KmsKey, row: &[u8], etcd_key: &[u8]) -> Option<(Vec<u8>, BodyCipher)> {
    let value = kmsv1::Value::parse(&key.name, row).ok()?;
    if value.wrapped_dek != key.wrapped {
        return None;
    }
    let dek = SecretBytes::new(key.dek_source.clone()?);
    let opened = value.open(&dek, etcd_key).ok()?;
    Some((opened.plaintext.expose().to_vec(), opened.cipher))
}

fn upstream_opens(
    oracle: &mut Oracle,
    provider: &Provider,
    etcd_key: &[u8],
    row: &[u8],
) -> Option<Vec<u8>> {
    let opened = oracle.open(provider, etcd_key, row).unwrap();
    opened.ok().map(|opened| opened.plaintext)
}

/// Rows of upstream open here, and both agree on changed ones.
fn compare_v2(seed: u64, provider: fn(KmsKey) -> Provider) {
    let mut oracle = oracle();
    let mut random = Random::new(seed);
    for _ in 0..ROWS {
        let mut key = kms_key(&mut random);
        let plaintext = random.plaintext();
        let etcd_key = etcd_key(&mut random);
        let sealed = oracle
            .seal(&provider(key.clone()), &etcd_key, &plaintext)
            .unwrap()
            .unwrap();
        key.dek_source = Some(sealed.dek_source);
        assert_eq!(open_v2(&key, &sealed.row, &etcd_key), Some(plaintext));

        let upstream = Provider::KmsV2(key.clone());
        for _ in 0..5 {
            let changed = random.changed(&sealed.row);
            let expected = upstream_opens(&mut oracle, &upstream, &etcd_key, &changed);
            assert_eq!(
                open_v2(&key, &changed, &etcd_key),
                expected,
                "{}",
                hex::encode(&changed)
            );
        }
    }
}

#[test]
fn upstream_rows_of_seeds_open_here() {
    compare_v2(10, Provider::KmsV2);
}

#[test]
fn upstream_rows_of_aes_gcm_keys_open_here() {
    compare_v2(11, Provider::KmsV2Legacy);
}

#[test]
fn our_rows_of_seeds_open_upstream() {
    let mut oracle = oracle();
    let mut random = Random::new(12);
    for _ in 0..ROWS {
        let mut key = kms_key(&mut random);
        let seed = Seed::random().unwrap();
        key.dek_source = Some(seed.expose().to_vec());
        let name = ProviderName::new(key.name.as_str()).unwrap();
        let sealer = RowSealer::new(&name, seed, &wrapped_key(&key)).unwrap();
        let (plaintext, etcd_key) = (random.plaintext(), etcd_key(&mut random));
        let row = sealer.seal(&plaintext, &etcd_key).unwrap();
        let upstream = Provider::KmsV2(key);
        assert_eq!(
            upstream_opens(&mut oracle, &upstream, &etcd_key, &row),
            Some(plaintext)
        );
        assert_eq!(
            upstream_opens(&mut oracle, &upstream, b"/moved", &row),
            None
        );
    }
}

#[test]
fn our_rows_of_aes_gcm_keys_open_upstream_and_count_as_its_own() {
    let mut oracle = oracle();
    let mut random = Random::new(13);
    for _ in 0..ROWS {
        let mut key = kms_key(&mut random);
        let legacy = LegacyKey::random().unwrap();
        key.dek_source = Some(legacy.expose().to_vec());
        let name = ProviderName::new(key.name.as_str()).unwrap();
        let sealer = LegacyRowSealer::new(&name, legacy, &wrapped_key(&key), [7; 4]).unwrap();
        let (plaintext, etcd_key) = (random.plaintext(), etcd_key(&mut random));
        let row = sealer.seal(&plaintext, &etcd_key).unwrap();
        let counter = |row: &[u8]| Value::parse(row).unwrap().object.encrypted_data[4..12].to_vec();
        let theirs = oracle
            .seal(&Provider::KmsV2Legacy(key.clone()), &etcd_key, b"x")
            .unwrap()
            .unwrap();
        assert_eq!(counter(&row), counter(&theirs.row), "the first nonce");
        let upstream = Provider::KmsV2(key);
        assert_eq!(
            upstream_opens(&mut oracle, &upstream, &etcd_key, &row),
            Some(plaintext)
        );
    }
}

#[test]
fn dek_sources_of_every_length() {
    let mut oracle = oracle();
    let mut random = Random::new(14);
    for provider in [
        Provider::KmsV2 as fn(KmsKey) -> Provider,
        Provider::KmsV2Legacy,
    ] {
        let mut key = kms_key(&mut random);
        let sealed = oracle
            .seal(&provider(key.clone()), b"/a", b"plain")
            .unwrap()
            .unwrap();
        for len in 0..=80 {
            let mut secret = sealed.dek_source.clone();
            secret.resize(len, 0);
            key.dek_source = Some(secret);
            let expected = oracle.open(&provider(key.clone()), b"/a", &sealed.row);
            // With a short seed upstream's own start fails, before it reads the row.
            let expected = expected.unwrap().ok().map(|opened| opened.plaintext);
            assert_eq!(open_v2(&key, &sealed.row, b"/a"), expected, "{len}");
        }
    }
}

#[test]
fn kms_v1_rows_open_here_and_both_agree_on_changed_ones() {
    let mut oracle = oracle();
    let mut random = Random::new(15);
    for round in 0..ROWS {
        let mut key = kms_key(&mut random);
        key.key_id = String::new();
        key.annotations.clear();
        if round % 5 == 0 {
            key.name = "a:b".to_owned();
        }
        let (plaintext, etcd_key) = (random.plaintext(), etcd_key(&mut random));
        let (provider, cipher) = if round % 2 == 0 {
            (Provider::KmsV1(key.clone()), BodyCipher::AesGcm)
        } else {
            (Provider::KmsV1Cbc(key.clone()), BodyCipher::AesCbc)
        };
        let sealed = oracle
            .seal(&provider, &etcd_key, &plaintext)
            .unwrap()
            .unwrap();
        key.dek_source = Some(sealed.dek_source);
        assert_eq!(
            open_v1(&key, &sealed.row, &etcd_key),
            Some((plaintext, cipher))
        );
        let upstream = Provider::KmsV1(key.clone());
        for _ in 0..5 {
            let changed = random.changed(&sealed.row);
            let expected = oracle.open(&upstream, &etcd_key, &changed).unwrap().ok();
            let outcome = open_v1(&key, &changed, &etcd_key);
            assert_eq!(
                outcome.map(|(plaintext, cipher)| (plaintext, cipher == BodyCipher::AesCbc)),
                expected.map(|opened| (opened.plaintext, opened.stale)),
                "{}",
                hex::encode(&changed)
            );
        }
    }
}
