//! Snapshots that were changed, cut or mixed, or that belong to another cluster.

use std::io::{self, Read, Write};
use std::num::NonZeroUsize;

use kdc_envelope::Key256;
use kdc_envelope::snapshot::{
    self, Expected, OpenError, SealError, SealOptions, Trailer, TrailerError,
};

use crate::{CHUNK, SEALED_CHUNK, dek, etcd_stream, identity, open_with, seal, unchecked};

fn header_len(object: &[u8]) -> usize {
    u16::from_be_bytes([object[6], object[7]]).into()
}

/// Seven chunks, the last of 100 bytes.
fn object() -> Vec<u8> {
    let content: Vec<u8> = (0..6 * CHUNK + 100)
        .map(|i| (i / 5).to_le_bytes()[0])
        .collect();
    seal(&content, &unchecked().0).0
}

fn assert_unauthentic(object: &[u8], case: &str) {
    let error = open_with(object, &dek(), &unchecked().1).unwrap_err();
    assert!(
        matches!(error, OpenError::Authentication { .. }),
        "{case}: {error}"
    );
}

#[test]
fn cut_anywhere() {
    let object = object();
    let header = header_len(&object);
    for chunk in 0..7 {
        for offset in [0, 1, 15, 16, 17, CHUNK, SEALED_CHUNK - 1] {
            let len = header + chunk * SEALED_CHUNK + offset;
            if len < object.len() {
                assert_unauthentic(&object[..len], &format!("{len}"));
            }
        }
    }
    assert_unauthentic(&object[..object.len() - 1], "the last byte");
}

#[test]
fn a_bit_flipped_anywhere() {
    let object = object();
    let positions = (header_len(&object)..object.len()).step_by(9973);
    for position in positions.chain([object.len() - 1, object.len() - 16, object.len() - 17]) {
        let mut changed = object.clone();
        changed[position] ^= 1;
        assert_unauthentic(&changed, &format!("{position}"));
    }
}

#[test]
fn chunks_in_another_order_doubled_or_left_out() {
    let object = object();
    let (header, payload) = object.split_at(header_len(&object));
    let chunks: Vec<&[u8]> = payload.chunks(SEALED_CHUNK).collect();
    let orders: [(&str, &[usize]); 5] = [
        ("swapped", &[1, 0, 2, 3, 4, 5, 6]),
        ("doubled", &[0, 0, 1, 2, 3, 4, 5, 6]),
        ("left out", &[0, 1, 2, 4, 5, 6]),
        ("the last twice", &[0, 1, 2, 3, 4, 5, 6, 6]),
        ("without the last", &[0, 1, 2, 3, 4, 5]),
    ];
    for (case, order) in orders {
        let mut changed = header.to_vec();
        order
            .iter()
            .for_each(|index| changed.extend_from_slice(chunks[*index]));
        assert_unauthentic(&changed, case);
    }
}

#[test]
fn spliced_with_another_snapshot_of_the_same_key() {
    let (one, other) = (object(), object());
    let header = header_len(&one);
    let spliced = [
        &one[..header + SEALED_CHUNK],
        &other[header + SEALED_CHUNK..],
    ]
    .concat();
    assert_unauthentic(&spliced, "spliced");
    let headless = [&one[..header], &other[header..]].concat();
    assert_unauthentic(&headless, "another header");
}

#[test]
fn bytes_after_the_end() {
    let mut object = object();
    object.push(0);
    assert_unauthentic(&object, "one byte");
    object.extend_from_slice(&[0; 2 * SEALED_CHUNK]);
    assert_unauthentic(&object, "two chunks");
}

#[test]
fn another_key_or_another_identity() {
    let object = object();
    let options = unchecked().1;
    let error = open_with(&object, &Key256::new([1; 32]), &options).unwrap_err();
    assert!(matches!(error, OpenError::Commitment));
    for expected in [
        Expected::new("staging", "prod-2026-11-24"),
        Expected::new("prod", "prod-2026-11-23"),
    ] {
        let mut content = Vec::new();
        let error = snapshot::open(object.as_slice(), &mut content, &dek(), &expected, &options);
        assert!(matches!(error, Err(OpenError::OtherIdentity { .. })));
        assert!(content.is_empty());
    }
}

#[test]
fn a_source_that_ends_early_gives_no_object() {
    let content = etcd_stream(2000);
    for len in [
        0,
        1,
        511,
        512,
        544,
        1000 * 512,
        1000 * 512 + 32,
        content.len() - 1,
    ] {
        for workers in [1, 3] {
            let mut options = SealOptions::default();
            options.workers = NonZeroUsize::new(workers).unwrap();
            let (dek, mut object) = (dek(), Vec::new());
            let sealed = snapshot::seal(&content[..len], &mut object, &dek, &identity(), &options);
            let error = sealed.unwrap_err();
            assert!(
                matches!(error, SealError::Trailer(_) | SealError::Empty),
                "{len}: {error}"
            );
            assert!(open_with(&object, &dek, &unchecked().1).is_err(), "{len}");
        }
    }
}

#[test]
fn content_sealed_without_a_check_is_checked_when_it_is_opened() {
    let (object, _) = seal(&[1; 544], &unchecked().0);
    let error = open_with(&object, &dek(), &Default::default()).unwrap_err();
    assert!(matches!(error, OpenError::Trailer(TrailerError::Checksum)));
    let (object, _) = seal(&[1; 545], &unchecked().0);
    let error = open_with(&object, &dek(), &Default::default()).unwrap_err();
    assert!(matches!(
        error,
        OpenError::Trailer(TrailerError::Length { len: 545 })
    ));
}

struct Fails {
    after: usize,
}

impl Read for Fails {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.after.min(buffer.len());
        self.after -= count;
        match count {
            0 => Err(io::Error::other("the connection was lost")),
            _ => Ok(count),
        }
    }
}

impl Write for Fails {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.after.min(bytes.len());
        self.after -= count;
        match count {
            0 => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(count),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn failures_of_source_and_destination_keep_their_reason() {
    let (mut seal_options, mut open_options) = unchecked();
    let (dek, identity) = (dek(), identity());
    let limits = [0, 100, 5 * CHUNK, 50 * CHUNK];
    for (after, workers) in limits
        .into_iter()
        .flat_map(|after| [(after, 1), (after, 3)])
    {
        seal_options.workers = NonZeroUsize::new(workers).unwrap();
        open_options.workers = seal_options.workers;
        let mut object = Vec::new();
        let sealed = snapshot::seal(Fails { after }, &mut object, &dek, &identity, &seal_options);
        assert!(matches!(sealed, Err(SealError::Source(_))));
        assert!(open_with(&object, &dek, &open_options).is_err());

        let content = vec![0; 100 * CHUNK];
        let sealed = snapshot::seal(
            content.as_slice(),
            Fails { after },
            &dek,
            &identity,
            &seal_options,
        );
        assert!(matches!(sealed, Err(SealError::Sink(_))));

        let (object, _) = seal(&content, &seal_options);
        let opened = snapshot::open(
            object.as_slice(),
            Fails { after },
            &dek,
            &crate::expected(),
            &open_options,
        );
        assert!(matches!(opened, Err(OpenError::Sink(_))));
    }
}

#[cfg(feature = "zstd")]
#[test]
fn compressed_content_is_not_unpacked_beyond_its_stated_length() {
    use kdc_envelope::snapshot::Codec;

    let (mut seal_options, open_options) = unchecked();
    seal_options.codec = Codec::Zstd;
    let (object, sealed) = seal(&vec![0; 100 * CHUNK], &seal_options);
    assert!(object.len() < CHUNK);
    for stated in [
        None,
        Some(10),
        Some(sealed.content.len - 1),
        Some(sealed.content.len + 1),
    ] {
        let mut expected = crate::expected();
        expected.content_len = stated;
        let mut content = Vec::new();
        let opened = snapshot::open(
            object.as_slice(),
            &mut content,
            &dek(),
            &expected,
            &open_options,
        );
        assert!(opened.is_err(), "{stated:?}");
        assert!(content.len() as u64 <= stated.unwrap_or(0));
    }
}

#[test]
fn version_1_without_the_checksum_of_etcd() {
    let content = etcd_stream(100);
    let mut object = Vec::new();
    let sealed =
        snapshot::v1::seal(&content[..1000], &mut object, &dek(), Trailer::Etcd).unwrap_err();
    assert!(matches!(
        sealed,
        SealError::Trailer(TrailerError::Length { .. })
    ));
    assert!(snapshot::v1::open(object.as_slice(), io::sink(), &dek(), Trailer::Unchecked).is_err());
    for len in 0..28 {
        let opened = snapshot::v1::open(&object[..len], io::sink(), &dek(), Trailer::Etcd);
        assert!(matches!(opened, Err(OpenError::Malformed { .. })), "{len}");
    }
}
