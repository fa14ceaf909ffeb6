//! Opening a stream of version 2.

use core::num::NonZeroUsize;
use std::io::{self, Read, Write};

use super::chunk::{ChunkCipher, MAX_CHUNKS, Totals};
use super::codec::Codec;
use super::content::{ContentCheck, ContentSummary, Trailer};
use super::error::OpenError;
use super::header::{Header, Keys};
use super::metadata::{MetadataError, MetadataV2};
use super::output::{CheckedSink, Output};
use super::pipeline::{self, Block, Feed, Layout, Stopped};
use crate::Key256;
use crate::aead::TAG_LEN;

/// What the caller expects of a snapshot, compared with its header before anything is opened.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Expected {
    /// The cluster; a snapshot of another one is refused.
    pub cluster: Option<String>,
    /// The id of the snapshot.
    pub snapshot: Option<String>,
    /// Length of the content in bytes, as authentic metadata states it. Needed for compressed snapshots, which are not
    /// unpacked beyond it.
    pub content_len: Option<u64>,
}

impl Expected {
    /// The snapshot `snapshot` of `cluster`.
    #[must_use]
    pub fn new(cluster: &str, snapshot: &str) -> Self {
        Self {
            cluster: Some(cluster.to_owned()),
            snapshot: Some(snapshot.to_owned()),
            content_len: None,
        }
    }

    /// The same with the length of the content.
    #[must_use]
    pub const fn with_content_len(mut self, len: u64) -> Self {
        self.content_len = Some(len);
        self
    }

    fn check(&self, header: &Header) -> Result<(), OpenError> {
        let identity = header.identity();
        let fields = [
            ("the cluster", &self.cluster, identity.cluster()),
            ("the id", &self.snapshot, identity.snapshot()),
        ];
        for (field, expected, found) in fields {
            if let Some(expected) = expected.as_ref().filter(|expected| *expected != found) {
                return Err(OpenError::OtherIdentity {
                    field,
                    found: found.to_owned(),
                    expected: expected.clone(),
                });
            }
        }
        Ok(())
    }
}

/// A header that belongs to a DEK and is what the caller expects.
#[derive(Debug)]
pub struct Unlocked {
    pub(super) header: Header,
    pub(super) keys: Keys,
}

impl Unlocked {
    /// Reads the header of a sealed object, and checks that `dek` sealed it and that it is what was `expected`.
    ///
    /// # Errors
    /// [`OpenError`] of the header; nothing of the payload was read.
    pub fn read_from(
        source: &mut impl Read,
        dek: &Key256,
        expected: &Expected,
    ) -> Result<Self, OpenError> {
        let header = Header::read_from(source)?;
        let keys = header.keys(dek)?;
        expected.check(&header)?;
        Ok(Self { header, keys })
    }

    /// Whether all of `metadata` but the wrapped DEK is as it was written when this snapshot was sealed.
    ///
    /// # Errors
    /// [`MetadataError::Mac`] if it was changed, or belongs to another snapshot.
    pub fn check(&self, metadata: &MetadataV2) -> Result<(), MetadataError> {
        metadata.check(
            self.header.identity(),
            self.header.codec(),
            &self.keys.metadata,
        )
    }

    /// The header, authentic by now.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }
}

/// How a snapshot is opened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OpenOptions {
    /// Threads that decrypt, beside one that reads and one that writes; 1, the default, does all on the calling thread.
    pub workers: NonZeroUsize,
    /// What the end of the content must show. Default [`Trailer::Etcd`].
    pub trailer: Trailer,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            workers: NonZeroUsize::MIN,
            trailer: Trailer::Etcd,
        }
    }
}

/// Opens a sealed object from its first to its last byte.
///
/// Each chunk is authentic when it is written, but only the return of this function says that the snapshot is whole: keep what was
/// written private until then, and throw it away after an error. Memory is bounded by about 0.8 MiB a worker.
///
/// # Errors
/// [`OpenError`].
pub fn open(
    mut source: impl Read + Send,
    sink: impl Write,
    dek: &Key256,
    expected: &Expected,
    options: &OpenOptions,
) -> Result<(Unlocked, ContentSummary), OpenError> {
    let unlocked = Unlocked::read_from(&mut source, dek, expected)?;
    let content = open_payload(&unlocked, source, sink, expected, options)?;
    Ok((unlocked, content))
}

fn open_payload(
    unlocked: &Unlocked,
    mut source: impl Read + Send,
    sink: impl Write,
    expected: &Expected,
    options: &OpenOptions,
) -> Result<ContentSummary, OpenError> {
    let Unlocked { header, keys } = unlocked;
    let chunks = Chunks {
        cipher: ChunkCipher::new(keys),
        sealed_len: header.chunk_len() + TAG_LEN,
        header_len: header.len(),
        content_len: match header.codec() {
            Codec::None => None,
            Codec::Zstd => Some(expected.content_len.ok_or(OpenError::Content {
                what: "length, needed to unpack it,",
            })?),
        },
    };
    let layout = Layout {
        slot_len: chunks.sealed_len,
        gap_len: 0,
    };
    let limit = expected.content_len.unwrap_or(u64::MAX);
    let checked = CheckedSink::new(sink, ContentCheck::new(options.trailer), limit);
    let mut output = Output::new(header.codec(), checked)?;
    pipeline::run(
        options.workers,
        layout,
        |feed| produce(&mut source, feed, header.len()),
        |block| chunks.open_block(block),
        |block| {
            chunks
                .payloads(block)
                .try_for_each(|payload| output.write(payload))
        },
    )?;
    let content = output.finish()?;
    match expected.content_len {
        Some(len) if len != content.len => Err(OpenError::Content { what: "length" }),
        _ => Ok(content),
    }
}

struct Chunks {
    cipher: ChunkCipher,
    sealed_len: usize,
    header_len: u64,
    /// Of compressed content.
    content_len: Option<u64>,
}

impl Chunks {
    fn open_block(&self, block: &mut Block) -> Result<(), OpenError> {
        let (first, is_last, sealed_len) = (block.first_chunk, block.is_last, self.sealed_len);
        let mut chunks = block.chunks_mut(sealed_len).zip(first..).peekable();
        while let Some((chunk, index)) = chunks.next() {
            let offset = self
                .header_len
                .saturating_add(index.saturating_mul(sealed_len as u64));
            // No last chunk is empty: an empty snapshot is never sealed.
            if index >= MAX_CHUNKS || chunk.len() <= TAG_LEN {
                return Err(OpenError::Authentication { offset });
            }
            let is_last = is_last && chunks.peek().is_none();
            let payload = index * (sealed_len - TAG_LEN) as u64 + (chunk.len() - TAG_LEN) as u64;
            let totals = is_last.then(|| Totals {
                payload,
                content: self.content_len.unwrap_or(payload),
            });
            self.cipher.open(index, totals, chunk, offset)?;
        }
        Ok(())
    }

    fn payloads<'b>(&self, block: &'b Block) -> impl Iterator<Item = &'b [u8]> {
        block
            .chunks(self.sealed_len)
            .filter_map(|chunk| chunk.split_last_chunk::<TAG_LEN>())
            .map(|(payload, _)| payload)
    }
}

fn produce(source: &mut impl Read, mut feed: Feed<'_>, header_len: u64) -> Result<(), OpenError> {
    loop {
        let space = feed.space().map_err(|Stopped| stopped())?;
        match source.read(space) {
            Ok(0) => break,
            Ok(count) => feed.filled(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(OpenError::Source(error)),
        }
    }
    match feed.end() {
        Ok(true) => Ok(()),
        Ok(false) => Err(OpenError::Authentication { offset: header_len }),
        Err(Stopped) => Err(stopped()),
    }
}

/// Seen only if the writing side failed, whose error is the one reported.
fn stopped() -> OpenError {
    OpenError::Sink(io::ErrorKind::BrokenPipe.into())
}
