//! The two meta pages, of which the newest valid one counts.

use super::EtcdFileError;
use super::page::{HEADER_LEN, Header, META};
use super::read_at::ReadAt;
use crate::reader::{ReadError, Reader};

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// From the magic number up to the checksum.
const CHECKED_LEN: usize = 56;
const LEN: usize = HEADER_LEN + CHECKED_LEN + 8;
const MIN_PAGE_SIZE: u64 = 1 << 10;
const MAX_PAGE_SIZE: u64 = 1 << 16;

/// What a meta page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    /// Bytes in a page: a power of two.
    pub(super) page_size: u64,
    /// The root page of the bucket that holds the buckets.
    pub(super) root: u64,
    /// The number of pages, used and free.
    pub(super) pages: u64,
    /// The transaction that wrote it.
    transaction: u64,
}

/// Finds the meta page that counts. The second one lies at the page size, which is tried out if the first one does not tell it.
pub(super) fn newest(source: &impl ReadAt) -> Result<Meta, EtcdFileError> {
    let first = read(source, 0)?;
    let second = match first {
        Some(first) => {
            read(source, first.page_size)?.filter(|meta| meta.page_size == first.page_size)
        }
        None => alone(source)?,
    };
    let newest = first
        .into_iter()
        .chain(second)
        .max_by_key(|meta| meta.transaction);
    newest.ok_or(EtcdFileError::NoMeta)
}

/// The second meta page of a file whose first one is damaged.
fn alone(source: &impl ReadAt) -> Result<Option<Meta>, EtcdFileError> {
    let mut size = MIN_PAGE_SIZE;
    while size <= MAX_PAGE_SIZE {
        let meta = read(source, size)?.filter(|meta| meta.page_size == size);
        if meta.is_some() {
            return Ok(meta);
        }
        size *= 2;
    }
    Ok(None)
}

/// The meta page at `offset`, if there is a valid one.
fn read(source: &impl ReadAt, offset: u64) -> Result<Option<Meta>, EtcdFileError> {
    let mut bytes = [0; LEN];
    if offset + LEN as u64 > source.len() {
        return Ok(None);
    }
    source
        .read_exact_at(&mut bytes, offset)
        .map_err(|source| EtcdFileError::Read {
            offset,
            len: LEN,
            source,
        })?;
    Ok(parse(&bytes).unwrap_or_default())
}

fn parse(bytes: &[u8; LEN]) -> Result<Option<Meta>, ReadError> {
    let mut reader = Reader::new(bytes);
    let header = Header::read(&mut reader)?;
    let checked = reader.clone().take(CHECKED_LEN)?;
    let magic = reader.u32_le()?;
    let version = reader.u32_le()?;
    let page_size = u64::from(reader.u32_le()?);
    let _flags = reader.u32_le()?;
    let root = reader.u64_le()?;
    let _sequence = reader.u64_le()?;
    let _freelist = reader.u64_le()?;
    let pages = reader.u64_le()?;
    let transaction = reader.u64_le()?;
    let checksum = reader.u64_le()?;
    let is_valid = header.flags == META
        && magic == MAGIC
        && version == VERSION
        && checksum == fnv1a(checked)
        && page_size.is_power_of_two()
        && (MIN_PAGE_SIZE..=MAX_PAGE_SIZE).contains(&page_size)
        && pages >= 2;
    Ok(is_valid.then_some(Meta {
        page_size,
        root,
        pages,
        transaction,
    }))
}

/// FNV-1a, 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::fnv1a;

    #[test]
    fn fnv1a_has_its_published_values() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
