//! Pages by their number, read in runs.

use super::meta::Meta;
use super::page::{HEADER_LEN, Header};
use super::read_at::ReadAt;
use super::{EtcdFileError, PageFault};
use crate::reader::Reader;

/// How much is read at once where pages that are needed soon lie before the one that is needed now.
pub(super) const RUN_LEN: u64 = 256 << 10;
/// The longest page with all that overflows. bbolt puts up to four rows into one however long they are, so this allows
/// for rows of 32 MiB; etcd takes 1.5 MiB unless it was told otherwise, and warns above 10 MiB.
const MAX_NODE_LEN: u64 = 128 << 20;

/// The pages of a file, of which a run is in memory.
pub(super) struct Pages<'s, R> {
    source: &'s R,
    meta: Meta,
    run: Vec<u8>,
    /// The number of the first page in `run`.
    first: u64,
    visited: u64,
    on_progress: &'s mut dyn FnMut(u64),
}

impl<'s, R: ReadAt> Pages<'s, R> {
    /// `on_progress` is told the bytes of all pages that were visited so far.
    pub(super) fn new(source: &'s R, meta: Meta, on_progress: &'s mut dyn FnMut(u64)) -> Self {
        Self {
            source,
            meta,
            run: Vec::new(),
            first: 0,
            visited: 0,
            on_progress,
        }
    }

    /// How many pages fit into a run.
    pub(super) const fn per_run(&self) -> u64 {
        RUN_LEN / self.meta.page_size
    }

    /// A page with all that overflows. If it has to be read, then with those from `from` on, which may be needed next.
    ///
    /// Counts the page as visited: a tree leads to each page once, so more visits than pages mean a loop.
    pub(super) fn node(&mut self, number: u64, from: u64) -> Result<&[u8], EtcdFileError> {
        let fault = |fault| EtcdFileError::Page {
            page: number,
            fault,
        };
        if !(2..self.meta.pages).contains(&number) {
            return Err(fault(PageFault::Outside));
        }
        if !self.holds(number, number + 1) {
            self.run.clear();
            self.first = from.clamp(2, number);
            self.read_up_to(number + 1)?;
        }
        let header = Header::read(&mut Reader::new(self.slice(number, HEADER_LEN as u64)))
            .map_err(|_| fault(PageFault::Count(0)))?;
        let count = 1 + u64::from(header.overflow);
        let end = number + count;
        let len = count * self.meta.page_size;
        if end > self.meta.pages || len > MAX_NODE_LEN {
            return Err(fault(PageFault::Overflow(header.overflow)));
        }
        self.visited += count;
        if self.visited > self.meta.pages {
            return Err(fault(PageFault::Loop));
        }
        (self.on_progress)(self.visited * self.meta.page_size);
        if !self.holds(number, end) {
            self.read_up_to(end)?;
        }
        Ok(self.slice(number, len))
    }

    fn end(&self) -> u64 {
        self.first + self.run.len() as u64 / self.meta.page_size
    }

    fn holds(&self, number: u64, end: u64) -> bool {
        self.first <= number && end <= self.end()
    }

    /// `len` bytes from the start of page `number`; nothing if they are not in the run.
    fn slice(&self, number: u64, len: u64) -> &[u8] {
        let start = number
            .checked_sub(self.first)
            .map(|pages| pages * self.meta.page_size);
        let range = start.and_then(|start| {
            let end = usize::try_from(start + len).ok()?;
            self.run.get(usize::try_from(start).ok()?..end)
        });
        range.unwrap_or_default()
    }

    /// Makes the run longer, up to the page before `end`.
    fn read_up_to(&mut self, end: u64) -> Result<(), EtcdFileError> {
        let old_len = self.run.len();
        let offset = self.first * self.meta.page_size + old_len as u64;
        let missing = (end * self.meta.page_size).saturating_sub(offset);
        // Bounded by `MAX_NODE_LEN` and `RUN_LEN`, and by the length of the file.
        let len = usize::try_from(missing).unwrap_or(usize::MAX);
        self.run.resize(old_len.saturating_add(len), 0);
        let buffer = self.run.get_mut(old_len..).unwrap_or_default();
        let read = self.source.read_exact_at(buffer, offset);
        read.map_err(|source| {
            self.run.truncate(old_len);
            EtcdFileError::Read {
                offset,
                len,
                source,
            }
        })
    }
}
