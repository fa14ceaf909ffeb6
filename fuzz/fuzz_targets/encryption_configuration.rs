//! EncryptionConfiguration files: no panic, an opener can be made of what is accepted, and what is written for it means
//! the same and is always written alike.
#![no_main]

use kdc_envelope_k8s::encryption_config::{Provider, differences};
use kdc_envelope_k8s::{EncryptionConfiguration, GroupResource, Layout, ValueOpener};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    if let Ok(config) = EncryptionConfiguration::parse(file) {
        let opener = ValueOpener::for_resource(&config, &GroupResource::from_text("secrets"));
        let _ = opener.open(file, b"/registry/secrets/default/fuzz");
        let _ = ValueOpener::for_any_resource(&config).open(file, b"/registry/x");
        for (_, provider) in config.providers() {
            if let Provider::Kms(kms) = provider {
                let _ = kms.socket();
            }
        }
        let layout = Layout::of(&config);
        if let Ok(text) = layout.render() {
            let read = EncryptionConfiguration::parse(text.as_bytes()).expect("what we write");
            let again = Layout::of(&read);
            assert!(differences(&layout, &again).is_empty());
            assert_eq!(again.render().expect("written once"), text);
        }
    }
});
