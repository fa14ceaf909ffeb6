//! Layouts: what a file means, the one way to write it, and what differs between two.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::sync::Arc;
use std::time::Duration;

use kdc_envelope::SecretBytes;
use kdc_envelope::kmsv2::ProviderName;
use kdc_envelope::providers::KeyName;
use kdc_envelope_k8s::encryption_config::{
    Chain, KmsProvider, LocalKey, LocalProvider, RenderError, Transformer, differences,
};
use kdc_envelope_k8s::{EncryptionConfiguration, GroupResource, Layout};
use proptest::prelude::*;

fn key(provider: LocalProvider, name: &str, byte: u8) -> Transformer {
    let name = KeyName::new(name).unwrap();
    let key = LocalKey::new(provider, name, SecretBytes::new(vec![byte; 32]));
    Transformer::Local(key.unwrap())
}

fn gcm(name: &str) -> Transformer {
    key(LocalProvider::Aesgcm, name, name.as_bytes()[0])
}

fn kms(name: &str) -> Transformer {
    let name = ProviderName::new(name).unwrap();
    Transformer::Kms(Arc::new(KmsProvider::v2(
        &name,
        "unix:///run/kms.sock",
        Duration::from_secs(3),
    )))
}

fn layout<const N: usize>(rules: [(&str, Vec<Transformer>); N]) -> Layout {
    rules
        .into_iter()
        .map(|(name, chain)| {
            let chain = Chain::from_all(chain).unwrap();
            (GroupResource::from_text(name), chain)
        })
        .collect()
}

fn read(text: &str) -> Layout {
    Layout::of(&EncryptionConfiguration::parse(text.as_bytes()).unwrap())
}

#[test]
fn there_is_one_way_to_write_a_layout() {
    let layout = layout([
        (
            "secrets",
            vec![
                kms("vault"),
                gcm("b"),
                gcm("a"),
                key(LocalProvider::Secretbox, "yes", 9),
                Transformer::Identity,
            ],
        ),
        ("configmaps", vec![gcm("b"), Transformer::Identity]),
        ("*.apps", vec![gcm("b"), Transformer::Identity]),
        ("deployments.apps", vec![gcm("b"), Transformer::Identity]),
    ]);
    let text = layout.render().unwrap();
    assert_eq!(
        *text,
        r#"apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources:
      - configmaps
    providers:
      - aesgcm:
          keys:
            - name: b
              secret: YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmI=
      - identity: {}
  - resources:
      - secrets
    providers:
      - kms:
          apiVersion: v2
          name: vault
          endpoint: unix:///run/kms.sock
          timeout: 3s
      - aesgcm:
          keys:
            - name: b
              secret: YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmI=
            - name: a
              secret: YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=
      - secretbox:
          keys:
            - name: "yes"
              secret: CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=
      - identity: {}
  - resources:
      - "*.apps"
    providers:
      - aesgcm:
          keys:
            - name: b
              secret: YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmI=
      - identity: {}
"#
    );
    assert_eq!(read(&text), layout);
}

#[test]
fn a_file_of_another_writer_keeps_all_keys_and_their_order() {
    let text = "
kind: EncryptionConfig
apiVersion: v1
resources:
- resources: [secrets, configmaps]
  providers:
  - identity: {}
  - aescbc: {keys: [{name: 'z:1', secret: enp6enp6enp6enp6enp6eg==}, {name: old, secret: b29vb29vb29vb29vb29vbw==}]}
- resources: [secrets]
  providers:
  - aesgcm: {keys: [{name: g, secret: Z2dnZ2dnZ2dnZ2dnZ2dnZw==}]}
  - identity: {}
- resources: ['*.*']
  providers: [{kms: {name: v1, endpoint: 'unix:///@v1', cachesize: -1}}, {identity: {}}]
";
    let layout = read(text);
    let names = |resource: &str| {
        layout
            .chain_of(&GroupResource::from_text(resource))
            .to_string()
    };
    assert_eq!(
        names("secrets"),
        "identity, aescbc key `z:1`, aescbc key `old`, aesgcm key `g`"
    );
    assert_eq!(
        names("configmaps"),
        "identity, aescbc key `z:1`, aescbc key `old`"
    );
    assert_eq!(names("pods"), "kms v1 `v1`, identity");
    assert_eq!(names("*.apps"), "kms v1 `v1`, identity");
    assert_eq!(layout.local_keys().len(), 3);
    assert_eq!(read(&layout.render().unwrap()), layout);
    assert_eq!(
        Layout::default().chain_of(&GroupResource::from_text("*.*")),
        Chain::plain()
    );
}

/// kube-apiserver takes a KMS v2 provider once in a file, so entries are cut around it.
#[test]
fn resources_may_share_a_kms_provider_at_different_places() {
    let staged = layout([
        ("secrets", vec![kms("k"), gcm("a"), Transformer::Identity]),
        ("configmaps", vec![Transformer::Identity, kms("k")]),
        ("pods", vec![gcm("b"), Transformer::Identity]),
    ]);
    let text = staged.render().unwrap();
    assert_eq!(text.matches("name: k\n").count(), 1, "{}", *text);
    assert_eq!(read(&text), staged);

    let two = layout([
        ("secrets", vec![kms("k"), kms("l")]),
        (
            "configmaps",
            vec![Transformer::Identity, kms("k"), gcm("a"), kms("l")],
        ),
    ]);
    assert_eq!(read(&two.render().unwrap()), two);
}

#[test]
fn what_no_file_can_mean_is_refused() {
    let refused = |layout: &Layout| layout.render().unwrap_err();
    assert_eq!(refused(&Layout::default()), RenderError::Plain);
    let crossed = layout([
        ("secrets", vec![kms("k"), kms("l")]),
        ("configmaps", vec![kms("l"), kms("k")]),
    ]);
    assert!(matches!(refused(&crossed), RenderError::KmsTwice { .. }));
    let masked = layout([
        ("secrets", vec![kms("k"), Transformer::Identity]),
        ("*.*", vec![Transformer::Identity, kms("k")]),
    ]);
    assert!(matches!(refused(&masked), RenderError::KmsTwice { .. }));
    let capital = layout([("Secrets", vec![gcm("a")])]);
    assert!(matches!(refused(&capital), RenderError::Refused(_)));
    let endless = KmsProvider::v2(
        &ProviderName::new("k").unwrap(),
        "unix:///a",
        Duration::ZERO,
    );
    let endless = layout([("secrets", vec![Transformer::Kms(Arc::new(endless))])]);
    assert!(matches!(refused(&endless), RenderError::Refused(_)));
}

#[test]
fn differences_are_told_by_resource_and_show_no_key() {
    let before = layout([
        ("secrets", vec![gcm("a"), gcm("o"), Transformer::Identity]),
        ("pods", vec![Transformer::Identity]),
    ]);
    let other = KmsProvider::v2(
        &ProviderName::new("k").unwrap(),
        "unix:///b",
        Duration::from_secs(3),
    );
    let after = layout([
        (
            "secrets",
            vec![gcm("b"), Transformer::Identity, gcm("a"), kms("k")],
        ),
        ("configmaps", vec![gcm("b"), Transformer::Identity]),
    ]);
    let told = |before: &Layout, after: &Layout| -> Vec<String> {
        differences(before, after)
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    assert_eq!(
        told(&before, &after),
        [
            "configmaps: named by the configuration",
            "configmaps: written by aesgcm key `b` instead of identity",
            "configmaps: aesgcm key `b` added at place 1",
            "pods: no longer named by the configuration",
            "secrets: written by aesgcm key `b` instead of aesgcm key `a`",
            "secrets: aesgcm key `o` removed",
            "secrets: aesgcm key `b` added at place 1",
            "secrets: identity moved from place 2 to 1",
            "secrets: aesgcm key `a` moved from place 1 to 2",
            "secrets: kms v2 `k` added at place 4",
        ]
    );
    assert_eq!(told(&after, &after), [""; 0]);
    let moved = layout([("secrets", vec![Transformer::Kms(Arc::new(other))])]);
    assert_eq!(
        told(&layout([("secrets", vec![kms("k")])]), &moved),
        ["secrets: kms v2 `k` has another endpoint, timeout or cache size"]
    );
}

#[test]
fn a_key_shows_its_name_only() {
    let Transformer::Local(key) = gcm("a") else {
        panic!("not local")
    };
    assert_eq!(format!("{key:?}"), "LocalKey(aesgcm key `a`)");
    assert_eq!(key.secret().expose(), [b'a'; 32]);
    let same_name = gcm_of("a", 1);
    assert_ne!(same_name, gcm_of("a", 2));
    assert_eq!(same_name, gcm_of("a", 1));
    let short = LocalKey::new(
        LocalProvider::Secretbox,
        KeyName::new("a").unwrap(),
        SecretBytes::new(vec![0; 31]),
    );
    assert!(short.is_err());
}

fn gcm_of(name: &str, byte: u8) -> Transformer {
    key(LocalProvider::Aesgcm, name, byte)
}

fn transformers() -> impl Strategy<Value = Transformer> {
    prop_oneof![
        Just(Transformer::Identity),
        (0..3usize, "[^\u{0}]{1,3}", any::<u8>()).prop_map(|(provider, name, byte)| key(
            LocalProvider::ALL[provider],
            &name,
            byte
        )),
        "[kl]".prop_map(|name| kms(&name)),
    ]
}

proptest! {
    /// Whatever is written reads back as what was meant, and is written the same way again.
    #[test]
    fn what_is_written_means_what_it_should(
        rules in proptest::collection::btree_map(
            "secrets|configmaps|pods|a\\.apps|\\*\\.apps|\\*\\.|\\*\\.\\*",
            proptest::collection::vec(transformers(), 1..5),
            1..5,
        )
    ) {
        let layout: Layout = rules
            .into_iter()
            .map(|(name, chain)| (GroupResource::from_text(&name), Chain::from_all(chain).unwrap()))
            .collect();
        match layout.render() {
            Ok(text) => {
                let again = read(&text);
                prop_assert_eq!(&again, &layout);
                prop_assert_eq!(again.render().unwrap(), text);
            }
            Err(error) => prop_assert!(matches!(error, RenderError::KmsTwice { .. }), "{}", error),
        }
    }
}
