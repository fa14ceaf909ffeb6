//! Objects as they are stored, JSON or protobuf: decoded or refused, and printable when decoded.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for stored in [bytes.to_vec(), [b"k8s\0", bytes].concat()] {
        if let Ok(object) = kdc_envelope_k8s::values::object::decode(&stored) {
            kdc_envelope_k8s::values::object::to_yaml(&object)
                .expect("what was decoded can be shown");
        }
    }
});
