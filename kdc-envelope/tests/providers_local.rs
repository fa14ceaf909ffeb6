//! The local providers: round trips, published vectors, and everything that must not open.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use kdc_envelope::SecretBytes;
use kdc_envelope::providers::{
    InvalidKey, KeyName, OpenError, aescbc, aesgcm, identity, secretbox,
};
use proptest::prelude::*;

const ETCD_KEY: &[u8] = b"/registry/secrets/default/demo";

fn name(text: &str) -> KeyName {
    KeyName::new(text).unwrap()
}

fn gcm(text: &str, key: &[u8]) -> aesgcm::Key {
    aesgcm::Key::new(name(text), &SecretBytes::new(key.to_vec())).unwrap()
}

fn cbc(text: &str, key: &[u8]) -> aescbc::Key {
    aescbc::Key::new(name(text), &SecretBytes::new(key.to_vec())).unwrap()
}

fn boxed(text: &str, key: &[u8]) -> secretbox::Key {
    secretbox::Key::new(name(text), &SecretBytes::new(key.to_vec())).unwrap()
}

fn flipped(value: &[u8], bit: usize) -> Vec<u8> {
    let mut value = value.to_vec();
    value[bit / 8] ^= 1 << (bit % 8);
    value
}

proptest! {
    #[test]
    fn aesgcm_opens_what_it_sealed(
        key_len in prop::sample::select(vec![16usize, 24, 32]),
        plaintext in prop::collection::vec(any::<u8>(), 0..200),
        etcd_key in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let key = gcm("key1", &vec![7; key_len]);
        let value = key.seal(&plaintext, &etcd_key).unwrap();
        prop_assert!(value.starts_with(b"k8s:enc:aesgcm:v1:key1:"));
        prop_assert_eq!(value.len(), 23 + 28 + plaintext.len());
        let opened = key.open(&value, &etcd_key).unwrap();
        prop_assert_eq!(opened.expose(), plaintext);
    }

    #[test]
    fn aescbc_opens_what_it_sealed(
        key_len in prop::sample::select(vec![16usize, 24, 32]),
        plaintext in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let key = cbc("key1", &vec![7; key_len]);
        let value = key.seal(&plaintext).unwrap();
        prop_assert!(value.starts_with(b"k8s:enc:aescbc:v1:key1:"));
        prop_assert_eq!(value.len(), 23 + 16 + (plaintext.len() / 16 + 1) * 16);
        let opened = key.open(&value).unwrap();
        prop_assert_eq!(opened.expose(), plaintext);
    }

    #[test]
    fn secretbox_opens_what_it_sealed(plaintext in prop::collection::vec(any::<u8>(), 0..200)) {
        let key = boxed("key1", &[7; 32]);
        let value = key.seal(&plaintext).unwrap();
        prop_assert!(value.starts_with(b"k8s:enc:secretbox:v1:key1:"));
        prop_assert_eq!(value.len(), 26 + 40 + plaintext.len());
        let opened = key.open(&value).unwrap();
        prop_assert_eq!(opened.expose(), plaintext);
    }

    #[test]
    fn no_bytes_make_them_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let _ = gcm("k", &[1; 16]).open(&[b"k8s:enc:aesgcm:v1:k:", &bytes[..]].concat(), ETCD_KEY);
        let _ = cbc("k", &[1; 16]).open(&[b"k8s:enc:aescbc:v1:k:", &bytes[..]].concat());
        let _ = boxed("k", &[1; 32]).open(&[b"k8s:enc:secretbox:v1:k:", &bytes[..]].concat());
        let _ = identity::open(&bytes);
    }
}

/// `vectors/local_providers.json`.
#[test]
fn opens_the_bodies_that_others_recorded() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("vectors/local_providers.json")).unwrap();
    let mut opened = 0;
    for vector in vectors["bodies"].as_array().unwrap() {
        let bytes = |field: &str| hex::decode(vector[field].as_str().unwrap()).unwrap();
        let etcd_key = vector["etcd_key"].as_str().unwrap().as_bytes();
        let value = |prefix: &[u8]| [prefix, b"recorded:", &bytes("body")].concat();
        let plaintext = match vector["provider"].as_str().unwrap() {
            "aesgcm" => gcm("recorded", &bytes("key")).open(&value(aesgcm::PREFIX), etcd_key),
            "secretbox" => boxed("recorded", &bytes("key")).open(&value(secretbox::PREFIX)),
            _ => continue, // those of KMS v2 are in `kmsv2_vectors`
        };
        assert_eq!(plaintext.unwrap().expose(), bytes("plaintext"));
        opened += 1;
    }
    assert_eq!(opened, 2);
}

#[test]
fn two_seals_of_the_same_never_look_the_same() {
    let (gcm, cbc, boxed) = (gcm("k", &[1; 16]), cbc("k", &[1; 16]), boxed("k", &[1; 32]));
    assert_ne!(
        gcm.seal(b"x", ETCD_KEY).unwrap(),
        gcm.seal(b"x", ETCD_KEY).unwrap()
    );
    assert_ne!(cbc.seal(b"x").unwrap(), cbc.seal(b"x").unwrap());
    assert_ne!(boxed.seal(b"x").unwrap(), boxed.seal(b"x").unwrap());
}

#[test]
fn every_truncation_is_refused() {
    let (gcm, cbc, boxed) = (gcm("k", &[1; 16]), cbc("k", &[1; 16]), boxed("k", &[1; 32]));
    let value = gcm.seal(b"some plaintext", ETCD_KEY).unwrap();
    let body_start = aesgcm::PREFIX.len() + 2;
    for len in 0..value.len() {
        let expected = match len {
            len if len < body_start => OpenError::ForeignPrefix,
            len if len < body_start + 28 => OpenError::Truncated(len - body_start),
            _ => OpenError::Authentication,
        };
        assert_eq!(
            gcm.open(&value[..len], ETCD_KEY).unwrap_err(),
            expected,
            "{len}"
        );
    }
    let value = boxed.seal(b"some plaintext").unwrap();
    let body_start = secretbox::PREFIX.len() + 2;
    for len in 0..value.len() {
        let expected = match len {
            len if len < body_start => OpenError::ForeignPrefix,
            len if len < body_start + 40 => OpenError::Truncated(len - body_start),
            _ => OpenError::Authentication,
        };
        assert_eq!(boxed.open(&value[..len]).unwrap_err(), expected, "{len}");
    }
    let value = cbc.seal(b"some plaintext").unwrap();
    let body_start = aescbc::PREFIX.len() + 2;
    for len in 0..value.len() {
        let expected = match len {
            len if len < body_start => OpenError::ForeignPrefix,
            len if len <= body_start + 16 => OpenError::Truncated(len - body_start),
            _ => OpenError::PartialBlock(len - body_start - 16),
        };
        assert_eq!(cbc.open(&value[..len]).unwrap_err(), expected, "{len}");
    }
}

#[test]
fn every_flipped_bit_is_refused_by_the_authenticated_ones() {
    let gcm = gcm("k", &[1; 32]);
    let value = gcm.seal(b"some plaintext", ETCD_KEY).unwrap();
    for bit in 0..value.len() * 8 {
        let error = gcm.open(&flipped(&value, bit), ETCD_KEY).unwrap_err();
        let in_body = bit / 8 >= aesgcm::PREFIX.len() + 2;
        let expected = if in_body {
            OpenError::Authentication
        } else {
            OpenError::ForeignPrefix
        };
        assert_eq!(error, expected, "{bit}");
    }
    let boxed = boxed("k", &[1; 32]);
    let value = boxed.seal(b"some plaintext").unwrap();
    for bit in 0..value.len() * 8 {
        let error = boxed.open(&flipped(&value, bit)).unwrap_err();
        let in_body = bit / 8 >= secretbox::PREFIX.len() + 2;
        let expected = if in_body {
            OpenError::Authentication
        } else {
            OpenError::ForeignPrefix
        };
        assert_eq!(error, expected, "{bit}");
    }
}

#[test]
fn aescbc_does_not_notice_a_change_that_keeps_the_padding() {
    let key = cbc("k", &[1; 16]);
    let value = key.seal(b"0123456789").unwrap();
    let iv_start = aescbc::PREFIX.len() + 2;
    let opened = key.open(&flipped(&value, iv_start * 8)).unwrap();
    assert_eq!(
        opened.expose(),
        b"1123456789",
        "a bit of the IV is a bit of the plaintext"
    );
}

#[test]
fn aesgcm_is_bound_to_its_etcd_key_and_the_others_are_not() {
    let key = gcm("k", &[1; 16]);
    let value = key.seal(b"x", ETCD_KEY).unwrap();
    for other in [&b"/registry/secrets/default/other"[..], b"", &ETCD_KEY[1..]] {
        assert_eq!(
            key.open(&value, other).unwrap_err(),
            OpenError::Authentication
        );
    }
}

#[test]
fn another_key_does_not_open() {
    let value = gcm("k", &[1; 16]).seal(b"x", ETCD_KEY).unwrap();
    for other in [vec![2; 16], vec![1; 24], vec![1; 32]] {
        assert_eq!(
            gcm("k", &other).open(&value, ETCD_KEY).unwrap_err(),
            OpenError::Authentication
        );
    }
    let value = boxed("k", &[1; 32]).seal(b"x").unwrap();
    assert_eq!(
        boxed("k", &[2; 32]).open(&value).unwrap_err(),
        OpenError::Authentication
    );
}

#[test]
fn the_whole_prefix_decides_also_for_names_with_a_colon() {
    let key = gcm("a:b", &[1; 16]);
    let value = key.seal(b"x", ETCD_KEY).unwrap();
    assert!(value.starts_with(b"k8s:enc:aesgcm:v1:a:b:"));
    assert_eq!(key.open(&value, ETCD_KEY).unwrap().expose(), b"x");
    for other in ["a:", "b", "a:bc", "A:b"] {
        let refused = gcm(other, &[1; 16]).open(&value, ETCD_KEY).unwrap_err();
        assert_eq!(refused, OpenError::ForeignPrefix, "{other}");
    }
    // The name `a:b:` fits exactly the values whose nonce happens to begin with a colon.
    let longer = gcm("a:b:", &[1; 16]);
    for (nonce_start, refusal) in [
        (b'-', OpenError::ForeignPrefix),
        (b':', OpenError::Authentication),
    ] {
        let value = [aesgcm::PREFIX, b"a:b:", &[nonce_start], &[0; 32]].concat();
        assert_eq!(longer.open(&value, ETCD_KEY).unwrap_err(), refusal);
    }
    // The name `a` fits, and its body is then `b:` and more, which does not authenticate.
    let refused = gcm("a", &[1; 16]).open(&value, ETCD_KEY).unwrap_err();
    assert_eq!(refused, OpenError::Authentication);
    let foreign = [aescbc::PREFIX, b"a:b:", &[0; 32]].concat();
    assert_eq!(
        key.open(&foreign, ETCD_KEY).unwrap_err(),
        OpenError::ForeignPrefix
    );
}

/// In particular it takes padding of more than a block.
#[test]
fn aescbc_unpads_as_upstream_does() {
    let key = cbc("k", &[1; 16]);
    let seal_raw = |plaintext: &[u8]| {
        // Sealing adds a block of padding to whole blocks; without it, the plaintext is its own padding.
        assert_eq!(plaintext.len() % 16, 0);
        let value = key.seal(plaintext).unwrap();
        value[..value.len() - 16].to_vec()
    };
    let open = |plaintext: &[u8]| {
        key.open(&seal_raw(plaintext))
            .map(|opened| opened.expose().len())
    };
    let ends_with = |len: usize, pad: usize| {
        let mut plaintext = vec![0xee; len];
        plaintext[len - pad..].fill(u8::try_from(pad).unwrap());
        plaintext
    };
    assert_eq!(open(&ends_with(16, 1)), Ok(15));
    assert_eq!(open(&ends_with(16, 16)), Ok(0));
    assert_eq!(open(&ends_with(32, 17)), Ok(15), "more than a block");
    assert_eq!(open(&ends_with(32, 32)), Ok(0), "all of it");
    assert_eq!(open(&ends_with(256, 255)), Ok(1));
    assert_eq!(open(&[0; 16]), Err(OpenError::Padding), "no padding");
    assert_eq!(
        open(&[17; 16]),
        Err(OpenError::Padding),
        "more than there is"
    );
    let mut uneven = ends_with(16, 4);
    uneven[13] = 5;
    assert_eq!(open(&uneven), Err(OpenError::Padding));
}

#[test]
fn aescbc_refuses_a_bare_iv() {
    let value = [aescbc::PREFIX, b"k:", &[0; 16]].concat();
    assert_eq!(
        cbc("k", &[1; 16]).open(&value).unwrap_err(),
        OpenError::Truncated(16)
    );
}

#[test]
fn identity_reads_everything_but_the_reserved_prefix() {
    for plain in [
        &b""[..],
        b"k8s\0\x0a",
        b"{}",
        b"k8s:en",
        b"k8s:enc",
        b"K8s:enc:",
    ] {
        assert_eq!(identity::open(plain), Ok(plain));
    }
    for encrypted in [&b"k8s:enc:"[..], b"k8s:enc:kms:v2:a:", b"k8s:enc:unheard"] {
        assert_eq!(identity::open(encrypted), Err(OpenError::Encrypted));
    }
}

#[test]
fn keys_have_the_lengths_of_their_cipher_and_a_name() {
    assert_eq!(KeyName::new("").unwrap_err(), InvalidKey::EmptyName);
    for len in 0..=64 {
        let key = SecretBytes::new(vec![0; len]);
        let is_aes = [16, 24, 32].contains(&len);
        assert_eq!(aesgcm::Key::new(name("k"), &key).is_ok(), is_aes, "{len}");
        assert_eq!(aescbc::Key::new(name("k"), &key).is_ok(), is_aes, "{len}");
        assert_eq!(
            secretbox::Key::new(name("k"), &key).is_ok(),
            len == 32,
            "{len}"
        );
    }
}

#[test]
fn debug_shows_the_name_and_no_key() {
    let shown = format!(
        "{:?} {:?} {:?}",
        gcm("a", &[0x41; 16]),
        cbc("b", &[0x41; 16]),
        boxed("c", &[0x41; 32])
    );
    assert_eq!(
        shown,
        r#"aesgcm::Key("a") aescbc::Key("b") secretbox::Key("c")"#
    );
}
