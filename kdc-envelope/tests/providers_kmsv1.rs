//! Rows of KMS v1, made here from the bodies of the local providers.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use kdc_envelope::SecretBytes;
use kdc_envelope::providers::kmsv1::{BodyCipher, PREFIX, Value};
use kdc_envelope::providers::{KeyName, OpenError, aescbc, aesgcm};
use proptest::prelude::*;

const ETCD_KEY: &[u8] = b"/registry/secrets/default/demo";

fn dek(len: usize) -> SecretBytes {
    SecretBytes::new(vec![9; len])
}

fn row(provider: &str, wrapped_dek: &[u8], body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(wrapped_dek.len()).unwrap().to_be_bytes();
    [PREFIX, provider.as_bytes(), b":", &len, wrapped_dek, body].concat()
}

fn gcm_body(dek: &SecretBytes, plaintext: &[u8]) -> Vec<u8> {
    let key = aesgcm::Key::new(KeyName::new("k").unwrap(), dek).unwrap();
    key.seal(plaintext, ETCD_KEY).unwrap()[aesgcm::PREFIX.len() + 2..].to_vec()
}

fn cbc_body(dek: &SecretBytes, plaintext: &[u8]) -> Vec<u8> {
    let key = aescbc::Key::new(KeyName::new("k").unwrap(), dek).unwrap();
    key.seal(plaintext).unwrap()[aescbc::PREFIX.len() + 2..].to_vec()
}

#[test]
fn shows_the_wrapped_dek_and_opens_the_body() {
    for len in [16, 24, 32] {
        let row = row("vault", b"wrapped", &gcm_body(&dek(len), b"plain"));
        let value = Value::parse("vault", &row).unwrap();
        assert_eq!(
            (value.provider, value.wrapped_dek),
            ("vault", &b"wrapped"[..])
        );
        let opened = value.open(&dek(len), ETCD_KEY).unwrap();
        assert_eq!(opened.plaintext.expose(), b"plain");
        assert_eq!(opened.cipher, BodyCipher::AesGcm);
    }
}

#[test]
fn opens_old_rows_as_aes_cbc() {
    let row = row("vault", b"wrapped", &cbc_body(&dek(32), b"plain"));
    let value = Value::parse("vault", &row).unwrap();
    let opened = value.open(&dek(32), b"/anywhere").unwrap();
    assert_eq!(opened.plaintext.expose(), b"plain");
    assert_eq!(opened.cipher, BodyCipher::AesCbc);
}

#[test]
fn a_row_at_another_etcd_key_or_under_another_dek_does_not_open() {
    // 1 byte of plaintext: 13 bytes of ciphertext and tag after an IV are no whole block, so AES-CBC cannot pass by chance.
    let row = row("vault", b"wrapped", &gcm_body(&dek(32), b"x"));
    let value = Value::parse("vault", &row).unwrap();
    assert_eq!(
        value.open(&dek(32), b"/other").unwrap_err(),
        OpenError::Authentication
    );
    assert_eq!(
        value.open(&dek(16), ETCD_KEY).unwrap_err(),
        OpenError::Authentication
    );
    for len in [0, 1, 15, 17, 31, 33, 64] {
        assert_eq!(
            value.open(&dek(len), ETCD_KEY).unwrap_err(),
            OpenError::DekLength(len)
        );
    }
}

#[test]
fn every_truncation_is_refused() {
    let row = row("vault", b"wrapped", &gcm_body(&dek(32), b"x"));
    let rest_start = PREFIX.len() + "vault:".len();
    let body_start = rest_start + 2 + b"wrapped".len();
    for len in 0..row.len() {
        let outcome = Value::parse("vault", &row[..len])
            .and_then(|value| value.open(&dek(32), ETCD_KEY).map(|_| ()));
        let expected = match len {
            len if len < rest_start => OpenError::ForeignPrefix,
            len if len < body_start => OpenError::Truncated(len - rest_start),
            len if len < body_start + 28 => OpenError::Truncated(len - body_start),
            _ => OpenError::Authentication,
        };
        assert_eq!(outcome, Err(expected), "{len}");
    }
}

#[test]
fn the_configured_name_splits_also_at_a_colon_within() {
    let body = gcm_body(&dek(32), b"plain");
    let row = row("a:b", b"wrapped", &body);
    assert_eq!(Value::parse("a:b", &row).unwrap().wrapped_dek, b"wrapped");
    assert_eq!(
        Value::parse("b", &row).unwrap_err(),
        OpenError::ForeignPrefix
    );
    // As `a`, the length would be `b:`, more than there is.
    assert!(matches!(
        Value::parse("a", &row),
        Err(OpenError::Truncated(_))
    ));
}

#[test]
fn takes_the_longest_wrapped_dek_and_an_empty_one() {
    for len in [0, 1, 1025, 65_535] {
        let row = row("p", &vec![1; len], &gcm_body(&dek(32), b"x"));
        let value = Value::parse("p", &row).unwrap();
        assert_eq!(value.wrapped_dek.len(), len);
        assert_eq!(
            value.open(&dek(32), ETCD_KEY).unwrap().plaintext.expose(),
            b"x"
        );
    }
}

proptest! {
    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let row = [PREFIX, b"p:", &bytes[..]].concat();
        if let Ok(value) = Value::parse("p", &row) {
            let _ = value.open(&dek(32), ETCD_KEY);
        }
    }
}
