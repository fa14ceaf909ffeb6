//! Where a plugin listens and a client connects.
#![no_main]

use kdc_envelope_kms::server::SocketAddress;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(address) = text.parse::<SocketAddress>() {
        assert_eq!(
            address.to_string().parse::<SocketAddress>().as_ref(),
            Ok(&address)
        );
    }
});
