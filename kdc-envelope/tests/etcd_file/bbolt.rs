//! Writes bbolt files page by page, so that tests can write wrong ones.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use kdc_envelope::etcd_file::{EtcdFile, EtcdFileError, Totals};

pub(crate) const PAGE_SIZE: usize = 1024;
pub(crate) const BRANCH: u16 = 1;
pub(crate) const LEAF: u16 = 2;
/// The page that holds the buckets.
pub(crate) const ROOT: u64 = 2;
/// The first page of the bucket `key` in what [`with_key_bucket`] and [`database`] write.
pub(crate) const FIRST: u64 = 3;

/// One element of a leaf, or of a branch, where the value is the number of a page.
pub(crate) struct Element {
    pub(crate) flags: u32,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

pub(crate) fn entry(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Element {
    Element {
        flags: 0,
        key: key.into(),
        value: value.into(),
    }
}

pub(crate) fn bucket(name: &str, value: Vec<u8>) -> Element {
    Element {
        flags: 1,
        ..entry(name, value)
    }
}

/// The value of a bucket whose tree begins at a page.
pub(crate) fn rooted(page: u64) -> Vec<u8> {
    [page.to_le_bytes(), [0; 8]].concat()
}

pub(crate) fn link(least: impl Into<Vec<u8>>, page: u64) -> Element {
    entry(least, page.to_le_bytes())
}

/// A page as bbolt writes it: header, table of elements, their keys and values. As long as it must be.
pub(crate) fn page(number: u64, flags: u16, elements: &[Element]) -> Vec<u8> {
    let mut table = Vec::new();
    let mut data: Vec<u8> = Vec::new();
    for (index, element) in elements.iter().enumerate() {
        let position = ((elements.len() - index) * 16 + data.len()) as u32;
        let key_len = element.key.len() as u32;
        if flags == BRANCH {
            table.extend([position, key_len].map(u32::to_le_bytes).concat());
            table.extend(&element.value);
            data.extend(&element.key);
        } else {
            let value_len = element.value.len() as u32;
            let words = [element.flags, position, key_len, value_len];
            table.extend(words.map(u32::to_le_bytes).concat());
            data.extend(&element.key);
            data.extend(&element.value);
        }
    }
    let len = 16 + table.len() + data.len();
    let overflow = len.div_ceil(PAGE_SIZE) as u32 - 1;
    let mut page = header(number, flags, elements.len() as u16, overflow);
    page.extend(table);
    page.extend(data);
    page
}

pub(crate) fn header(number: u64, flags: u16, count: u16, overflow: u32) -> Vec<u8> {
    let mut header = number.to_le_bytes().to_vec();
    header.extend(flags.to_le_bytes());
    header.extend(count.to_le_bytes());
    header.extend(overflow.to_le_bytes());
    header
}

/// What a meta page says.
#[derive(Clone, Copy)]
pub(crate) struct Meta {
    pub(crate) page_size: u32,
    pub(crate) root: u64,
    pub(crate) pages: u64,
    pub(crate) transaction: u64,
}

impl Meta {
    pub(crate) fn page(self, number: u64) -> Vec<u8> {
        let mut checked = [0xED0C_DAED, 2, self.page_size, 0]
            .map(u32::to_le_bytes)
            .concat();
        let freelist = u64::MAX;
        let words = [self.root, 0, freelist, self.pages, self.transaction];
        checked.extend(words.map(u64::to_le_bytes).concat());
        let checksum = checked.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut page = header(number, 4, 0, 0);
        page.extend(checked);
        page.extend(checksum.to_le_bytes());
        page.resize(PAGE_SIZE, 0);
        page
    }
}

/// Two meta pages, and then `nodes`, each over as many pages as it needs.
pub(crate) fn file(nodes: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    for node in nodes {
        body.extend(node);
        body.resize(body.len().next_multiple_of(PAGE_SIZE), 0);
    }
    let meta = Meta {
        page_size: PAGE_SIZE as u32,
        root: ROOT,
        pages: 2 + (body.len() / PAGE_SIZE) as u64,
        transaction: 7,
    };
    let older = Meta {
        transaction: 6,
        ..meta
    };
    [older.page(0), meta.page(1), body].concat()
}

/// A file whose bucket `key` begins at page [`FIRST`] and consists of `nodes`.
pub(crate) fn with_key_bucket(nodes: Vec<Vec<u8>>) -> Vec<u8> {
    let buckets = [bucket("alarm", rooted(0)), bucket("key", rooted(FIRST))];
    let mut all = vec![page(ROOT, LEAF, &buckets)];
    all.extend(nodes);
    file(&all)
}

/// A change of a row: its revision, key, and value, or none if it was deleted.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) main: i64,
    pub(crate) sub: i64,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

pub(crate) fn revision(main: i64, sub: i64) -> Vec<u8> {
    [&main.to_be_bytes()[..], b"_", &sub.to_be_bytes()].concat()
}

impl Change {
    pub(crate) fn element(&self) -> Element {
        let mut message = Vec::new();
        put_bytes(&mut message, 1, &self.key);
        let Some(value) = &self.value else {
            return entry([&revision(self.main, self.sub)[..], b"t"].concat(), message);
        };
        message.extend([0x10, 1, 0x18, 1, 0x20, 1]);
        put_bytes(&mut message, 5, value);
        entry(revision(self.main, self.sub), message)
    }
}

fn put_bytes(message: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    message.push(field << 3 | 2);
    let mut len = bytes.len();
    while len > 0x7f {
        message.push(len as u8 | 0x80);
        len >>= 7;
    }
    message.push(len as u8);
    message.extend(bytes);
}

/// A file with these changes in a tree of leaves of `per_leaf` and branches of four links.
pub(crate) fn database(changes: &[Change], per_leaf: usize) -> Vec<u8> {
    let mut sorted = changes.to_vec();
    sorted.sort_by_key(|change| (change.main, change.sub));
    // The root of the tree comes first, so its number is known when the leaves are not.
    let mut nodes: Vec<Vec<u8>> = Vec::new();
    let mut next = FIRST + 1;
    let mut add = |nodes: &mut Vec<Vec<u8>>, flags, elements: &[Element]| {
        let number = next;
        let node = page(number, flags, elements);
        next += node.len().div_ceil(PAGE_SIZE) as u64;
        nodes.push(node);
        link(elements[0].key.clone(), number)
    };
    let mut level: Vec<Element> = sorted
        .chunks(per_leaf)
        .map(|chunk| {
            let elements: Vec<Element> = chunk.iter().map(Change::element).collect();
            add(&mut nodes, LEAF, &elements)
        })
        .collect();
    while level.len() > 4 {
        let chunks = level.chunks(4);
        level = chunks.map(|chunk| add(&mut nodes, BRANCH, chunk)).collect();
    }
    let root = if level.is_empty() {
        page(FIRST, LEAF, &[])
    } else {
        page(FIRST, BRANCH, &level)
    };
    nodes.insert(0, root);
    with_key_bucket(nodes)
}

/// With the SHA-256 of a snapshot at the end.
pub(crate) fn snapshot(mut file: Vec<u8>) -> Vec<u8> {
    use sha2::{Digest as _, Sha256};
    let hash = Sha256::digest(&file);
    file.extend(hash);
    file
}

pub(crate) type Rows = BTreeMap<Vec<u8>, (Vec<u8>, i64)>;

/// All rows with their revisions. Fails the test if one comes twice.
pub(crate) fn read(file: &[u8]) -> Result<(Rows, Totals), EtcdFileError> {
    let mut rows = Rows::new();
    let totals = EtcdFile::open(file)?.for_each_newest_row(
        |_| (),
        |row| {
            let before = rows.insert(row.key.to_vec(), (row.value.to_vec(), row.mod_revision));
            assert!(before.is_none(), "a row came twice");
            ControlFlow::Continue(())
        },
    )?;
    Ok((rows, totals))
}

/// What etcd would answer.
pub(crate) fn expected(changes: &[Change]) -> Rows {
    let mut sorted = changes.to_vec();
    sorted.sort_by_key(|change| (change.main, change.sub));
    let mut rows = Rows::new();
    for change in sorted {
        match change.value {
            Some(value) => rows.insert(change.key, (value, change.main)),
            None => rows.remove(&change.key),
        };
    }
    rows
}
