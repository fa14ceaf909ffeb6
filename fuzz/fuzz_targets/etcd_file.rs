//! Files of etcd: no panic and no endless walk, and rows that come once.
#![no_main]

use std::collections::HashSet;
use std::ops::ControlFlow;

use kdc_envelope::etcd_file::{EtcdFile, EtcdFileError};
use libfuzzer_sys::fuzz_target;

const PAGE_SIZE: usize = 1024;

fuzz_target!(|bytes: &[u8]| {
    let _ = read(bytes);
    // Right meta pages and a right root lead past the first checks, to pages that say anything.
    let mut pages = bytes.to_vec();
    pages.resize(pages.len().next_multiple_of(PAGE_SIZE), 0);
    for (number, page) in pages.chunks_mut(PAGE_SIZE).enumerate() {
        // Mostly the right number; a page may still say that it is another one.
        if page[7] == 0 {
            page[..8].copy_from_slice(&(number as u64 + 3).to_le_bytes());
        }
    }
    let _ = read(&kdc_fuzz::etcd_file(&pages, PAGE_SIZE));
});

fn read(file: &[u8]) -> Result<(), EtcdFileError> {
    let mut seen = HashSet::new();
    let totals = EtcdFile::open(file)?.for_each_newest_row(
        |read| assert!(read <= file.len() as u64),
        |row| {
            assert!(seen.insert(row.key.to_vec()), "a row came twice");
            ControlFlow::Continue(())
        },
    )?;
    assert_eq!(totals.rows, seen.len() as u64);
    assert!(totals.rows <= totals.changes);
    EtcdFile::open(file)?.key_usage(b"", |_| ())?;
    Ok(())
}
