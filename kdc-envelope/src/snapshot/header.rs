//! The header of version 2, and the keys that follow from it.
//!
//! Every byte of the header goes into the derivation of every key, so a header that was changed cannot be used with any
//! DEK, and the commitment says so before a byte of payload is read.

use hkdf::Hkdf;
use sha2::{Digest as _, Sha256};
use std::io::{self, Read};

use super::codec::Codec;
use super::error::OpenError;
use super::identity::{Identity, MAX_NAME_LEN, MAX_SOURCE_LEN};
use crate::Key256;
use crate::reader::{ReadError, Reader};

/// What every sealed snapshot of version 2 and later begins with. Version 1 begins with a random nonce.
pub const MAGIC: [u8; 4] = *b"kdcs";
/// The version of this format.
pub(super) const VERSION: u8 = 2;
/// AES-256-GCM under keys by HKDF-SHA256.
const SUITE: u8 = 1;
/// Payload of a chunk in bytes, as its logarithm to base 2, that is written: 64 KiB.
const CHUNK_LOG2: u8 = 16;
/// Sizes of chunks that are read: 4 KiB to 1 MiB.
const CHUNK_LOG2_RANGE: core::ops::RangeInclusive<u8> = 12..=20;
/// Magic, version, suite, length.
const PREFIX_LEN: usize = 8;
const SALT_LEN: usize = 32;
const COMMITMENT_LEN: usize = 32;
/// The longest header in bytes.
const MAX_LEN: usize =
    PREFIX_LEN + 2 + SALT_LEN + 6 + 2 * MAX_NAME_LEN + MAX_SOURCE_LEN + COMMITMENT_LEN;

const PAYLOAD_LABEL: &[u8] = b"kdc-envelope snapshot v2 payload\0";
const COMMITMENT_LABEL: &[u8] = b"kdc-envelope snapshot v2 commitment\0";
const METADATA_LABEL: &[u8] = b"kdc-envelope snapshot v2 metadata\0";

/// A header of version 2. Nothing in it is to be believed before a DEK [unlocked](super::Unlocked::read_from) it.
#[derive(Debug, Clone)]
pub struct Header {
    identity: Identity,
    codec: Codec,
    chunk_log2: u8,
    salt: [u8; SALT_LEN],
    commitment: [u8; COMMITMENT_LEN],
    /// All bytes but the commitment.
    committed: Vec<u8>,
}

/// The keys of one snapshot.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) payload: Key256,
    pub(super) metadata: Key256,
    commitment: [u8; COMMITMENT_LEN],
}

impl Header {
    /// A new header, and the keys that `dek` gives with it.
    pub(super) fn new(
        identity: Identity,
        codec: Codec,
        dek: &Key256,
        salt: [u8; SALT_LEN],
    ) -> (Self, Keys) {
        let mut header = Self {
            committed: committed(&identity, codec, CHUNK_LOG2, &salt),
            identity,
            codec,
            chunk_log2: CHUNK_LOG2,
            salt,
            commitment: [0; COMMITMENT_LEN],
        };
        let keys = header.derive(dek);
        header.commitment = keys.commitment;
        (header, keys)
    }

    /// Reads a header from the start of a sealed object, and nothing behind it.
    ///
    /// # Errors
    /// [`OpenError::Malformed`], [`OpenError::UnknownVersion`], [`OpenError::Unsupported`] or [`OpenError::Source`].
    pub fn read_from(source: &mut impl Read) -> Result<Self, OpenError> {
        let mut bytes = vec![0; PREFIX_LEN];
        read_exact(source, &mut bytes, 0)?;
        let len = Self::check_prefix(&bytes)?;
        bytes.resize(len, 0);
        let rest = bytes.split_at_mut(PREFIX_LEN).1;
        read_exact(source, rest, PREFIX_LEN)?;
        Self::parse(&bytes)
    }

    /// The length of the whole header.
    fn check_prefix(prefix: &[u8]) -> Result<usize, OpenError> {
        let mut reader = Reader::new(prefix);
        if reader.array().map_err(malformed("magic"))? != &MAGIC {
            return Err(OpenError::Malformed {
                field: "magic; this is no snapshot of version 2",
                offset: 0,
            });
        }
        let version = reader.u8().map_err(malformed("version"))?;
        if version != VERSION {
            return Err(OpenError::UnknownVersion(version));
        }
        let suite = reader.u8().map_err(malformed("suite"))?;
        if suite != SUITE {
            return Err(OpenError::Unsupported {
                what: "suite",
                number: suite,
            });
        }
        let len = usize::from(reader.u16().map_err(malformed("header length"))?);
        if !(PREFIX_LEN..=MAX_LEN).contains(&len) {
            return Err(malformed("header length")(ReadError { offset: 6 }));
        }
        Ok(len)
    }

    fn parse(bytes: &[u8]) -> Result<Self, OpenError> {
        let mut reader = Reader::new(bytes);
        reader.take(PREFIX_LEN).map_err(malformed("prefix"))?;
        let codec = reader.u8().map_err(malformed("codec"))?;
        let codec = Codec::of_number(codec).ok_or(OpenError::Unsupported {
            what: "codec",
            number: codec,
        })?;
        let chunk_offset = reader.offset();
        let chunk_log2 = reader.u8().map_err(malformed("chunk size"))?;
        if !CHUNK_LOG2_RANGE.contains(&chunk_log2) {
            return Err(malformed("chunk size")(ReadError {
                offset: chunk_offset,
            }));
        }
        let salt = *reader.array().map_err(malformed("salt"))?;
        let identity = parse_identity(&mut reader)?;
        let end = reader.offset();
        let commitment = *reader.array().map_err(malformed("commitment"))?;
        if !reader.is_empty() {
            let offset = reader.offset();
            return Err(malformed("bytes after the header")(ReadError { offset }));
        }
        let committed = bytes.get(..end).unwrap_or_default().to_vec();
        Ok(Self {
            identity,
            codec,
            chunk_log2,
            salt,
            commitment,
            committed,
        })
    }

    /// As it is written.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.committed.as_slice(), &self.commitment].concat()
    }

    /// Length of [`to_bytes`](Self::to_bytes).
    pub(super) const fn len(&self) -> u64 {
        (self.committed.len() + COMMITMENT_LEN) as u64
    }

    /// Which snapshot it says it is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// How the content is packed.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// Payload of each chunk but the last, in bytes.
    #[must_use]
    pub const fn chunk_len(&self) -> usize {
        1 << self.chunk_log2
    }

    /// The keys of the snapshot, if `dek` and every byte of the header are those it was sealed with.
    pub(super) fn keys(&self, dek: &Key256) -> Result<Keys, OpenError> {
        let keys = self.derive(dek);
        let is_committed = ctutils::CtEq::ct_eq(&keys.commitment, &self.commitment);
        match is_committed.to_bool() {
            true => Ok(keys),
            false => Err(OpenError::Commitment),
        }
    }

    fn derive(&self, dek: &Key256) -> Keys {
        let (_, prk) = Hkdf::<Sha256>::extract(Some(&self.salt), dek.expose());
        let context = Sha256::digest(&self.committed);
        let expand = |label: &[u8]| {
            let mut key = [0; 32];
            prk.expand_multi_info(&[label, context.as_slice()], &mut key)
                .expect("32 bytes are within the limit of HKDF");
            key
        };
        Keys {
            payload: Key256::new(expand(PAYLOAD_LABEL)),
            metadata: Key256::new(expand(METADATA_LABEL)),
            commitment: expand(COMMITMENT_LABEL),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "names and the whole header are far below 64 KiB"
)]
fn committed(identity: &Identity, codec: Codec, chunk_log2: u8, salt: &[u8; SALT_LEN]) -> Vec<u8> {
    let names = [identity.cluster(), identity.snapshot(), identity.source()];
    let names_len: usize = names.iter().map(|name| 2 + name.len()).sum();
    let len = PREFIX_LEN + 2 + SALT_LEN + names_len + COMMITMENT_LEN;
    let mut bytes = Vec::with_capacity(len);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[VERSION, SUITE]);
    bytes.extend_from_slice(&(len as u16).to_be_bytes());
    bytes.extend_from_slice(&[codec.number(), chunk_log2]);
    bytes.extend_from_slice(salt);
    for name in names {
        bytes.extend_from_slice(&(name.len() as u16).to_be_bytes());
        bytes.extend_from_slice(name.as_bytes());
    }
    bytes
}

fn parse_identity(reader: &mut Reader<'_>) -> Result<Identity, OpenError> {
    let offset = reader.offset();
    let mut name = |field| -> Result<String, OpenError> {
        let offset = reader.offset();
        let len = reader.u16().map_err(malformed(field))?;
        let bytes = reader.take(len.into()).map_err(malformed(field))?;
        match core::str::from_utf8(bytes) {
            Ok(name) => Ok(name.to_owned()),
            Err(_) => Err(malformed(field)(ReadError { offset })),
        }
    };
    let (cluster, snapshot) = (name("cluster")?, name("snapshot id")?);
    let source = name("source")?;
    Identity::new(&cluster, &snapshot, &source)
        .map_err(|invalid| malformed(invalid.field)(ReadError { offset }))
}

fn malformed(field: &'static str) -> impl Fn(ReadError) -> OpenError {
    move |error| OpenError::Malformed {
        field,
        offset: error.offset as u64,
    }
}

fn read_exact(source: &mut impl Read, buffer: &mut [u8], offset: usize) -> Result<(), OpenError> {
    source
        .read_exact(buffer)
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => OpenError::Malformed {
                field: "the object ends within its header",
                offset: offset as u64,
            },
            _ => OpenError::Source(error),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> (Vec<u8>, Key256) {
        let dek = Key256::new([7; 32]);
        let identity = Identity::new("prod", "prod-1", "test").unwrap();
        let (header, _) = Header::new(identity, Codec::None, &dek, [9; 32]);
        (header.to_bytes(), dek)
    }

    #[test]
    fn a_header_comes_back_as_it_was_written() {
        let (bytes, dek) = sealed();
        let header = Header::read_from(&mut bytes.as_slice()).unwrap();
        assert_eq!(header.to_bytes(), bytes);
        assert_eq!(header.identity().cluster(), "prod");
        assert_eq!(header.chunk_len(), 65536);
        header.keys(&dek).unwrap();
        let error = header.keys(&Key256::new([8; 32])).unwrap_err();
        assert!(matches!(error, OpenError::Commitment));
    }

    #[test]
    fn no_bit_of_a_header_can_be_changed() {
        let (bytes, dek) = sealed();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let opened =
                Header::read_from(&mut changed.as_slice()).and_then(|header| header.keys(&dek));
            assert!(opened.is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_header_that_ends_early_is_malformed() {
        let (bytes, _) = sealed();
        for len in 0..bytes.len() {
            let error = Header::read_from(&mut &bytes[..len]).unwrap_err();
            assert!(matches!(error, OpenError::Malformed { .. }), "{len}");
        }
    }
}
