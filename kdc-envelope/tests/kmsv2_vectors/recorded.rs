//! Rows that others recorded: they open, and nothing near them does.

use kdc_envelope::SecretBytes;
use kdc_envelope::kmsv2::{DekSource, OpenError, Value};
use prost::Message;

use crate::{ETCD_KEY, Object, object, row};

struct Recorded {
    row: Vec<u8>,
    etcd_key: Vec<u8>,
    secret: Vec<u8>,
    vector: serde_json::Value,
}

/// `vectors/kmsv2.json`.
fn recorded() -> Vec<Recorded> {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../vectors/kmsv2.json")).unwrap();
    let rows = vectors["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    rows.iter()
        .map(|vector| Recorded {
            row: hex::decode(vector["row"].as_str().unwrap()).unwrap(),
            etcd_key: vector["etcd_key"].as_str().unwrap().into(),
            secret: hex::decode(vector["dek_source"].as_str().unwrap()).unwrap(),
            vector: vector.clone(),
        })
        .collect()
}

impl Recorded {
    fn open(&self, row: &[u8], etcd_key: &[u8]) -> Option<Result<SecretBytes, OpenError>> {
        let value = Value::parse(row).ok()?;
        let secret = SecretBytes::new(self.secret.clone());
        let source = DekSource::new(value.object.dek_source_type, secret).unwrap();
        Some(source.open(&value.object, etcd_key))
    }
}

#[test]
fn recorded_rows_parse_field_by_field() {
    for recorded in recorded() {
        let Value {
            provider, object, ..
        } = Value::parse(&recorded.row).unwrap();
        let text = |field: &str| recorded.vector[field].as_str().unwrap();
        assert_eq!(provider, text("provider").as_bytes());
        assert_eq!(object.key_id, text("key_id"));
        assert_eq!(object.encrypted_dek_source, text("wrapped").as_bytes());
        assert_eq!(object.dek_source_type.as_str(), text("dek_source_type"));
        let annotations: Vec<_> = recorded.vector["annotations"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| (key.as_str(), hex::decode(value.as_str().unwrap()).unwrap()))
            .collect();
        let annotations: Vec<_> = annotations
            .iter()
            .map(|(key, value)| (*key, &value[..]))
            .collect();
        assert_eq!(object.annotations, annotations);
    }
}

#[test]
fn recorded_rows_open_at_their_etcd_key_only() {
    for recorded in recorded() {
        let opened = recorded
            .open(&recorded.row, &recorded.etcd_key)
            .unwrap()
            .unwrap();
        let expected = recorded.vector["plaintext_contains"].as_str().unwrap();
        let text = String::from_utf8_lossy(opened.expose());
        assert!(text.contains(expected), "{expected}");
        for other in [&recorded.etcd_key[1..], b"", ETCD_KEY] {
            if other != recorded.etcd_key {
                let refused = recorded.open(&recorded.row, other).unwrap().unwrap_err();
                assert_eq!(refused, OpenError::Authentication);
            }
        }
    }
}

#[test]
fn a_truncated_row_is_refused_or_loses_its_annotations_only() {
    for recorded in recorded() {
        for len in 0..recorded.row.len() {
            // A cut between two fields may leave a whole message; then only a key id, an annotation or the type is lost.
            let outcome = recorded.open(&recorded.row[..len], &recorded.etcd_key);
            if let Some(Ok(_)) = outcome {
                let value = Value::parse(&recorded.row[..len]).unwrap();
                let whole = Value::parse(&recorded.row).unwrap();
                assert_eq!(
                    value.object.encrypted_data, whole.object.encrypted_data,
                    "{len}"
                );
                assert_ne!(value.object.annotations, whole.object.annotations, "{len}");
            }
        }
    }
}

#[test]
fn every_flipped_bit_of_the_data_is_refused() {
    for recorded in recorded() {
        let data = Value::parse(&recorded.row).unwrap().object.encrypted_data;
        let start = recorded
            .row
            .windows(data.len())
            .position(|window| window == data)
            .unwrap();
        for bit in start * 8..(start + data.len()) * 8 {
            let mut row = recorded.row.clone();
            row[bit / 8] ^= 1 << (bit % 8);
            let refused = recorded
                .open(&row, &recorded.etcd_key)
                .unwrap()
                .unwrap_err();
            assert_eq!(refused, OpenError::Authentication, "{bit}");
        }
    }
}

#[test]
fn no_flipped_bit_makes_it_panic() {
    for recorded in recorded() {
        for bit in 0..recorded.row.len() * 8 {
            let mut row = recorded.row.clone();
            row[bit / 8] ^= 1 << (bit % 8);
            let _ = Value::parse(&row);
        }
    }
}

#[test]
fn the_seed_recorded_by_upstream_opens_its_body() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../vectors/local_providers.json")).unwrap();
    let vector = &vectors["bodies"][1];
    assert_eq!(vector["provider"], "kmsv2-seed");
    let bytes = |field: &str| hex::decode(vector[field].as_str().unwrap()).unwrap();
    let message = Object {
        encrypted_data: bytes("body"),
        ..object()
    }
    .encode_to_vec();
    let row = row(&message);
    let value = Value::parse(&row).unwrap();
    let source =
        DekSource::new(value.object.dek_source_type, SecretBytes::new(bytes("key"))).unwrap();
    let opened = source.open(&value.object, b"bamboo").unwrap();
    assert_eq!(opened.expose(), bytes("plaintext"));
}
