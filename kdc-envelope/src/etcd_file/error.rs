//! Why a file cannot be read.

use std::io;

/// A file is not one of etcd, or is damaged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EtcdFileError {
    /// Reading failed.
    #[error("cannot read {len} bytes at byte {offset}")]
    Read {
        /// Where, in bytes from the start of the file.
        offset: u64,
        /// How many bytes were to be read.
        len: usize,
        /// What went wrong.
        source: io::Error,
    },
    /// Neither of the two places has a bbolt meta page with a right checksum.
    #[error(
        "no valid bbolt meta page: not a snapshot or data file of etcd, or damaged at its start"
    )]
    NoMeta,
    /// Pages that the meta page counts are missing at the end.
    #[error("the file is cut off: it has {len} bytes, but its pages take {needed}")]
    CutOff {
        /// Bytes in the file, without the SHA-256 of a snapshot.
        len: u64,
        /// Bytes that all pages take.
        needed: u64,
    },
    /// A page does not hold what bbolt writes.
    #[error("page {page} is damaged: {fault}")]
    Page {
        /// The number of the page. It begins at this number times the page size.
        page: u64,
        /// What is wrong with it.
        fault: PageFault,
    },
    /// A bbolt database, but none of etcd 3.
    #[error("there is no bucket `key`: a bbolt file, but not one of etcd")]
    NoKeyBucket,
    /// A key in the bucket `key` is no revision.
    #[error("page {page} is damaged: a key in the bucket `key` is no revision")]
    Revision {
        /// The number of the page.
        page: u64,
    },
    /// A row is no `mvccpb.KeyValue`.
    #[error("the row of revision {main}.{sub} is damaged: {field} at byte {offset}")]
    KeyValue {
        /// The main revision.
        main: i64,
        /// The place in the transaction.
        sub: i64,
        /// The field in question.
        field: &'static str,
        /// Where the field begins in the row, in bytes.
        offset: usize,
    },
    /// The SHA-256 at the end of a snapshot is not that of the rest.
    #[error("the SHA-256 at the end is not that of the rest: the snapshot was changed or cut off")]
    Trailer,
}

/// What is wrong with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PageFault {
    /// A link leads out of the file, or to a meta page.
    #[error("a link leads to a page that does not exist")]
    Outside,
    /// The page says that it is another one.
    #[error("it holds the number {0}")]
    Number(u64),
    /// The page has other contents than those that were looked for.
    #[error("it is neither a branch nor a leaf (flags {0:#x})")]
    Kind(u16),
    /// The page goes on beyond the file or further than any row needs.
    #[error("it goes on over {0} more pages, more than there are or than are read at once")]
    Overflow(u32),
    /// The table of elements does not fit into the page.
    #[error("its {0} elements do not fit into it")]
    Count(u16),
    /// The key or value of an element lies outside of the page or inside of another element.
    #[error("element {0} lies outside of it or inside of another element")]
    Element(usize),
    /// The keys do not ascend from element to element, or from page to page.
    #[error("its keys are not in order with those that follow")]
    Order,
    /// More levels of branches than any etcd has.
    #[error("it lies too deep, as in a loop of links")]
    Depth,
    /// More pages were visited than there are.
    #[error("a link leads to a page that was visited before")]
    Loop,
    /// A bucket is not one.
    #[error("its bucket `key` has no valid root")]
    Bucket,
}
