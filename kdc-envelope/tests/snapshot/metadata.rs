//! `metadata.json`: read, kept, and believed only with its MAC.

use kdc_envelope::snapshot::metadata::{
    Metadata, MetadataError, MetadataV1, RowGroup, RowsInside, WrappedDek,
};
use kdc_envelope::snapshot::{SealOptions, Unlocked};
use kdc_envelope::{KeyId, WrappedKey};

use crate::{dek, etcd_stream, expected, seal};

const CIPHERTEXT: &str = "vault:v7:c2VhbGVkIGJ5IG9wZW5iYW8=";
const CREATED: &str = "2026-11-24T10:00:00Z";

fn transit() -> WrappedDek {
    WrappedDek::transit(Some("transit"), "etcd-prod", CIPHERTEXT).unwrap()
}

fn sealed_v2(wrapped: WrappedDek) -> (Vec<u8>, Metadata) {
    let (object, sealed) = seal(&etcd_stream(10), &SealOptions::default());
    let mut group = RowGroup::new("kms-v2", 12);
    group.name = Some("openbao".into());
    group.key_id = Some("bao-v7-000000000000000000000000".into());
    group.version = Some(7);
    let rows = RowsInside::new(vec![group, RowGroup::new("identity", 3)]);
    let metadata = sealed.metadata(wrapped, CREATED, Some(rows));
    (object, Metadata::V2(metadata))
}

fn check(object: &[u8], json: &[u8]) -> Result<(), MetadataError> {
    let unlocked = Unlocked::read_from(&mut &*object, &dek(), &expected()).unwrap();
    match Metadata::parse(json)? {
        Metadata::V2(metadata) => unlocked.check(&metadata),
        other => panic!("{other:?}"),
    }
}

#[test]
fn version_1_comes_back_with_what_it_did_not_know() {
    let json = format!(
        r#"{{"schemaVersion":1,"transitKey":"etcd-prod","transitKeyVersion":7,"algorithm":"AES-256-GCM","nonce":"AAECAwQFBgcICQoL",
        "wrappedDek":"{CIPHERTEXT}","createdAt":"{CREATED}","source":"etcd-0","etcdSnapshotSha256":"{}","operator":{{"build":"1.2"}}}}"#,
        "ab".repeat(32)
    );
    let metadata = Metadata::parse(json.as_bytes()).unwrap();
    assert_eq!(metadata.wrapped_dek().version(), Some(7));
    let before: serde_json::Value = serde_json::from_str(&json).unwrap();
    let after: serde_json::Value = serde_json::from_slice(&metadata.to_json()).unwrap();
    assert_eq!(before, after);
    let rewrapped = WrappedDek::transit(None, "etcd-prod", "vault:v8:bW92ZWQ=").unwrap();
    let moved: serde_json::Value =
        serde_json::from_slice(&metadata.with_wrapped_dek(rewrapped).unwrap().to_json()).unwrap();
    assert_eq!(moved["transitKeyVersion"], 8);
    assert_eq!(moved["operator"]["build"], "1.2");
}

#[test]
fn version_1_has_no_key_but_of_transit() {
    let local = WrappedDek::KeyId(WrappedKey::new(KeyId::new("local-v1-aa").unwrap(), vec![1]));
    assert!(MetadataV1::new(local, [0; 12], CREATED, "", [0; 32]).is_err());
    let metadata = MetadataV1::new(transit(), [0; 12], CREATED, "", [0; 32]).unwrap();
    let local = WrappedDek::KeyId(WrappedKey::new(KeyId::new("local-v1-aa").unwrap(), vec![1]));
    assert!(Metadata::V1(metadata).with_wrapped_dek(local).is_err());
}

#[test]
fn version_2_is_authentic_but_for_its_wrapped_key() {
    let local = WrappedDek::KeyId(WrappedKey::new(
        KeyId::new("local-v3-0123456789abcdef01234567").unwrap(),
        vec![1, 2, 3],
    ));
    for wrapped in [transit(), local.clone()] {
        let (object, metadata) = sealed_v2(wrapped);
        let json = metadata.to_json();
        assert_eq!(Metadata::parse(&json).unwrap(), metadata);
        check(&object, &json).unwrap();
        let rewrapped = metadata.with_wrapped_dek(local.clone()).unwrap();
        assert_eq!(rewrapped.wrapped_dek().version(), Some(3));
        check(&object, &rewrapped.to_json()).unwrap();
    }
}

#[test]
fn every_other_change_of_version_2_is_found() {
    let (object, metadata) = sealed_v2(transit());
    let json = String::from_utf8(metadata.to_json()).unwrap();
    let changes = [
        (r#""cluster": "prod""#, r#""cluster": "prod2""#),
        ("prod-2026-11-24", "prod-2026-11-25"),
        ("https://10.0.0.1:2379", "https://10.0.0.2:2379"),
        (CREATED, "2026-11-24T10:00:01Z"),
        (r#""contentLength": "#, r#""contentLength": 1"#),
        (r#""sealedLength": "#, r#""sealedLength": 1"#),
        (r#""compression": "none""#, r#""compression": "zstd""#),
        (r#""keyId": "bao-v7"#, r#""keyId": "bao-v8"#),
        (r#""name": "openbao""#, r#""name": "openba0""#),
        (r#""version": 7"#, r#""version": 6"#),
    ];
    for (from, to) in changes {
        assert!(json.contains(from), "{from} in {json}");
        let error = check(&object, json.replacen(from, to, 1).as_bytes()).unwrap_err();
        assert!(matches!(error, MetadataError::Mac), "{from}: {error}");
    }
    let (other, _) = sealed_v2(transit());
    assert!(matches!(
        check(&other, json.as_bytes()),
        Err(MetadataError::Mac)
    ));
}

#[test]
fn bad_metadata_is_refused_with_the_name_of_the_field() {
    let (_, metadata) = sealed_v2(transit());
    let json = String::from_utf8(metadata.to_json()).unwrap();
    let cases = [
        (
            r#""schemaVersion": 2"#,
            r#""schemaVersion": 3"#,
            "schemaVersion 3",
        ),
        (
            r#""schemaVersion": 2"#,
            r#""schemaVersion": "2""#,
            "malformed",
        ),
        ("AES-256-GCM", "AES-128-GCM", "algorithm"),
        ("vault:v7", "vault:v8", "transitKeyVersion"),
        ("vault:v7", "vault:v07", "wrappedDek"),
        ("vault:v7", "vault:v0", "wrappedDek"),
        (r#""transitKey": "etcd-prod","#, "", "transitKey"),
        (
            r#""compression": "none""#,
            r#""compression": "gzip""#,
            "compression",
        ),
        (r#""total": 15"#, r#""total": 16"#, "rows"),
        (r#""mac": ""#, r#""mac": "A"#, "mac"),
        (r#""cluster": "prod""#, r#""cluster": "../etc""#, "cluster"),
        ("{", "", "malformed"),
    ];
    for (from, to, word) in cases {
        assert!(json.contains(from), "{from} in {json}");
        let error = Metadata::parse(json.replacen(from, to, 1).as_bytes()).unwrap_err();
        assert!(error.to_string().contains(word), "{from}: {error}");
    }
    for bad in ["", "null", "[]", "{}", r#"{"schemaVersion":-1}"#] {
        assert!(Metadata::parse(bad.as_bytes()).is_err());
    }
    assert!(matches!(
        Metadata::parse(&vec![b' '; 2 << 20]),
        Err(MetadataError::TooLong)
    ));
}
