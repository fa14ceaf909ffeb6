//! The bytes of an envelope, version 1.
//!
//! ```text
//! "kdce" ‖ version 0x01 ‖ suite 0x01
//! ‖ key id length (2) ‖ key id ‖ wrapped DEK length (2) ‖ wrapped DEK
//! ‖ number of annotations (2) ‖ { key length (2) ‖ key ‖ value length (2) ‖ value }*
//! ‖ nonce (12) ‖ ciphertext ‖ tag (16)
//! ```
//!
//! Numbers are big-endian. Suite 1 is AES-256-GCM under the DEK with the associated data `"kdce" ‖ version ‖ suite ‖ context`. Key id,
//! wrapped DEK and annotations are not in it: a rewrap replaces them, and the wrapped DEK authenticates itself.

use crate::aead::{NONCE_LEN, Nonce, TAG_LEN};
use crate::kek::{InvalidAnnotation, MAX_WRAPPED_LEN};
use crate::reader::{ReadError, Reader};
use crate::{Annotations, KeyId, WrappedKey};

const MAGIC: &[u8; 4] = b"kdce";
const VERSION: u8 = 1;
const SUITE: u8 = 1;
/// Magic, version, suite.
const PREAMBLE: [u8; 6] = [b'k', b'd', b'c', b'e', VERSION, SUITE];

/// The bytes are no envelope of a known version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// They do not begin with `kdce`.
    #[error("not an envelope: the first bytes are not `kdce`")]
    NotAnEnvelope,
    /// A later version.
    #[error("envelope version {0} is unknown; use a newer release")]
    UnknownVersion(u8),
    /// Another suite.
    #[error("cipher suite {0} is unknown; use a newer release")]
    UnknownSuite(u8),
    /// A part is missing or has a wrong length.
    #[error("malformed envelope: {field} at byte {offset}")]
    Malformed {
        /// Which part.
        field: &'static str,
        /// Where the field begins, in bytes from the start.
        offset: usize,
    },
    /// An annotation breaks the rules.
    #[error(transparent)]
    Annotation(#[from] InvalidAnnotation),
}

/// An envelope taken apart; needs no key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Envelope<'a> {
    /// The wrapped DEK with its key id.
    pub wrapped_dek: WrappedKey,
    /// Nonce, ciphertext and tag.
    sealed: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Parses an envelope.
    ///
    /// # Errors
    /// [`ParseError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        preamble(&mut reader)?;
        let key_id = key_id(&mut reader)?;
        let offset = reader.offset();
        let ciphertext = sized(&mut reader, "wrapped DEK")?;
        if !(1..=MAX_WRAPPED_LEN).contains(&ciphertext.len()) {
            return Err(malformed("length of the wrapped DEK")(ReadError { offset }));
        }
        let annotations = annotations(&mut reader)?;
        let offset = reader.offset();
        let sealed = reader.remaining();
        if sealed.len() < NONCE_LEN + TAG_LEN {
            return Err(malformed("nonce and tag")(ReadError { offset }));
        }
        let wrapped_dek =
            WrappedKey::new(key_id, ciphertext.to_vec()).with_annotations(annotations);
        Ok(Self {
            wrapped_dek,
            sealed,
        })
    }

    /// The length of the data inside, in bytes.
    #[must_use]
    pub const fn data_len(&self) -> usize {
        self.sealed.len().saturating_sub(NONCE_LEN + TAG_LEN)
    }

    pub(super) fn parts(&self) -> Option<(&'a Nonce, &'a [u8], &'a [u8; TAG_LEN])> {
        let (nonce, rest) = self.sealed.split_first_chunk()?;
        let (ciphertext, tag) = rest.split_last_chunk()?;
        Some((nonce, ciphertext, tag))
    }

    /// An envelope of the same data with another wrapped DEK.
    pub(super) fn with_wrapped_dek(&self, wrapped: &WrappedKey) -> Vec<u8> {
        let mut out = header(wrapped, self.sealed.len());
        out.extend_from_slice(self.sealed);
        out
    }
}

/// What the data is bound to.
pub(super) fn associated(context: &[u8]) -> Vec<u8> {
    [&PREAMBLE, context].concat()
}

/// Everything before the nonce, with room for `sealed_len` bytes more.
pub(super) fn header(wrapped: &WrappedKey, sealed_len: usize) -> Vec<u8> {
    let key_id = wrapped.key_id.as_str().as_bytes();
    let mut out = Vec::with_capacity(
        64 + key_id.len() + wrapped.ciphertext.len() + sealed_len + 64 * wrapped.annotations.len(),
    );
    out.extend_from_slice(&PREAMBLE);
    put(&mut out, key_id);
    put(&mut out, &wrapped.ciphertext);
    put_len(&mut out, wrapped.annotations.len());
    for (key, value) in wrapped.annotations.iter() {
        put(&mut out, key.as_bytes());
        put(&mut out, value);
    }
    out
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Key ids, wrapped keys and annotations have limits far below 64 KiB.
fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
}

const fn malformed(field: &'static str) -> impl FnOnce(ReadError) -> ParseError {
    move |ReadError { offset }| ParseError::Malformed { field, offset }
}

fn preamble(reader: &mut Reader<'_>) -> Result<(), ParseError> {
    if reader.array() != Ok(MAGIC) {
        return Err(ParseError::NotAnEnvelope);
    }
    match reader.u8().map_err(malformed("version"))? {
        VERSION => {}
        other => return Err(ParseError::UnknownVersion(other)),
    }
    match reader.u8().map_err(malformed("suite"))? {
        SUITE => Ok(()),
        other => Err(ParseError::UnknownSuite(other)),
    }
}

fn sized<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<&'a [u8], ParseError> {
    let len = reader.u16().map_err(malformed(field))?;
    reader.take(len.into()).map_err(malformed(field))
}

fn key_id(reader: &mut Reader<'_>) -> Result<KeyId, ParseError> {
    let offset = reader.offset();
    let bytes = sized(reader, "key id")?;
    core::str::from_utf8(bytes)
        .ok()
        .and_then(|id| KeyId::new(id).ok())
        .ok_or(ParseError::Malformed {
            field: "key id",
            offset,
        })
}

/// In ascending order of their keys, so that there is one way to write them.
fn annotations(reader: &mut Reader<'_>) -> Result<Annotations, ParseError> {
    let count = reader.u16().map_err(malformed("number of annotations"))?;
    let mut entries: Vec<(&str, &[u8])> = Vec::new();
    for _ in 0..count {
        let offset = reader.offset();
        let key = sized(reader, "annotation key")?;
        let key = core::str::from_utf8(key)
            .ok()
            .filter(|key| entries.last().is_none_or(|(last, _)| last < key))
            .ok_or(ParseError::Malformed {
                field: "annotation key",
                offset,
            })?;
        entries.push((key, sized(reader, "annotation value")?));
    }
    Ok(Annotations::try_from_iter(entries)?)
}
