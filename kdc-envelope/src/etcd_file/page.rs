//! One page: its header and its elements, without copying.

use super::PageFault;
use crate::reader::{ReadError, Reader};

pub(super) const HEADER_LEN: usize = 16;
pub(super) const META: u16 = 0x04;
const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const ELEMENT_LEN: usize = 16;
/// The flag of a leaf element whose value is a bucket.
const BUCKET: u32 = 0x01;

/// What every page begins with. All numbers are little endian, as on every machine that etcd supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) number: u64,
    pub(super) flags: u16,
    count: u16,
    /// How many of the pages that follow continue this one.
    pub(super) overflow: u32,
}

impl Header {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(Self {
            number: reader.u64_le()?,
            flags: reader.u16_le()?,
            count: reader.u16_le()?,
            overflow: reader.u32_le()?,
        })
    }
}

/// A page of a tree with all that overflows, or the page inside of an inline bucket.
#[derive(Debug, Clone, Copy)]
pub(super) enum Page<'a> {
    Branch(Branch<'a>),
    Leaf(Leaf<'a>),
}

/// Links to pages, each with the least key below it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Branch<'a>(Elements<'a>);

/// Keys and values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaf<'a>(Elements<'a>);

#[derive(Debug, Clone, Copy)]
struct Elements<'a> {
    bytes: &'a [u8],
    count: u16,
}

/// A key and its value, or the bucket under a name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) is_bucket: bool,
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
}

impl<'a> Page<'a> {
    /// Looks at a page that `number` links to; the one of an inline bucket has the number 0.
    pub(super) fn parse(bytes: &'a [u8], number: u64) -> Result<Self, PageFault> {
        let header = Header::read(&mut Reader::new(bytes))
            .map_err(|ReadError { .. }| PageFault::Count(0))?;
        if header.number != number {
            return Err(PageFault::Number(header.number));
        }
        let count = header.count;
        let elements = Elements { bytes, count };
        if HEADER_LEN + usize::from(count) * ELEMENT_LEN > bytes.len() {
            return Err(PageFault::Count(count));
        }
        match header.flags {
            BRANCH if count > 0 => Ok(Self::Branch(Branch(elements))),
            BRANCH => Err(PageFault::Count(count)),
            LEAF => Ok(Self::Leaf(Leaf(elements))),
            flags => Err(PageFault::Kind(flags)),
        }
    }
}

impl<'a> Elements<'a> {
    /// A reader at the start of element `index` of the table.
    fn element(&self, index: usize) -> Result<Reader<'a>, PageFault> {
        let start = HEADER_LEN + index * ELEMENT_LEN;
        let fault = PageFault::Element(index);
        let rest = self.bytes.get(start..).ok_or(fault)?;
        Ok(Reader::at(rest, start))
    }

    /// What `element` says lies `position` bytes after its own start: `len` bytes, after the table and before `end`.
    fn data(
        &self,
        index: usize,
        position: u32,
        len: u64,
        end: usize,
    ) -> Result<&'a [u8], PageFault> {
        let fault = PageFault::Element(index);
        let table_end = HEADER_LEN + usize::from(self.count) * ELEMENT_LEN;
        let place = usize::try_from(position)
            .ok()
            .zip(usize::try_from(len).ok());
        let (position, len) = place.ok_or(fault)?;
        let start = (HEADER_LEN + index * ELEMENT_LEN)
            .checked_add(position)
            .ok_or(fault)?;
        let data_end = start.checked_add(len).ok_or(fault)?;
        if start < table_end || data_end > end {
            return Err(fault);
        }
        self.bytes.get(start..data_end).ok_or(fault)
    }
}

impl<'a> Leaf<'a> {
    /// All entries, the last one first, each checked not to overlap the one after it and to be less.
    pub(super) fn last_first(self) -> impl Iterator<Item = Result<Entry<'a>, PageFault>> {
        let mut end = self.0.bytes.len();
        let mut next: Option<&[u8]> = None;
        (0..usize::from(self.0.count)).rev().map(move |index| {
            let (entry, start) = self.entry(index, end)?;
            if next.is_some_and(|next| entry.key >= next) {
                return Err(PageFault::Order);
            }
            (next, end) = (Some(entry.key), start);
            Ok(entry)
        })
    }

    /// The entry, and where its data begins in the page. Its data must end before `end`.
    fn entry(&self, index: usize, end: usize) -> Result<(Entry<'a>, usize), PageFault> {
        let fault = |ReadError { .. }| PageFault::Element(index);
        let mut reader = self.0.element(index)?;
        let flags = reader.u32_le().map_err(fault)?;
        let position = reader.u32_le().map_err(fault)?;
        let key_len = reader.u32_le().map_err(fault)?;
        let value_len = reader.u32_le().map_err(fault)?;
        let len = u64::from(key_len) + u64::from(value_len);
        let data = self.0.data(index, position, len, end)?;
        let key_len = usize::try_from(key_len).map_err(|_| PageFault::Element(index))?;
        let (key, value) = data
            .split_at_checked(key_len)
            .ok_or(PageFault::Element(index))?;
        let entry = Entry {
            is_bucket: flags & BUCKET != 0,
            key,
            value,
        };
        let start = HEADER_LEN + index * ELEMENT_LEN + position as usize;
        Ok((entry, start))
    }
}

impl<'a> Branch<'a> {
    /// All links with their least keys in order, checked not to overlap and to ascend.
    pub(super) fn links(&self) -> Result<Vec<(&'a [u8], u64)>, PageFault> {
        let mut links: Vec<(&[u8], u64)> = Vec::with_capacity(usize::from(self.0.count));
        let mut end = self.0.bytes.len();
        for index in (0..usize::from(self.0.count)).rev() {
            let fault = |ReadError { .. }| PageFault::Element(index);
            let mut reader = self.0.element(index)?;
            let position = reader.u32_le().map_err(fault)?;
            let key_len = reader.u32_le().map_err(fault)?;
            let number = reader.u64_le().map_err(fault)?;
            let key = self.0.data(index, position, key_len.into(), end)?;
            if links.last().is_some_and(|(next, _)| key >= *next) {
                return Err(PageFault::Order);
            }
            end = HEADER_LEN + index * ELEMENT_LEN + position as usize;
            links.push((key, number));
        }
        links.reverse();
        Ok(links)
    }
}
