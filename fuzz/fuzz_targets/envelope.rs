//! Envelopes: no panic, and nothing opens that was not sealed.
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use kdc_envelope::envelope::{Envelope, EnvelopeCipher};
use libfuzzer_sys::fuzz_target;

static CIPHER: LazyLock<EnvelopeCipher> = LazyLock::new(|| {
    EnvelopeCipher::new(Arc::new(kdc_fuzz::fixed_kek()), "fuzz", || Duration::ZERO)
});

fuzz_target!(|bytes: &[u8]| {
    let _ = Envelope::parse(bytes);
    let framed = [b"kdce\x01\x01", bytes].concat();
    if let Ok(envelope) = Envelope::parse(&framed) {
        assert!(envelope.data_len() < framed.len());
        assert!(kdc_fuzz::ready(CIPHER.open(&framed, b"")).is_err());
        assert!(kdc_fuzz::ready(CIPHER.rewrap(&framed)).is_err());
    }
});
