//! Whatever the length, the pieces and the number of threads.

use std::io::{self, Read};
use std::num::NonZeroUsize;

use kdc_envelope::snapshot::{self, Trailer};
use proptest::prelude::*;

use crate::{CHUNK, dek, etcd_stream, expected, identity, open_with, seal, unchecked};

#[test]
fn every_length_around_the_borders_of_chunks_and_blocks() {
    let (seal_options, open_options) = unchecked();
    for chunks in [0, 1, 2, 4, 8, 13] {
        for offset in [-1, 0, 1] {
            let Some(len) = (chunks * CHUNK)
                .checked_add_signed(offset)
                .filter(|len| *len > 0)
            else {
                continue;
            };
            let content: Vec<u8> = (0..len).map(|i| (i / 3).to_le_bytes()[0]).collect();
            let (object, sealed) = seal(&content, &seal_options);
            assert_eq!(sealed.content.len, len as u64);
            assert!(
                open_with(&object, &dek(), &open_options).unwrap() == content,
                "{len}"
            );
        }
    }
}

#[test]
fn any_number_of_threads_writes_the_same_format() {
    let (mut seal_options, mut open_options) = unchecked();
    let content = vec![5; 40 * CHUNK + 17];
    for (sealing, opening) in [(1, 4), (4, 1), (3, 3)] {
        seal_options.workers = NonZeroUsize::new(sealing).unwrap();
        open_options.workers = NonZeroUsize::new(opening).unwrap();
        let (object, _) = seal(&content, &seal_options);
        assert!(open_with(&object, &dek(), &open_options).unwrap() == content);
    }
}

#[test]
fn the_checksum_of_etcd_is_checked_on_the_way_in_and_out() {
    let content = etcd_stream(3000);
    let (object, sealed) = seal(&content, &Default::default());
    assert!(sealed.content.sha256.is_some());
    let mut opened = Vec::new();
    let (_, summary) = snapshot::open(
        object.as_slice(),
        &mut opened,
        &dek(),
        &expected(),
        &Default::default(),
    )
    .unwrap();
    assert!(opened == content);
    assert_eq!(summary, sealed.content);
}

#[test]
fn a_new_seal_of_the_same_content_is_another_object() {
    let content = etcd_stream(10);
    let options = Default::default();
    assert_ne!(seal(&content, &options).0, seal(&content, &options).0);
}

#[cfg(feature = "zstd")]
#[test]
fn compressed_content_is_smaller_and_comes_back() {
    use kdc_envelope::snapshot::{Codec, SealOptions};

    let content = etcd_stream(4000);
    let mut options = SealOptions::default();
    options.codec = Codec::Zstd;
    let (object, sealed) = seal(&content, &options);
    assert!(object.len() < content.len() / 4);
    assert_eq!(sealed.content.len, content.len() as u64);
    let expected = expected().with_content_len(sealed.content.len);
    let mut opened = Vec::new();
    snapshot::open(
        object.as_slice(),
        &mut opened,
        &dek(),
        &expected,
        &Default::default(),
    )
    .unwrap();
    assert!(opened == content);
}

/// Gives its content in pieces of odd lengths.
struct Trickle<'a> {
    rest: &'a [u8],
    step: usize,
}

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.step.min(buffer.len()).min(self.rest.len());
        self.rest.read_exact(&mut buffer[..count])?;
        self.step = self.step * 31 % 9973 + 1;
        Ok(count)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn content_may_come_in_any_pieces(len in 1_usize..400_000, step in 1_usize..70_000) {
        let content: Vec<u8> = (0..len).map(|i| (i / 3).to_le_bytes()[0]).collect();
        let (seal_options, open_options) = unchecked();
        let mut object = Vec::new();
        let source = Trickle { rest: &content, step };
        snapshot::seal(source, &mut object, &dek(), &identity(), &seal_options).unwrap();
        let mut opened = Vec::new();
        let source = Trickle { rest: &object, step };
        snapshot::open(source, &mut opened, &dek(), &expected(), &open_options).unwrap();
        prop_assert!(opened == content);
    }
}

#[test]
fn version_1_has_the_same_checks() {
    let content = etcd_stream(1000);
    let mut object = Vec::new();
    let (nonce, sealed) =
        snapshot::v1::seal(content.as_slice(), &mut object, &dek(), Trailer::Etcd).unwrap();
    assert_eq!(object.len(), content.len() + 28);
    assert_eq!(object[..12], nonce);
    let mut opened = Vec::new();
    let (_, summary) =
        snapshot::v1::open(object.as_slice(), &mut opened, &dek(), Trailer::Etcd).unwrap();
    assert!(opened == content);
    assert_eq!(summary, sealed);
}
