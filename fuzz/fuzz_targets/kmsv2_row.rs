//! Rows of KMS v2: our parser accepts what an independent one accepts, and sees the same in it.
#![no_main]

use std::collections::HashMap;

use kdc_envelope::SecretBytes;
use kdc_envelope::kmsv2::{DekSource, Value};
use libfuzzer_sys::fuzz_target;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct EncryptedObject {
    #[prost(bytes = "vec", tag = "1")]
    encrypted_data: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(bytes = "vec", tag = "3")]
    encrypted_dek_source: Vec<u8>,
    #[prost(map = "string, bytes", tag = "4")]
    annotations: HashMap<String, Vec<u8>>,
    #[prost(int32, tag = "5")]
    dek_source_type: i32,
}

fuzz_target!(|message: &[u8]| {
    let row = [b"k8s:enc:kms:v2:fuzz:", message].concat();
    let Ok(value) = Value::parse(&row) else {
        return;
    };
    let object = &value.object;
    object.wrapped_key().expect("parsed means valid");
    // Where prost decodes too (it refuses a known field of another wire type, as Go does not), both agree.
    if let Ok(theirs) = EncryptedObject::decode(message) {
        assert_eq!(object.encrypted_data, theirs.encrypted_data);
        assert_eq!(object.key_id, theirs.key_id);
        assert_eq!(object.encrypted_dek_source, theirs.encrypted_dek_source);
        let ours: HashMap<_, _> = object
            .annotations
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.to_vec()))
            .collect();
        assert_eq!(ours, theirs.annotations);
    }
    let source = DekSource::new(object.dek_source_type, SecretBytes::new(vec![1; 32]));
    let opened = source
        .expect("32 bytes fit both types")
        .open(object, b"/registry/fuzz");
    assert!(opened.is_err(), "no one sealed this");
});
