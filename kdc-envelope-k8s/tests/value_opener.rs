//! Opening values by prefix and order, as kube-apiserver does.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unwrap_in_result,
    reason = "helpers of tests"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use kdc_envelope::kmsv2::{DekSource, ProviderName, RowSealer, Seed, seed_aad};
use kdc_envelope::providers::{self, KeyName, aescbc, aesgcm, kmsv1, secretbox};
use kdc_envelope::{Aad, KekError, KekStatus, KeyEncryptionKey, KeyId, SecretBytes, WrappedKey};
use kdc_envelope_k8s::values::{OpenFailure, OpenValueError, OpenedValue, Opening};
use kdc_envelope_k8s::{EncryptionConfiguration, GroupResource, ValueOpener};

const ETCD_KEY: &[u8] = b"/registry/secrets/default/demo";

fn secret(byte: u8) -> SecretBytes {
    SecretBytes::new(vec![byte; 32])
}

/// A key of 32 equal bytes in flow style; the name comes with it.
fn key(name: &str, byte: u8) -> String {
    let digits = match byte {
        1 => "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
        2 => "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
        _ => panic!("no such key"),
    };
    format!("{{name: '{name}', secret: '{digits}'}}")
}

fn config(providers: &[String]) -> EncryptionConfiguration {
    let text = format!(
        "--- {{apiVersion: v1, kind: EncryptionConfig, resources: [{{resources: [secrets], providers: [{}]}}]}}",
        providers.join(", ")
    );
    EncryptionConfiguration::parse(text.as_bytes()).unwrap()
}

fn of(provider: &str, keys: &[String]) -> String {
    format!("{{{provider}: {{keys: [{}]}}}}", keys.join(", "))
}

fn identity() -> String {
    "{identity: {}}".into()
}

fn kms(name: &str, version: &str) -> String {
    format!("{{kms: {{apiVersion: {version}, name: '{name}', endpoint: 'unix:///a'}}}}")
}

fn secrets() -> GroupResource {
    GroupResource::new("secrets", "")
}

fn gcm_value(name: &str, byte: u8) -> Vec<u8> {
    let key = aesgcm::Key::new(KeyName::new(name).unwrap(), &secret(byte)).unwrap();
    key.seal(b"plain", ETCD_KEY).unwrap()
}

fn open(config: &EncryptionConfiguration, value: &[u8]) -> Result<OpenedValue, OpenValueError> {
    let opener = ValueOpener::for_resource(config, &secrets());
    match opener.open(value, ETCD_KEY)? {
        Opening::Opened(opened) => Ok(opened),
        other => panic!("not opened: {other:?}"),
    }
}

fn shown(outcome: Result<OpenedValue, OpenValueError>) -> (String, bool) {
    let opened = outcome.unwrap();
    assert_eq!(opened.plaintext.expose(), b"plain");
    (opened.place.unwrap().to_string(), opened.stale.unwrap())
}

#[test]
fn the_first_key_of_the_first_provider_is_current_and_all_others_are_stale() {
    let config = config(&[
        of("aesgcm", &[key("new", 1), key("old", 2)]),
        of("aescbc", &[key("c", 1)]),
        of("secretbox", &[key("s", 2)]),
        identity(),
    ]);
    assert_eq!(
        shown(open(&config, &gcm_value("new", 1))),
        ("resources[0].providers[0]".into(), false)
    );
    assert_eq!(
        shown(open(&config, &gcm_value("old", 2))),
        ("resources[0].providers[0]".into(), true)
    );
    let cbc = aescbc::Key::new(KeyName::new("c").unwrap(), &secret(1)).unwrap();
    assert_eq!(
        shown(open(&config, &cbc.seal(b"plain").unwrap())),
        ("resources[0].providers[1]".into(), true)
    );
    let boxed = secretbox::Key::new(KeyName::new("s").unwrap(), &secret(2)).unwrap();
    assert_eq!(
        shown(open(&config, &boxed.seal(b"plain").unwrap())),
        ("resources[0].providers[2]".into(), true)
    );
    assert_eq!(
        shown(open(&config, b"plain")),
        ("resources[0].providers[3]".into(), true)
    );
}

#[test]
fn a_match_that_fails_does_not_stop_later_ones() {
    // The same name with two keys, in two providers and in one.
    for config in [
        config(&[
            of("aesgcm", &[key("k", 1)]),
            identity(),
            of("aesgcm", &[key("k", 2)]),
        ]),
        config(&[of("aesgcm", &[key("k", 1), key("k", 2)])]),
    ] {
        assert!(!shown(open(&config, &gcm_value("k", 1))).1);
        assert!(shown(open(&config, &gcm_value("k", 2))).1);
    }
    // The name `a` fits values of `a:b` too.
    let config = config(&[of("aesgcm", &[key("a", 1), key("a:b", 1)])]);
    assert!(shown(open(&config, &gcm_value("a:b", 1))).1);
}

#[test]
fn identity_first_reads_plain_values_and_leaves_encrypted_ones_to_others() {
    let config = config(&[identity(), of("aesgcm", &[key("k", 1)])]);
    assert_eq!(
        shown(open(&config, b"plain")),
        ("resources[0].providers[0]".into(), false)
    );
    assert_eq!(
        shown(open(&config, &gcm_value("k", 1))),
        ("resources[0].providers[1]".into(), true)
    );
    assert!(matches!(
        open(&config, b"k8s:enc:other"),
        Err(OpenValueError::ForeignWriter { .. })
    ));
}

#[test]
fn without_a_match_nothing_is_tried() {
    let config = config(&[of("aesgcm", &[key("k", 1)])]);
    for value in [&b"plain"[..], b""] {
        let error = open(&config, value).unwrap_err();
        assert!(matches!(error, OpenValueError::NoMatch), "{error}");
    }
    for (value, writer) in [
        (&gcm_value("other", 1)[..], "aesgcm key `other`"),
        (
            b"k8s:enc:aescbc:v1:k:",
            "a key of aescbc whose name cannot be read",
        ),
        (b"k8s:enc:kms:v2:k:", "KMS v2 provider `k`"),
        (b"k8s:enc:kms:v2:\x1b[2J:", "KMS v2 provider `\\u{1b}[2J`"),
        (b"k8s:enc:kms:v2:", "KMS v2 provider ``"),
        (
            b"k8s:enc:other",
            "a provider that kube-apiserver does not have",
        ),
    ] {
        let error = open(&config, value).unwrap_err().to_string();
        let words = format!("it was written by {writer}, and there is aesgcm key `k`");
        assert!(error.ends_with(&words), "{error}");
    }
}

#[test]
fn all_that_could_open_a_value_are_named_each_once() {
    let keys: Vec<String> = (0..12).map(|n| key(&format!("k{n}"), 1)).collect();
    let config = config(&[of("aesgcm", &keys), identity(), of("aesgcm", &keys)]);
    let error = open(&config, b"k8s:enc:other").unwrap_err().to_string();
    assert!(error.ends_with("aesgcm key `k7` and 5 more"), "{error}");
    assert!(!error.contains("MDEy"), "{error}");
}

#[test]
fn a_refusal_names_the_first_provider_and_counts_the_others() {
    let config = config(&[
        of("secretbox", &[key("k", 1)]),
        of("aesgcm", &[key("k", 1), key("k", 1)]),
    ]);
    let error = open(&config, &gcm_value("k", 2)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "resources[0].providers[1] does not open the value, nor does one other with its prefix"
    );
    let source = core::error::Error::source(&error).unwrap();
    assert_eq!(
        source.to_string(),
        "the value does not authenticate under this key and etcd key"
    );
}

#[test]
fn a_resource_that_is_not_named_is_plain() {
    let config = config(&[of("aesgcm", &[key("k", 1)])]);
    let opener = ValueOpener::for_resource(&config, &GroupResource::new("pods", ""));
    let Ok(Opening::Opened(opened)) = opener.open(b"plain", ETCD_KEY) else {
        panic!("not opened");
    };
    assert_eq!((opened.place, opened.stale), (None, Some(false)));
    assert!(matches!(
        opener.open(&gcm_value("k", 1), ETCD_KEY),
        Err(OpenValueError::ForeignWriter { .. })
    ));
    let any = ValueOpener::for_any_resource(&config);
    let Ok(Opening::Opened(opened)) = any.open(&gcm_value("k", 1), ETCD_KEY) else {
        panic!("not opened");
    };
    assert_eq!(opened.stale, None);
    assert!(matches!(
        any.open(b"plain", ETCD_KEY),
        Err(OpenValueError::NoMatch)
    ));
}

fn kms_v1_row(provider: &str, dek: &SecretBytes, legacy: bool) -> Vec<u8> {
    let name = KeyName::new("k").unwrap();
    let body = if legacy {
        let key = aescbc::Key::new(name, dek).unwrap();
        key.seal(b"plain").unwrap()[aescbc::PREFIX.len() + 2..].to_vec()
    } else {
        let key = aesgcm::Key::new(name, dek).unwrap();
        key.seal(b"plain", ETCD_KEY).unwrap()[aesgcm::PREFIX.len() + 2..].to_vec()
    };
    [kmsv1::PREFIX, provider.as_bytes(), b":\0\x03dek", &body].concat()
}

#[test]
fn kms_v1_rows_wait_for_their_dek() {
    let config = config(&[kms("old:one", "v1"), kms("old", "v1")]);
    let opener = ValueOpener::for_resource(&config, &secrets());
    for (row, stale) in [
        (kms_v1_row("old:one", &secret(7), false), false),
        (kms_v1_row("old:one", &secret(7), true), true),
    ] {
        let Ok(Opening::KmsV1(pending)) = opener.open(&row, ETCD_KEY) else {
            panic!("not KMS v1");
        };
        assert_eq!(
            (&*pending.provider().name, pending.wrapped_dek()),
            ("old:one", &b"dek"[..])
        );
        let Ok(Opening::Opened(opened)) = pending.open(&secret(7)) else {
            panic!("not opened");
        };
        assert_eq!(
            (opened.plaintext.expose(), opened.stale),
            (&b"plain"[..], Some(stale))
        );
    }
    // A row of `old` does not have the prefix of `old:one`, and waits for the second provider.
    let row = kms_v1_row("old", &secret(7), false);
    let Ok(Opening::KmsV1(pending)) = opener.open(&row, ETCD_KEY) else {
        panic!("not KMS v1");
    };
    assert_eq!(&*pending.provider().name, "old");
    let error = pending.open(&SecretBytes::new(vec![7; 5])).unwrap_err();
    let OpenValueError::Refused {
        place,
        source,
        others,
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!(
        (place.to_string(), others),
        ("resources[0].providers[1]".into(), 0)
    );
    assert!(matches!(
        source,
        OpenFailure::Value(providers::OpenError::DekLength(5))
    ));
    let cut = &kms_v1_row("old", &secret(7), false)[..kmsv1::PREFIX.len() + 6];
    let error = opener.open(cut, ETCD_KEY).unwrap_err();
    assert!(matches!(error, OpenValueError::Refused { .. }), "{error}");
}

/// Wraps by turning all bits, and knows two key ids.
#[derive(Debug)]
struct Flip;

#[async_trait::async_trait]
impl KeyEncryptionKey for Flip {
    async fn wrap(&self, plaintext: &[u8], aad: Aad<'_>) -> Result<WrappedKey, KekError> {
        let flipped = plaintext.iter().map(|byte| !byte);
        Ok(WrappedKey::new(
            self.status()?.key_id,
            [aad.as_bytes(), &flipped.collect::<Vec<_>>()].concat(),
        ))
    }

    async fn unwrap(&self, wrapped: &WrappedKey, aad: Aad<'_>) -> Result<SecretBytes, KekError> {
        if wrapped.key_id != self.status()?.key_id {
            return Err(KekError::UnknownKey(wrapped.key_id.clone()));
        }
        let flipped = wrapped
            .ciphertext
            .strip_prefix(aad.as_bytes())
            .ok_or(KekError::Authentication)?;
        Ok(SecretBytes::new(flipped.iter().map(|byte| !byte).collect()))
    }

    fn status(&self) -> Result<KekStatus, KekError> {
        Ok(KekStatus::new(KeyId::new("flip-v1").unwrap(), 1))
    }
}

async fn kms_v2_row(provider: &str, key_id: &str) -> Vec<u8> {
    let seed = Seed::random().unwrap();
    let mut wrapped = Flip
        .wrap(seed.expose(), Aad::new(&seed_aad("")))
        .await
        .unwrap();
    wrapped.key_id = KeyId::new(key_id).unwrap();
    let provider = ProviderName::new(provider).unwrap();
    RowSealer::new(&provider, seed, &wrapped)
        .unwrap()
        .seal(b"plain", ETCD_KEY)
        .unwrap()
}

#[tokio::test]
async fn kms_v2_rows_wait_for_their_seed_and_share_it() {
    let config = config(&[kms("flip", "v2"), identity()]);
    let opener = ValueOpener::for_resource(&config, &secrets());
    let row = kms_v2_row("flip", "flip-v1").await;
    let Ok(Opening::KmsV2(pending)) = opener.open(&row, ETCD_KEY) else {
        panic!("not KMS v2");
    };
    assert_eq!(
        (&*pending.provider().name, pending.object().key_id),
        ("flip", "flip-v1")
    );
    let wrapped = pending.object().wrapped_key().unwrap();
    let seed = Flip
        .unwrap(&wrapped, Aad::new(&seed_aad("")))
        .await
        .unwrap();
    let source = DekSource::new(pending.object().dek_source_type, seed).unwrap();
    let Ok(Opening::Opened(opened)) = pending.open(&source) else {
        panic!("not opened");
    };
    assert_eq!(
        (opened.plaintext.expose(), opened.stale),
        (&b"plain"[..], Some(false))
    );
    // Names are whole: `fli` and `flip2` are others.
    for other in ["fli", "flip2"] {
        let row = kms_v2_row(other, "flip-v1").await;
        assert!(matches!(
            opener.open(&row, ETCD_KEY),
            Err(OpenValueError::ForeignWriter { .. })
        ));
    }
    let error = opener
        .open(b"k8s:enc:kms:v2:flip:\xff", ETCD_KEY)
        .unwrap_err();
    assert!(
        matches!(
            error,
            OpenValueError::Refused {
                source: OpenFailure::Row(_),
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn keks_are_asked_by_the_name_of_their_provider() {
    let config = config(&[
        kms("flip", "v2"),
        kms("none", "v2"),
        kms("old", "v1"),
        identity(),
    ]);
    let opener = ValueOpener::for_resource(&config, &secrets());
    let keks = BTreeMap::from([("flip".into(), Arc::new(Flip) as Arc<dyn KeyEncryptionKey>)]);
    let aad = seed_aad("");
    let row = kms_v2_row("flip", "flip-v1").await;
    let opened = opener
        .open_with(&row, ETCD_KEY, &keks, Aad::new(&aad))
        .await
        .unwrap();
    assert_eq!(opened.plaintext.expose(), b"plain");

    let refusal = async |row: &[u8], etcd_key: &[u8], aad: &[u8]| match opener
        .open_with(row, etcd_key, &keks, Aad::new(aad))
        .await
    {
        Err(OpenValueError::Refused { source, .. }) => source,
        other => panic!("{other:?}"),
    };
    let unknown = kms_v2_row("flip", "flip-v2").await;
    assert!(matches!(
        refusal(&unknown, ETCD_KEY, &aad).await,
        OpenFailure::Kek(KekError::UnknownKey(_))
    ));
    assert!(matches!(
        refusal(&row, ETCD_KEY, b"other cluster").await,
        OpenFailure::Kek(KekError::Authentication)
    ));
    assert!(matches!(
        refusal(&row, b"/moved", &aad).await,
        OpenFailure::RowContent(_)
    ));
    let nobody = kms_v2_row("none", "flip-v1").await;
    assert!(
        matches!(refusal(&nobody, ETCD_KEY, &aad).await, OpenFailure::NoKek(name) if &*name == "none")
    );
    let v1 = kms_v1_row("old", &secret(7), false);
    assert!(
        matches!(refusal(&v1, ETCD_KEY, &aad).await, OpenFailure::NoKek(name) if &*name == "old")
    );
    let plain = opener
        .open_with(b"plain", ETCD_KEY, &keks, Aad::new(&aad))
        .await
        .unwrap();
    assert_eq!(plain.stale, Some(true));
}
