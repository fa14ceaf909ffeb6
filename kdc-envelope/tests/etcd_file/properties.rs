//! Any changes are read as etcd would, and any damage ends in an error or in fewer rows, never in a panic.

use proptest::prelude::*;

use crate::bbolt::{Change, FIRST, PAGE_SIZE, database, expected, read};

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let value = proptest::option::weighted(0.8, proptest::collection::vec(any::<u8>(), 0..300));
    let revisions = (1..1000i64, 0..3i64);
    let rows = proptest::collection::btree_map(revisions, ("[a-f]{1,2}", value), 0..80);
    rows.prop_map(|rows| {
        let rows = rows.into_iter();
        rows.map(|((main, sub), (key, value))| Change {
            main,
            sub,
            key: key.into_bytes(),
            value,
        })
        .collect()
    })
}

proptest! {
    #[test]
    fn rows_are_those_of_etcd(changes in changes(), per_leaf in 1..9usize) {
        let (rows, totals) = read(&database(&changes, per_leaf)).unwrap();
        prop_assert_eq!(totals.changes, changes.len() as u64);
        prop_assert_eq!(totals.rows, rows.len() as u64);
        prop_assert_eq!(totals.revision, changes.iter().map(|change| change.main).max().unwrap_or(0));
        prop_assert_eq!(rows, expected(&changes));
    }

    #[test]
    fn damage_never_panics(
        changes in changes(),
        per_leaf in 1..9usize,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let mut file = database(&changes, per_leaf);
        let pages = 2 * PAGE_SIZE..file.len();
        for (place, byte) in damage {
            let place = pages.start + place.index(pages.len());
            file[place] = byte;
        }
        let _ = read(&file);
    }

    #[test]
    fn damage_of_headers_and_tables_never_panics(
        changes in changes(),
        page in FIRST..FIRST + 12,
        place in 0..64usize,
        bytes in any::<[u8; 4]>(),
    ) {
        let mut file = database(&changes, 5);
        let start = page as usize * PAGE_SIZE + place;
        if let Some(place) = file.get_mut(start..start + 4) {
            place.copy_from_slice(&bytes);
        }
        let _ = read(&file);
    }

    #[test]
    fn anything_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
        prop_assert!(read(&bytes).is_err());
    }
}
