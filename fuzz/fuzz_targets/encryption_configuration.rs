//! EncryptionConfiguration files: no panic, and an opener can be made of what is accepted.
#![no_main]

use kdc_envelope_k8s::{EncryptionConfiguration, GroupResource, ValueOpener};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    if let Ok(config) = EncryptionConfiguration::parse(file) {
        let opener = ValueOpener::for_resource(&config, &GroupResource::from_text("secrets"));
        let _ = opener.open(file, b"/registry/secrets/default/fuzz");
        let _ = ValueOpener::for_any_resource(&config).open(file, b"/registry/x");
    }
});
