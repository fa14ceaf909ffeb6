//! Any range of a sealed object, without the rest of it.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use super::chunk::{ChunkCipher, MAX_CHUNKS, Totals};
use super::codec::Codec;
use super::error::OpenError;
use super::open::{Expected, Unlocked};
use crate::Key256;
use crate::aead::TAG_LEN;
use crate::etcd_file::ReadAt;

/// Opened chunks that are kept: 16 MiB of chunks of 64 KiB.
const KEPT_CHUNKS: usize = 256;

type Payload = Arc<Zeroizing<Vec<u8>>>;

/// The content of a sealed object of version 2 that is not compressed, read at any place.
///
/// Each byte that is given was authenticated at its place. That the object is whole was checked at the start, by its last chunk; chunks that
/// nobody asks for are never looked at.
#[derive(Debug)]
pub struct SealedRange<S> {
    source: S,
    unlocked: Unlocked,
    cipher: ChunkCipher,
    /// Of the content, in bytes.
    len: u64,
    kept: Mutex<VecDeque<(u64, Payload)>>,
}

impl<S: ReadAt> SealedRange<S> {
    /// Reads the header and the last chunk.
    ///
    /// # Errors
    /// As [`open`](super::open()); [`OpenError::Unsupported`] for compressed content, which can only be read from its start.
    pub fn new(source: S, dek: &Key256, expected: &Expected) -> Result<Self, OpenError> {
        let mut start = Cursor {
            source: &source,
            offset: 0,
        };
        let unlocked = Unlocked::read_from(&mut start, dek, expected)?;
        if unlocked.header.codec() != Codec::None {
            return Err(OpenError::Unsupported {
                what: "random access to codec",
                number: 1,
            });
        }
        let cipher = ChunkCipher::new(&unlocked.keys);
        let header_len = unlocked.header.len();
        let cut_off = OpenError::Authentication { offset: header_len };
        let sealed = source.len().checked_sub(header_len).filter(|len| *len > 0);
        let sealed = sealed.ok_or(cut_off)?;
        let chunks = sealed.div_ceil((unlocked.header.chunk_len() + TAG_LEN) as u64);
        let len = sealed.saturating_sub(chunks * TAG_LEN as u64);
        let range = Self {
            source,
            unlocked,
            cipher,
            len,
            kept: Mutex::default(),
        };
        range.chunk(chunks - 1)?;
        Ok(range)
    }

    /// The header, authentic by now.
    #[must_use]
    pub const fn unlocked(&self) -> &Unlocked {
        &self.unlocked
    }

    fn chunk(&self, index: u64) -> Result<Payload, OpenError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, payload)) = kept.iter().find(|(kept, _)| *kept == index) {
            return Ok(Arc::clone(payload));
        }
        let payload = Arc::new(self.open_chunk(index)?);
        if kept.len() == KEPT_CHUNKS {
            kept.pop_front();
        }
        kept.push_back((index, Arc::clone(&payload)));
        Ok(payload)
    }

    fn open_chunk(&self, index: u64) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let chunk_len = self.unlocked.header.chunk_len();
        let sealed_len = (chunk_len + TAG_LEN) as u64;
        let offset = self.unlocked.header.len() + index.saturating_mul(sealed_len);
        let rest = self.source.len().saturating_sub(offset);
        let is_last = rest <= sealed_len;
        let len = usize::try_from(rest.min(sealed_len)).unwrap_or_default();
        if index >= MAX_CHUNKS || len <= TAG_LEN {
            return Err(OpenError::Authentication { offset });
        }
        let mut chunk = Zeroizing::new(vec![0; len]);
        self.source
            .read_exact_at(&mut chunk, offset)
            .map_err(OpenError::Source)?;
        let totals = is_last.then_some(Totals {
            payload: self.len,
            content: self.len,
        });
        self.cipher.open(index, totals, &mut chunk, offset)?;
        chunk.truncate(len - TAG_LEN);
        Ok(chunk)
    }
}

impl<S: ReadAt> ReadAt for SealedRange<S> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let chunk_len = self.unlocked.header.chunk_len() as u64;
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut rest, mut offset) = (buffer, offset);
        while !rest.is_empty() {
            let payload = self
                .chunk(offset / chunk_len)
                .map_err(|error| match error {
                    OpenError::Source(error) => error,
                    error => io::Error::new(io::ErrorKind::InvalidData, error),
                })?;
            let start = usize::try_from(offset % chunk_len).unwrap_or_default();
            let found = payload.get(start..).unwrap_or_default();
            let count = found.len().min(rest.len());
            let (head, tail) = rest.split_at_mut(count);
            head.copy_from_slice(found.get(..count).unwrap_or_default());
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            rest = tail;
            offset += count as u64;
        }
        Ok(())
    }
}

/// Reads front to back what can be read at any place.
struct Cursor<'s, S> {
    source: &'s S,
    offset: u64,
}

impl<S: ReadAt> io::Read for Cursor<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.source.len().saturating_sub(self.offset);
        let count = buffer
            .len()
            .min(usize::try_from(rest).unwrap_or(usize::MAX));
        let buffer = buffer.get_mut(..count).unwrap_or_default();
        self.source.read_exact_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}
