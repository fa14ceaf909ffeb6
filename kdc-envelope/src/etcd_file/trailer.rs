//! The SHA-256 at the end of a snapshot.

use super::EtcdFileError;
use super::pages::RUN_LEN;
use super::read_at::ReadAt;
use crate::digest::BulkSha256;

/// Bytes of a SHA-256.
pub(super) const LEN: u64 = 32;

/// Whether a file of so many bytes has one: bbolt's own length is a multiple of 512.
pub(super) const fn is_there(len: u64) -> bool {
    len % 512 == LEN
}

/// Compares the last 32 bytes with the SHA-256 of those before. `on_progress` is told how many bytes were read so far.
pub(super) fn check(
    source: &impl ReadAt,
    mut on_progress: impl FnMut(u64),
) -> Result<(), EtcdFileError> {
    let end = source.len().saturating_sub(LEN);
    let mut hash = BulkSha256::new();
    let mut buffer = Vec::new();
    let mut offset = 0;
    while offset < end {
        let len = RUN_LEN.min(end - offset);
        read(source, &mut buffer, offset, len)?;
        hash.update(&buffer);
        offset += len;
        on_progress(offset);
    }
    read(source, &mut buffer, end, LEN)?;
    if hash.finish() == buffer.as_slice() {
        Ok(())
    } else {
        Err(EtcdFileError::Trailer)
    }
}

fn read(
    source: &impl ReadAt,
    buffer: &mut Vec<u8>,
    offset: u64,
    len: u64,
) -> Result<(), EtcdFileError> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    buffer.resize(len, 0);
    source
        .read_exact_at(buffer, offset)
        .map_err(|source| EtcdFileError::Read {
            offset,
            len,
            source,
        })
}
