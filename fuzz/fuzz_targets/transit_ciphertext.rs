//! Transit ciphertexts: what is accepted is written again alike.
#![no_main]

use kdc_envelope_bao::TransitCiphertext;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for input in [bytes.to_vec(), [b"vault:v", bytes].concat()] {
        if let Ok(ciphertext) = TransitCiphertext::parse(&input) {
            let (version, payload) = (ciphertext.version(), ciphertext.payload());
            assert_eq!(format!("vault:v{version}:{payload}").as_bytes(), input);
        }
    }
});
