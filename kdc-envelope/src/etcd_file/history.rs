//! Changes from the newest to the oldest, and which of them are rows.

use core::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::collections::HashSet;
use std::hash::RandomState;

use super::EtcdFileError;
use super::key_value;
use super::page::Entry;
use crate::reader::{ReadError, Reader};

/// A row as etcd would answer with it at the newest revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row<'a> {
    /// The etcd key.
    pub key: &'a [u8],
    /// The stored bytes.
    pub value: &'a [u8],
    /// The revision of the row's last change; Kubernetes shows it as resourceVersion.
    pub mod_revision: i64,
}

/// What was seen on the way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// The newest revision; 0 if nothing was ever written.
    pub revision: i64,
    /// Rows at the newest revision.
    pub rows: u64,
    /// Changes of rows that were not compacted, the rows themselves included.
    pub changes: u64,
}

/// Tells rows from older changes. Takes 17 to 35 bytes of memory for each key that was ever seen.
#[derive(Debug, Default)]
pub(super) struct History {
    seen: Seen,
    totals: Totals,
}

impl History {
    pub(super) const fn totals(&self) -> Totals {
        self.totals
    }

    /// Takes the entries of the bucket `key`, the last one first. Gives the row, if the change is one.
    pub(super) fn take<'a>(
        &mut self,
        page: u64,
        entry: Entry<'a>,
    ) -> Result<Option<Row<'a>>, EtcdFileError> {
        let change = Change::parse(&entry).ok_or(EtcdFileError::Revision { page })?;
        let (main, sub) = (change.main, change.sub);
        if self.totals.changes == 0 {
            self.totals.revision = main;
        }
        self.totals.changes += 1;
        let (key, value) =
            key_value::parse(entry.value).map_err(|error| EtcdFileError::KeyValue {
                main,
                sub,
                field: error.field,
                offset: error.offset,
            })?;
        // An empty key is what `etcdutl snapshot restore --bump-revision` leaves to raise the revision.
        if key.is_empty() || !self.seen.insert(key) || change.is_deletion {
            return Ok(None);
        }
        self.totals.rows += 1;
        Ok(Some(Row {
            key,
            value,
            mod_revision: main,
        }))
    }
}

/// A key of the bucket `key`.
struct Change {
    main: i64,
    sub: i64,
    is_deletion: bool,
}

impl Change {
    fn parse(entry: &Entry<'_>) -> Option<Self> {
        let read = || {
            let mut reader = Reader::new(entry.key);
            let main = reader.u64()?;
            let separator = reader.u8()?;
            Ok::<_, ReadError>((main, separator, reader.u64()?, reader.remaining()))
        };
        let (main, separator, sub, mark) = read().ok()?;
        let is_deletion = match mark {
            b"" => false,
            b"t" => true,
            _ => return None,
        };
        if separator != b'_' || entry.is_bucket {
            return None;
        }
        Some(Self {
            main: i64::try_from(main).ok()?,
            sub: i64::try_from(sub).ok()?,
            is_deletion,
        })
    }
}

/// Keys that were seen, by a hash of 128 bits under random keys: two of a billion keys share one with a chance below 2^-68, and
/// no writer of rows can make them do so.
#[derive(Debug, Default)]
struct Seen {
    halves: [RandomState; 2],
    hashes: HashSet<u128, BuildHasherDefault<Fold>>,
}

impl Seen {
    /// Whether the key is new.
    fn insert(&mut self, key: &[u8]) -> bool {
        let [high, low] = self.halves.each_ref().map(|half| half.hash_one(key));
        self.hashes.insert(u128::from(high) << 64 | u128::from(low))
    }
}

/// The hash of what is one already: half of it.
#[derive(Debug, Default)]
struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    #[expect(clippy::cast_possible_truncation, reason = "a half is what it takes")]
    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &[u8], is_bucket: bool) -> Option<(i64, i64, bool)> {
        let entry = Entry {
            is_bucket,
            key,
            value: &[],
        };
        Change::parse(&entry).map(|change| (change.main, change.sub, change.is_deletion))
    }

    #[test]
    fn a_key_is_a_revision_or_refused() {
        let key = b"\0\0\0\0\0\0\x01\x02_\0\0\0\0\0\0\0\x03";
        assert_eq!(change(key, false), Some((0x102, 3, false)));
        assert_eq!(
            change(&[key, &b"t"[..]].concat(), false),
            Some((0x102, 3, true))
        );
        assert_eq!(change(key, true), None);
        assert_eq!(change(&[key, &b"x"[..]].concat(), false), None);
        assert_eq!(change(&key[..16], false), None);
        assert_eq!(
            change(b"\xff\0\0\0\0\0\x01\x02_\0\0\0\0\0\0\0\x03", false),
            None
        );
        assert_eq!(
            change(b"\0\0\0\0\0\0\x01\x02-\0\0\0\0\0\0\0\x03", false),
            None
        );
    }

    #[test]
    fn a_key_is_new_once() {
        let mut seen = Seen::default();
        for number in 0..1000u32 {
            assert!(seen.insert(&number.to_le_bytes()));
        }
        for number in 0..1000u32 {
            assert!(!seen.insert(&number.to_le_bytes()));
        }
        assert!(seen.insert(b""));
    }
}
