//! aesgcm, aescbc, secretbox, identity.

use kdc_envelope::SecretBytes;
use kdc_envelope::providers::{KeyName, aescbc, aesgcm, identity, secretbox};
use kdc_testbed::oracle::Provider;
use kdc_testbed::{Oracle, Random};

use crate::oracle;

const ROWS: usize = 400;

/// One local key on our side.
enum Key {
    Aesgcm(aesgcm::Key),
    Aescbc(aescbc::Key),
    Secretbox(secretbox::Key),
}

impl Key {
    fn new(provider: &str, name: &str, key: &[u8]) -> Self {
        let name = KeyName::new(name).unwrap();
        let key = SecretBytes::new(key.to_vec());
        match provider {
            "aesgcm" => Self::Aesgcm(aesgcm::Key::new(name, &key).unwrap()),
            "aescbc" => Self::Aescbc(aescbc::Key::new(name, &key).unwrap()),
            _ => Self::Secretbox(secretbox::Key::new(name, &key).unwrap()),
        }
    }

    fn seal(&self, plaintext: &[u8], etcd_key: &[u8]) -> Vec<u8> {
        match self {
            Self::Aesgcm(key) => key.seal(plaintext, etcd_key),
            Self::Aescbc(key) => key.seal(plaintext),
            Self::Secretbox(key) => key.seal(plaintext),
        }
        .unwrap()
    }

    fn open(&self, value: &[u8], etcd_key: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Aesgcm(key) => key.open(value, etcd_key),
            Self::Aescbc(key) => key.open(value),
            Self::Secretbox(key) => key.open(value),
        }
        .ok()
        .map(|plaintext| plaintext.expose().to_vec())
    }
}

fn upstream_opens(
    oracle: &mut Oracle,
    provider: &Provider,
    etcd_key: &[u8],
    value: &[u8],
) -> Option<Vec<u8>> {
    let opened = oracle.open(provider, etcd_key, value).unwrap();
    opened.ok().map(|opened| opened.plaintext)
}

fn compare(provider: &str, key_lens: &[usize], seed: u64) {
    let mut oracle = oracle();
    let mut random = Random::new(seed);
    let mut still_open = 0;
    for _ in 0..ROWS {
        let key_len = *random.pick(key_lens);
        let bytes = random.bytes(key_len);
        let name = *random.pick(&["key1", "a", "a:b", "\u{e9}", "with space"]);
        let key = Key::new(provider, name, &bytes);
        let upstream = Provider::local(provider, &[(name, &bytes)]);
        let plaintext = random.plaintext();
        let etcd_key = random.text("/abc", 30).into_bytes();

        let theirs = oracle
            .seal(&upstream, &etcd_key, &plaintext)
            .unwrap()
            .unwrap()
            .row;
        assert_eq!(key.open(&theirs, &etcd_key).as_ref(), Some(&plaintext));
        let ours = key.seal(&plaintext, &etcd_key);
        assert_eq!(ours.len(), theirs.len());
        let opened = upstream_opens(&mut oracle, &upstream, &etcd_key, &ours);
        assert_eq!(opened.as_ref(), Some(&plaintext));

        for _ in 0..4 {
            let changed = random.changed(&ours);
            let outcome = key.open(&changed, &etcd_key);
            let expected = upstream_opens(&mut oracle, &upstream, &etcd_key, &changed);
            assert_eq!(outcome, expected, "{provider} {}", hex::encode(&changed));
            still_open += usize::from(outcome.is_some());
        }
        let moved = random.text("/abc", 30).into_bytes();
        let expected = upstream_opens(&mut oracle, &upstream, &moved, &ours);
        assert_eq!(key.open(&ours, &moved), expected, "{provider}");
    }
    assert_eq!(
        still_open > 0,
        provider == "aescbc",
        "{provider}: {still_open}"
    );
}

#[test]
fn aesgcm_both_ways_and_changed() {
    compare("aesgcm", &[16, 24, 32], 1);
}

#[test]
fn aescbc_both_ways_and_changed() {
    compare("aescbc", &[16, 24, 32], 2);
}

#[test]
fn secretbox_both_ways_and_changed() {
    compare("secretbox", &[32], 3);
}

#[test]
fn aescbc_bodies_of_every_length_and_padding() {
    let mut oracle = oracle();
    let mut random = Random::new(4);
    let bytes = random.bytes(32);
    let key = Key::new("aescbc", "k", &bytes);
    let upstream = Provider::local("aescbc", &[("k", &bytes)]);
    let mut compare = |body: &[u8]| {
        let value = [aescbc::PREFIX, b"k:", body].concat();
        let outcome = key.open(&value, b"");
        assert_eq!(
            outcome,
            upstream_opens(&mut oracle, &upstream, b"", &value),
            "{}",
            hex::encode(body)
        );
    };
    for len in 0..=100 {
        compare(&random.bytes(len));
    }
    // A ciphertext whose plaintext is all padding of this length, or nearly so: the last block of padding is cut off.
    for pad in 0..=40u8 {
        for len in [16, 32, 48] {
            let mut plaintext = vec![pad; len];
            let start = aescbc::PREFIX.len() + 2;
            let sealed = key.seal(&plaintext, b"");
            compare(&sealed[start..sealed.len() - 16]);
            plaintext[0] ^= 1;
            let sealed = key.seal(&plaintext, b"");
            compare(&sealed[start..sealed.len() - 16]);
        }
    }
}

#[test]
fn identity_both_ways() {
    let mut oracle = oracle();
    let mut random = Random::new(5);
    for round in 0..ROWS {
        let mut value = random.plaintext();
        if round % 2 == 0 {
            let prefix = *random.pick(&["k8s:enc:", "k8s:enc", "k8s\0", "k8s:enc:aesgcm:v1:a:"]);
            value.splice(0..0, prefix.bytes());
        }
        let expected = upstream_opens(&mut oracle, &Provider::identity(), b"/a", &value);
        assert_eq!(identity::open(&value).ok(), expected.as_deref());
        let stored = oracle
            .seal(&Provider::identity(), b"/a", &value)
            .unwrap()
            .unwrap()
            .row;
        assert_eq!(stored, value);
    }
}
