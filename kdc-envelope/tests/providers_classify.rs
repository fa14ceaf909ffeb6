//! What can be told of a value without keys.

use kdc_envelope::SecretBytes;
use kdc_envelope::kmsv2;
use kdc_envelope::providers::{
    KeyName, LocalValue, PlainFormat, StoredValue, aescbc, aesgcm, classify, secretbox,
};
use proptest::prelude::*;

fn local<'a>(key_name: impl Into<Option<&'a str>>, body: &'a [u8]) -> (Option<&'a str>, &'a [u8]) {
    (key_name.into(), body)
}

fn parts<'a>(value: &StoredValue<'a>) -> Option<(Option<&'a str>, &'a [u8])> {
    match value {
        StoredValue::Aesgcm(LocalValue { key_name, body, .. })
        | StoredValue::Aescbc(LocalValue { key_name, body, .. })
        | StoredValue::Secretbox(LocalValue { key_name, body, .. }) => Some((*key_name, body)),
        _ => None,
    }
}

#[test]
fn plain_values_by_their_first_bytes() {
    for (value, format) in [
        (&b"k8s\0\x0a\x0c"[..], PlainFormat::Protobuf),
        (b"k8s\0", PlainFormat::Protobuf),
        (b"{\"kind\":\"Secret\"}", PlainFormat::Json),
        (b"\xd9\xd9\xf7\xa0", PlainFormat::Cbor),
        (b"", PlainFormat::Other),
        (b"k8s", PlainFormat::Other),
        (b"k8s:en", PlainFormat::Other),
        (b"42", PlainFormat::Other),
    ] {
        assert_eq!(classify(value), StoredValue::Identity(format), "{value:?}");
    }
}

#[test]
fn values_of_local_keys_by_their_prefix() {
    let key = |text| KeyName::new(text).unwrap();
    let secret = SecretBytes::new(vec![3; 32]);
    let sealed = aesgcm::Key::new(key("one"), &secret)
        .unwrap()
        .seal(b"x", b"/k")
        .unwrap();
    assert!(
        matches!(classify(&sealed), StoredValue::Aesgcm(value) if value.key_name == Some("one") && value.body.len() == 29)
    );
    let sealed = aescbc::Key::new(key("two"), &secret)
        .unwrap()
        .seal(b"x")
        .unwrap();
    assert!(
        matches!(classify(&sealed), StoredValue::Aescbc(value) if value.key_name == Some("two") && value.body.len() == 32)
    );
    let sealed = secretbox::Key::new(key("three"), &secret)
        .unwrap()
        .seal(b"x")
        .unwrap();
    assert!(
        matches!(classify(&sealed), StoredValue::Secretbox(value) if value.key_name == Some("three") && value.body.len() == 41)
    );
}

#[test]
fn a_name_is_the_shortest_that_leaves_a_possible_body() {
    let body = [b':'; 28];
    let value = [aesgcm::PREFIX, b"a:b:", &body].concat();
    let guessed = [&b"b:"[..], &body].concat();
    assert_eq!(parts(&classify(&value)), Some(local("a", &guessed)));

    // AES-CBC knows better: only whole blocks are possible.
    let body = [0u8; 48];
    let value = [aescbc::PREFIX, b"a:b:", &body].concat();
    assert_eq!(parts(&classify(&value)), Some(local("a:b", &body)));

    let damaged = [secretbox::PREFIX, b"a:too short"].concat();
    assert_eq!(
        parts(&classify(&damaged)),
        Some(local(None, b"a:too short"))
    );
    let nameless = [secretbox::PREFIX, b":", &[0; 40]].concat();
    assert_eq!(parts(&classify(&nameless)).unwrap().0, None);
    let not_text = [secretbox::PREFIX, b"\xff:", &[0; 40]].concat();
    assert_eq!(parts(&classify(&not_text)).unwrap().0, None);
}

#[test]
fn rows_of_plugins() {
    let body = [0u8; 28];
    let row = [b"k8s:enc:kms:v1:vault:\0\x03dek", &body[..]].concat();
    let StoredValue::KmsV1(Some(value)) = classify(&row) else {
        panic!("not KMS v1");
    };
    assert_eq!(
        (value.provider, value.wrapped_dek, value.body),
        ("vault", &b"dek"[..], &body[..])
    );
    // As `a`, the wrapped DEK would have the length `b:` and more than the row.
    let row = [b"k8s:enc:kms:v1:a:b:\0\x03dek", &body[..]].concat();
    assert!(matches!(classify(&row), StoredValue::KmsV1(Some(value)) if value.provider == "a:b"));
    for damaged in [
        "",
        "vault",
        "vault:",
        "vault:\0",
        "vault:\0\x03de",
        ":\0\x03dek",
    ] {
        let row = [b"k8s:enc:kms:v1:", damaged.as_bytes()].concat();
        assert_eq!(classify(&row), StoredValue::KmsV1(None), "{damaged:?}");
    }

    let row = b"k8s:enc:kms:v2:demo:\x0a\x01d\x12\x01k\x1a\x01w";
    let StoredValue::KmsV2(Ok(value)) = classify(row) else {
        panic!("not KMS v2");
    };
    assert_eq!((value.provider, value.object.key_id), (&b"demo"[..], "k"));
    let damaged = classify(b"k8s:enc:kms:v2:demo");
    assert_eq!(
        damaged,
        StoredValue::KmsV2(Err(kmsv2::ParseError::ProviderName))
    );
}

#[test]
fn what_no_provider_writes_is_not_plain() {
    for value in [
        "k8s:enc:",
        "k8s:enc:kms:v3:a:",
        "k8s:enc:aesgcm:v2:a:",
        "k8s:enc:aesgcm:v1",
    ] {
        assert_eq!(
            classify(value.as_bytes()),
            StoredValue::UnknownEncrypted,
            "{value}"
        );
    }
}

proptest! {
    #[test]
    fn never_panics(
        prefix in prop::sample::select(vec!["", "k8s:enc:", "kms:v2:p:", "k8s:enc:kms:v2:p:", "k8s:enc:kms:v1:", "k8s:enc:aesgcm:v1:", "k8s:enc:aescbc:v1:", "k8s:enc:secretbox:v1:"]),
        bytes in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let value = [prefix.as_bytes(), &bytes].concat();
        let is_plain = matches!(classify(&value), StoredValue::Identity(_));
        prop_assert_eq!(is_plain, !value.starts_with(b"k8s:enc:"));
    }
}
