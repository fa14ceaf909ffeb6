//! The oracle speaks for upstream in all that the tests ask of it.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;

use kdc_testbed::Oracle;
use kdc_testbed::oracle::{self, KmsKey, Provider};

const ETCD_KEY: &[u8] = b"/registry/secrets/default/a";

fn key() -> KmsKey {
    KmsKey {
        name: "provider".to_owned(),
        dek_source: Some(vec![7; 32]),
        wrapped: b"wrapped".to_vec(),
        key_id: "key-1".to_owned(),
        annotations: BTreeMap::from([("version.example.com".to_owned(), b"1".to_vec())]),
    }
}

#[test]
fn each_provider_opens_what_it_sealed_and_under_its_own_key_alone() {
    let mut oracle = Oracle::start().unwrap();
    let local = |name| Provider::local(name, &[("one", &[1; 32]), ("two", &[2; 32])]);
    let cases = [
        (Provider::KmsV2(key()), "k8s:enc:kms:v2:provider:", true),
        (local("aesgcm"), "k8s:enc:aesgcm:v1:one:", true),
        (local("aescbc"), "k8s:enc:aescbc:v1:one:", false),
        (local("secretbox"), "k8s:enc:secretbox:v1:one:", false),
        (Provider::identity(), "", false),
    ];
    for (provider, prefix, binds_etcd_key) in cases {
        let sealed = oracle
            .seal(&provider, ETCD_KEY, b"plaintext")
            .unwrap()
            .unwrap();
        assert!(sealed.row.starts_with(prefix.as_bytes()), "{provider:?}");
        let opened = oracle
            .open(&provider, ETCD_KEY, &sealed.row)
            .unwrap()
            .unwrap();
        assert_eq!(
            (opened.plaintext.as_slice(), opened.stale),
            (&b"plaintext"[..], false),
            "{provider:?}"
        );
        let moved = oracle
            .open(&provider, b"/registry/secrets/default/b", &sealed.row)
            .unwrap();
        assert_eq!(moved.is_err(), binds_etcd_key, "{provider:?}");
    }
}

#[test]
fn a_dek_that_upstream_made_is_told_and_opens_the_row() {
    let mut oracle = Oracle::start().unwrap();
    for of in [
        Provider::KmsV2,
        Provider::KmsV2Legacy,
        Provider::KmsV1,
        Provider::KmsV1Cbc,
    ] {
        let sealed = oracle
            .seal(
                &of(KmsKey {
                    dek_source: None,
                    ..key()
                }),
                ETCD_KEY,
                b"plaintext",
            )
            .unwrap()
            .unwrap();
        assert_eq!(sealed.dek_source.len(), 32);
        let right = of(KmsKey {
            dek_source: Some(sealed.dek_source),
            ..key()
        });
        assert_eq!(
            oracle
                .open(&right, ETCD_KEY, &sealed.row)
                .unwrap()
                .unwrap()
                .plaintext,
            b"plaintext"
        );
        let wrong = of(KmsKey {
            wrapped: b"another".to_vec(),
            ..key()
        });
        let refusal = oracle
            .open(&wrong, ETCD_KEY, &sealed.row)
            .unwrap()
            .unwrap_err();
        assert!(
            refusal.0.contains("does not know this wrapped key"),
            "{refusal}"
        );
    }
}

#[test]
fn upstreams_refusals_and_panics_are_answers() {
    let mut oracle = Oracle::start().unwrap();
    assert!(oracle.is_fqdn("a.example.com").unwrap());
    assert!(!oracle.is_fqdn("Example").unwrap());
    assert!(oracle.validate_kms_v2(b"").unwrap().is_err());
    assert!(oracle.load_config("kind: Nothing").unwrap().is_err());
    let Provider::Config { config, .. } = Provider::identity() else {
        unreachable!()
    };
    oracle.load_config(&config).unwrap().unwrap();
    let short = Provider::local("aesgcm", &[("one", &[1; 31])]);
    assert!(oracle.seal(&short, ETCD_KEY, b"").unwrap().is_err());
    // A row of nothing but an initialisation vector makes upstream panic.
    let row = [b"k8s:enc:aescbc:v1:one:".as_slice(), &[0; 16]].concat();
    let panic = oracle
        .open(
            &Provider::local("aescbc", &[("one", &[1; 32])]),
            ETCD_KEY,
            &row,
        )
        .unwrap()
        .unwrap_err();
    assert!(panic.0.starts_with("panic: "), "{panic}");
}

#[test]
fn a_valid_object_is_read_field_by_field() {
    let mut oracle = Oracle::start().unwrap();
    let sealed = oracle
        .seal(&Provider::KmsV2(key()), ETCD_KEY, b"plaintext")
        .unwrap()
        .unwrap();
    let object = sealed
        .row
        .strip_prefix(b"k8s:enc:kms:v2:provider:")
        .unwrap();
    let read = oracle.validate_kms_v2(object).unwrap().unwrap();
    assert_eq!(read.key_id, "key-1");
    assert_eq!(read.encrypted_dek_source, b"wrapped");
    assert_eq!(read.dek_source_type, 1);
    assert_eq!(read.annotations, key().annotations);
    assert_eq!(read.encrypted_data.len(), 32 + 12 + 9 + 16);
}

#[tokio::test]
async fn the_go_plugin_listens() {
    let folder = tempfile::tempdir().unwrap();
    for noop in [false, true] {
        let socket = folder.path().join(format!("{noop}.sock"));
        let mut plugin = oracle::serve(&socket, noop, &folder.path().join("log"))
            .await
            .unwrap();
        UnixStream::connect(&socket).unwrap();
        plugin.ensure_running().unwrap();
    }
}
