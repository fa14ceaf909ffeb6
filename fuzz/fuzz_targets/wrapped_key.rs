//! Keys wrapped by a local KEK: hostile bytes under a right key id.
#![no_main]

use std::sync::LazyLock;

use kdc_envelope::local::LocalKek;
use kdc_envelope::{Aad, KeyEncryptionKey, KeyId, WrappedKey};
use libfuzzer_sys::fuzz_target;

static KEK: LazyLock<(LocalKek, KeyId)> = LazyLock::new(|| {
    let kek = kdc_fuzz::fixed_kek();
    let key_id = kek.status().expect("always healthy").key_id;
    (kek, key_id)
});

fuzz_target!(|bytes: &[u8]| {
    let (kek, key_id) = &*KEK;
    let id = key_id.as_str().as_bytes();
    let len = u8::try_from(id.len()).expect("a short id");
    for ciphertext in [bytes.to_vec(), [&[1, len], id, bytes].concat()] {
        let wrapped = WrappedKey::new(key_id.clone(), ciphertext);
        assert!(kdc_fuzz::ready(kek.unwrap(&wrapped, Aad::EMPTY)).is_err());
    }
});
