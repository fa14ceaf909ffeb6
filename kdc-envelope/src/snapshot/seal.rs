//! Sealing a stream in version 2.

use core::num::NonZeroUsize;
use std::io::{self, Read, Write};

use super::chunk::{ChunkCipher, MAX_CHUNKS, Totals};
use super::codec::Codec;
use super::content::{ContentCheck, ContentSummary, Trailer};
use super::error::SealError;
use super::header::{Header, Keys};
use super::identity::Identity;
use super::metadata::{Facts, MetadataV2, RowsInside, WrappedDek};
use super::pipeline::{self, Block, Feed, Layout, Stopped};
use crate::aead::TAG_LEN;
use crate::{Key256, random};

/// How a snapshot is sealed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SealOptions {
    /// Threads that encrypt, beside one that reads and one that writes; 1, the default, does all on the calling thread.
    pub workers: NonZeroUsize,
    /// How the content is packed first. Default [`Codec::None`].
    pub codec: Codec,
    /// What its end must show. Default [`Trailer::Etcd`].
    pub trailer: Trailer,
}

impl Default for SealOptions {
    fn default() -> Self {
        Self {
            workers: NonZeroUsize::MIN,
            codec: Codec::None,
            trailer: Trailer::Etcd,
        }
    }
}

/// A snapshot that was just sealed.
#[derive(Debug)]
#[non_exhaustive]
pub struct Sealed {
    /// The header that was written.
    pub header: Header,
    /// The content that went in.
    pub content: ContentSummary,
    /// Length of the sealed object in bytes.
    pub len: u64,
    keys: Keys,
}

impl Sealed {
    /// The metadata of this snapshot, taken at `created_at` (RFC 3339), with its DEK as `wrapped_dek`, and its rows if they were
    /// counted.
    #[must_use]
    pub fn metadata(
        &self,
        wrapped_dek: WrappedDek,
        created_at: &str,
        rows: Option<RowsInside>,
    ) -> MetadataV2 {
        let facts = Facts {
            identity: self.header.identity().clone(),
            codec: self.header.codec(),
            created_at: created_at.to_owned(),
            content_len: self.content.len,
            sealed_len: self.len,
            sha256: self.content.sha256,
            rows,
        };
        MetadataV2::new(facts, wrapped_dek, &self.keys.metadata)
    }
}

/// Reads `source` to its end and writes it sealed under `dek`, which must be fresh: a DEK seals one object, once.
///
/// The last chunk is written only if the source came to its end and the end shows what [`SealOptions::trailer`] asks for, so what was
/// written before an error can never be opened as a whole. Memory is bounded by about 0.8 MiB a worker.
///
/// # Errors
/// [`SealError`]; the destination then holds an incomplete object.
pub fn seal(
    source: impl Read + Send,
    mut sink: impl Write,
    dek: &Key256,
    identity: &Identity,
    options: &SealOptions,
) -> Result<Sealed, SealError> {
    let (header, keys) = Header::new(identity.clone(), options.codec, dek, random::array()?);
    sink.write_all(&header.to_bytes())
        .map_err(SealError::Sink)?;
    let cipher = ChunkCipher::new(&keys);
    let chunk_len = header.chunk_len();
    let layout = Layout {
        slot_len: chunk_len,
        gap_len: TAG_LEN,
    };
    let mut len = header.len();
    // The reader knows the totals before it passes the last block on.
    let totals = std::sync::OnceLock::new();
    let content = pipeline::run(
        options.workers,
        layout,
        |feed| produce(source, feed, options, &totals),
        |block| seal_block(&cipher, block, chunk_len, totals.get().copied()),
        |block| {
            len += block.filled().len() as u64;
            sink.write_all(block.filled()).map_err(SealError::Sink)
        },
    )?;
    sink.flush().map_err(SealError::Sink)?;
    Ok(Sealed {
        header,
        content,
        len,
        keys,
    })
}

fn seal_block(
    cipher: &ChunkCipher,
    block: &mut Block,
    chunk_len: usize,
    totals: Option<Totals>,
) -> Result<(), SealError> {
    let (first, is_last) = (block.first_chunk, block.is_last);
    let mut chunks = block
        .chunks_mut(chunk_len + TAG_LEN)
        .zip(first..)
        .peekable();
    while let Some((chunk, index)) = chunks.next() {
        if index >= MAX_CHUNKS {
            return Err(SealError::TooLong {
                limit: MAX_CHUNKS * chunk_len as u64,
            });
        }
        let last = totals.filter(|_| is_last && chunks.peek().is_none());
        cipher.seal(index, last, chunk);
    }
    Ok(())
}

/// Reads, checks and packs the content.
fn produce(
    mut source: impl Read,
    mut feed: Feed<'_>,
    options: &SealOptions,
    totals: &std::sync::OnceLock<Totals>,
) -> Result<ContentSummary, SealError> {
    let mut check = ContentCheck::new(options.trailer);
    let payload = match options.codec {
        Codec::None => {
            copy_plain(&mut source, &mut feed, &mut check)?;
            check.len()
        }
        Codec::Zstd => compressed::copy(&mut source, &mut feed, &mut check)?,
    };
    if check.len() == 0 {
        return Err(SealError::Empty);
    }
    let content = check.finish()?;
    // Set once: this function runs once for each `totals`.
    let _ = totals.set(Totals {
        payload,
        content: content.len,
    });
    match feed.end() {
        Ok(true) => Ok(content),
        Ok(false) => Err(SealError::Empty),
        Err(Stopped) => Err(stopped()),
    }
}

fn copy_plain(
    source: &mut impl Read,
    feed: &mut Feed<'_>,
    check: &mut ContentCheck,
) -> Result<(), SealError> {
    loop {
        let space = feed.space().map_err(|Stopped| stopped())?;
        let count = read(source, space)?;
        if count == 0 {
            return Ok(());
        }
        check.update(space.get(..count).unwrap_or_default());
        feed.filled(count);
    }
}

fn read(source: &mut impl Read, buffer: &mut [u8]) -> Result<usize, SealError> {
    loop {
        match source.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome.map_err(SealError::Source),
        }
    }
}

/// Seen only if the writing side failed, whose error is the one reported.
fn stopped() -> SealError {
    SealError::Sink(io::ErrorKind::BrokenPipe.into())
}

#[cfg(feature = "zstd")]
mod compressed {
    use super::*;

    /// zstd's default: most of the gain at hundreds of megabytes a second.
    const LEVEL: i32 = 3;
    const PIECE_LEN: usize = 128 * 1024;

    /// Copies the content compressed, and gives the length of that.
    pub(super) fn copy(
        source: &mut impl Read,
        feed: &mut Feed<'_>,
        check: &mut ContentCheck,
    ) -> Result<u64, SealError> {
        let sink = FeedSink { feed, len: 0 };
        let mut encoder =
            zstd::stream::write::Encoder::new(sink, LEVEL).map_err(SealError::Compression)?;
        let mut piece = zeroize::Zeroizing::new(vec![0; PIECE_LEN]);
        loop {
            let count = read(source, &mut piece)?;
            if count == 0 {
                break;
            }
            let piece = piece.get(..count).unwrap_or_default();
            check.update(piece);
            encoder.write_all(piece).map_err(SealError::Compression)?;
        }
        let sink = encoder.finish().map_err(SealError::Compression)?;
        Ok(sink.len)
    }

    struct FeedSink<'f, 'b> {
        feed: &'f mut Feed<'b>,
        len: u64,
    }

    impl Write for FeedSink<'_, '_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let space = self
                .feed
                .space()
                .map_err(|Stopped| io::Error::from(io::ErrorKind::BrokenPipe))?;
            let count = space.len().min(bytes.len());
            for (to, from) in space.iter_mut().zip(bytes) {
                *to = *from;
            }
            self.feed.filled(count);
            self.len += count as u64;
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}

#[cfg(not(feature = "zstd"))]
mod compressed {
    use super::*;

    pub(super) fn copy(
        _: &mut impl Read,
        _: &mut Feed<'_>,
        _: &mut ContentCheck,
    ) -> Result<u64, SealError> {
        let error = "this build has no zstd; the cargo feature `zstd` brings it";
        Err(SealError::Compression(io::Error::other(error)))
    }
}
