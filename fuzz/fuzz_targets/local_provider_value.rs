//! Values of the local providers and of KMS v1.
#![no_main]

use kdc_envelope::SecretBytes;
use kdc_envelope::providers::{KeyName, aescbc, aesgcm, classify, identity, kmsv1, secretbox};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &[u8]| {
    let _ = classify(value);
    let _ = identity::open(value);
    let key = SecretBytes::new(vec![7; 32]);
    let name = || KeyName::new("k").expect("a name");
    let at = b"/registry/secrets/default/fuzz";
    let framed = |provider: &str| [format!("k8s:enc:{provider}:v1:k:").as_bytes(), value].concat();
    let gcm = aesgcm::Key::new(name(), &key).expect("32 bytes");
    assert!(gcm.open(&framed("aesgcm"), at).is_err());
    let secretbox = secretbox::Key::new(name(), &key).expect("32 bytes");
    assert!(secretbox.open(&framed("secretbox")).is_err());
    // CBC is not authenticated: any whole number of blocks may open.
    let cbc = aescbc::Key::new(name(), &key).expect("32 bytes");
    let _ = cbc.open(&framed("aescbc"));
    let framed = [b"k8s:enc:kms:v1:k:", value].concat();
    if let Ok(row) = kmsv1::Value::parse("k", &framed) {
        let _ = row.open(&key, at);
    }
});
