//! Key histories: no panic, and there is one way to write what is accepted.
#![no_main]

use kdc_envelope_k8s::rotation::history::{HistoryError, KeyHistory};
use libfuzzer_sys::fuzz_target;
use sha2::Digest as _;

fuzz_target!(|body: &str| {
    let _ = KeyHistory::parse(body);
    // A right first line and a right checksum lead past the first checks.
    let body = format!("kdc-key-history 1\n{body}");
    let digits: String = sha2::Sha256::digest(&body)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let text = format!("{body}sha256 {digits}\n");
    match KeyHistory::parse(&text) {
        Ok(history) => {
            assert_eq!(*history.to_text(), text);
            let _ = history.keyring();
        }
        Err(HistoryError::Checksum) => assert!(!body.ends_with('\n')),
        Err(_) => {}
    }
});
