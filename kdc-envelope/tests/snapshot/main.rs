//! Sealed snapshots through the public interface: what goes in comes out, and nothing else ever does.
#![expect(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod metadata;
mod refused;
mod round_trip;

use std::num::NonZeroUsize;

use kdc_envelope::Key256;
use kdc_envelope::snapshot::{
    self, Expected, Identity, OpenError, OpenOptions, SealOptions, Sealed, Trailer,
};
use sha2::{Digest as _, Sha256};

/// Payload of a chunk and what it has when sealed, in bytes.
const CHUNK: usize = 64 * 1024;
const SEALED_CHUNK: usize = CHUNK + 16;

fn dek() -> Key256 {
    Key256::new([0x42; 32])
}

fn identity() -> Identity {
    Identity::new("prod", "prod-2026-11-24", "https://10.0.0.1:2379").unwrap()
}

fn expected() -> Expected {
    Expected::new("prod", "prod-2026-11-24")
}

/// Content as etcd sends it: whole sectors and the SHA-256 of them.
fn etcd_stream(sectors: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..sectors * 512)
        .map(|i| (i / 7).to_le_bytes()[0])
        .collect();
    let checksum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&checksum);
    bytes
}

fn unchecked() -> (SealOptions, OpenOptions) {
    let (mut seal, mut open) = (SealOptions::default(), OpenOptions::default());
    seal.trailer = Trailer::Unchecked;
    open.trailer = Trailer::Unchecked;
    (seal, open)
}

fn seal(content: &[u8], options: &SealOptions) -> (Vec<u8>, Sealed) {
    let mut object = Vec::new();
    let sealed = snapshot::seal(content, &mut object, &dek(), &identity(), options).unwrap();
    assert_eq!(sealed.len, object.len() as u64);
    (object, sealed)
}

/// Opens on one thread and on several, which must come to the same.
fn open_with(object: &[u8], dek: &Key256, options: &OpenOptions) -> Result<Vec<u8>, OpenError> {
    let [alone, together] = [1, 3].map(|workers| {
        let mut options = options.clone();
        options.workers = NonZeroUsize::new(workers).unwrap();
        let mut content = Vec::new();
        snapshot::open(object, &mut content, dek, &expected(), &options).map(|_| content)
    });
    match (&alone, &together) {
        (Ok(alone), Ok(together)) => assert!(alone == together),
        (Err(alone), Err(together)) => assert_eq!(alone.to_string(), together.to_string()),
        _ => panic!("{:?} and {:?}", alone.err(), together.err()),
    }
    alone
}
