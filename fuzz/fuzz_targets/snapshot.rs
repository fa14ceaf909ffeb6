//! Sealed snapshots of both versions and their metadata: whatever the bytes, no panic, and nothing opens that was not sealed.
#![no_main]

use kdc_envelope::Key256;
use kdc_envelope::snapshot::metadata::Metadata;
use kdc_envelope::snapshot::{self, Expected, OpenOptions, Trailer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(metadata) = Metadata::parse(input) {
        // There is one meaning, whichever program wrote it.
        assert!(Metadata::parse(&metadata.to_json()).is_ok_and(|again| again == metadata));
    }
    let dek = Key256::new([0x20; 32]);
    let mut options = OpenOptions::default();
    options.trailer = Trailer::Unchecked;
    let expected = Expected::default();
    assert!(snapshot::open(input, std::io::sink(), &dek, &expected, &options).is_err());
    assert!(snapshot::v1::open(input, std::io::sink(), &dek, Trailer::Unchecked).is_err());
});
