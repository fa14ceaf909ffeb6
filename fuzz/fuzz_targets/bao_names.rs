//! Addresses, namespaces and names of keys: what is accepted stays what it is in a URL, and nothing panics.
#![no_main]

use kdc_envelope::{Annotations, KeyId};
use kdc_envelope_bao::{BaoAddress, Namespace, PlainRow, TransitKeyName};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(address) = text.parse::<BaoAddress>() {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
    if let Ok(namespace) = text.parse::<Namespace>() {
        assert_eq!(namespace.as_str().parse(), Ok(namespace));
    }
    let (mount, name) = text.split_once('\n').unwrap_or(("transit", text));
    if let Ok(key) = TransitKeyName::new(mount, name) {
        assert!(!key.mount().split('/').any(|part| part == ".."));
        assert!(!key.name().contains('/'));
    }
    if let Ok(key_id) = KeyId::new(text) {
        let _ = PlainRow::recognise(&key_id, &Annotations::new());
    }
});
