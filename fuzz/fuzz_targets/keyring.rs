//! Keyring files: no panic, and there is one way to write what is accepted.
#![no_main]

use kdc_envelope::local::{Keyring, LocalKek, ParseKeyringError};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &str| {
    let _ = Keyring::parse(body);
    // A right checksum leads past the first check, to the lines.
    let text = kdc_fuzz::with_checksum(body);
    match Keyring::parse(&text) {
        Ok(keyring) => {
            assert_eq!(*keyring.to_text(), text);
            LocalKek::new(keyring).expect("parsed means usable");
        }
        Err(error) => assert_ne!(error, ParseKeyringError::Checksum),
    }
});
