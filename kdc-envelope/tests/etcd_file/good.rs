//! What must be read, and read right.

use std::cell::Cell;
use std::ops::ControlFlow;

use kdc_envelope::etcd_file::{EtcdFile, EtcdFileError};

use crate::bbolt::{
    BRANCH, Change, FIRST, LEAF, Meta, PAGE_SIZE, ROOT, bucket, database, expected, file, link,
    page, read, rooted, snapshot, with_key_bucket,
};

fn put(main: i64, key: &str, value: impl Into<Vec<u8>>) -> Change {
    Change {
        main,
        sub: 0,
        key: key.into(),
        value: Some(value.into()),
    }
}

fn delete(main: i64, key: &str) -> Change {
    Change {
        value: None,
        ..put(main, key, "")
    }
}

fn many() -> Vec<Change> {
    let mut changes: Vec<Change> = (0..500)
        .map(|number| {
            let key = format!("/registry/secrets/default/{}", number % 180);
            put(
                number + 2,
                &key,
                vec![b'v'; usize::try_from(number).unwrap() % 90],
            )
        })
        .collect();
    changes.push(delete(600, "/registry/secrets/default/7"));
    changes.push(delete(601, "/registry/secrets/default/8"));
    changes.push(put(602, "/registry/secrets/default/8", "again"));
    changes
}

#[test]
fn the_newest_change_of_a_key_is_its_row() {
    let changes = many();
    let (rows, totals) = read(&database(&changes, 7)).unwrap();
    assert_eq!(rows, expected(&changes));
    assert_eq!(
        rows[&b"/registry/secrets/default/8"[..]],
        (b"again".to_vec(), 602)
    );
    assert!(!rows.contains_key(&b"/registry/secrets/default/7"[..]));
    assert_eq!(
        (totals.revision, totals.rows, totals.changes),
        (602, 179, 503)
    );
}

#[test]
fn changes_of_one_transaction_count_in_order() {
    let mut first = put(5, "a", "first");
    let mut second = put(5, "a", "second");
    (first.sub, second.sub) = (0, 1);
    let (rows, _) = read(&database(&[second, first], 9)).unwrap();
    assert_eq!(rows[&b"a"[..]].0, b"second");
}

#[test]
fn long_rows_overflow_into_more_pages() {
    let changes: Vec<Change> = (0..40)
        .map(|number: u8| {
            put(
                i64::from(number) + 2,
                &format!("k{number}"),
                vec![number; 50 << number.min(12)],
            )
        })
        .collect();
    for per_leaf in [1, 2, 4] {
        let (rows, _) = read(&database(&changes, per_leaf)).unwrap();
        assert_eq!(rows, expected(&changes));
    }
}

#[test]
fn a_bucket_may_be_empty_or_inline() {
    let (rows, totals) = read(&database(&[], 1)).unwrap();
    assert_eq!((rows.len(), totals.revision), (0, 0));
    let inline = page(
        0,
        LEAF,
        &[put(2, "a", "x").element(), put(3, "a", "y").element()],
    );
    let value = [rooted(0), inline].concat();
    let (rows, _) = read(&file(&[page(ROOT, LEAF, &[bucket("key", value)])])).unwrap();
    assert_eq!(rows[&b"a"[..]], (b"y".to_vec(), 3));
}

#[test]
fn a_bucket_is_found_below_branches() {
    let root = page(
        ROOT,
        BRANCH,
        &[link("alarm", 4), link("key", 5), link("lease", 6)],
    );
    let first = page(FIRST, LEAF, &[put(2, "a", "x").element()]);
    let buckets = |number, name| page(number, LEAF, &[bucket(name, rooted(FIRST))]);
    let nodes = [
        root,
        first,
        buckets(4, "alarm"),
        buckets(5, "key"),
        buckets(6, "lease"),
    ];
    let (rows, _) = read(&file(&nodes)).unwrap();
    assert_eq!(rows.len(), 1);
}

#[test]
fn what_etcdutl_leaves_to_raise_the_revision_is_no_row() {
    let marker = put(900, "", "");
    let mut element = marker.element();
    element.value.clear();
    let leaf = page(FIRST, LEAF, &[put(2, "a", "x").element(), element]);
    let (rows, totals) = read(&with_key_bucket(vec![leaf])).unwrap();
    assert_eq!((rows.len(), totals.rows, totals.revision), (1, 1, 900));
}

#[test]
fn the_newest_valid_meta_page_counts() {
    let changes = many();
    let good = database(&changes, 7);
    let nothing = Meta {
        page_size: PAGE_SIZE as u32,
        root: 99_999,
        pages: 5,
        transaction: 3,
    };
    // An older one is not looked at, whichever place it has.
    let mut older_first = good.clone();
    older_first[..PAGE_SIZE].copy_from_slice(&nothing.page(0));
    assert_eq!(read(&older_first).unwrap().0, expected(&changes));
    let (one, two) = good.split_at(PAGE_SIZE);
    let mut older_second = [&two[..PAGE_SIZE], &nothing.page(1)].concat();
    older_second.extend(&good[one.len() + PAGE_SIZE..]);
    assert_eq!(read(&older_second).unwrap().0, expected(&changes));
    // One may be torn.
    for torn in [0, PAGE_SIZE] {
        let mut file = good.clone();
        file[torn + 40] ^= 1;
        assert_eq!(read(&file).unwrap().0, expected(&changes));
    }
}

#[test]
fn a_snapshot_is_known_by_its_trailer() {
    let data = database(&many(), 7);
    let file = EtcdFile::open(&data[..]).unwrap();
    assert!(!file.is_snapshot());
    assert!(!file.check_trailer(|_| ()).unwrap());
    let mut snapshot = snapshot(data.clone());
    let last = Cell::new(0);
    let file = EtcdFile::open(&snapshot[..]).unwrap();
    assert!(file.is_snapshot());
    assert!(file.check_trailer(|read| last.set(read)).unwrap());
    assert_eq!(last.get(), data.len() as u64);
    assert_eq!(read(&snapshot).unwrap(), read(&data).unwrap());
    for place in [PAGE_SIZE * 3, snapshot.len() - 1] {
        snapshot[place] ^= 1;
        let error = EtcdFile::open(&snapshot[..])
            .unwrap()
            .check_trailer(|_| ())
            .unwrap_err();
        assert!(matches!(error, EtcdFileError::Trailer));
        snapshot[place] ^= 1;
    }
}

#[test]
fn progress_ascends_to_the_length_and_a_break_ends() {
    let data = database(&many(), 7);
    let file = EtcdFile::open(&data[..]).unwrap();
    let mut before = 0;
    let on_progress = |read| {
        assert!(read > before && read <= file.pages_len());
        before = read;
    };
    let mut rows = 0;
    let totals = file
        .for_each_newest_row(on_progress, |_| {
            rows += 1;
            if rows == 10 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .unwrap();
    assert_eq!((rows, totals.rows), (10, 10));
    assert!(before > 0);
}

#[test]
fn key_usage_counts_rows_under_a_prefix() {
    let sealed = [b"k8s:enc:aesgcm:v1:key1:".as_slice(), &[0; 40]].concat();
    let changes = [
        put(2, "/registry/secrets/a/a", sealed.clone()),
        put(3, "/registry/secrets/a/b", sealed.clone()),
        put(4, "/registry/secrets/a/b", "{}"),
        put(5, "/registry/secrets/a/c", sealed.clone()),
        delete(6, "/registry/secrets/a/c"),
        put(7, "/other", sealed),
    ];
    let data = database(&changes, 2);
    let usage = EtcdFile::open(&data[..])
        .unwrap()
        .key_usage(b"/registry/", |_| ())
        .unwrap();
    assert_eq!((usage.totals.rows, usage.rows.rows()), (3, 2));
    let groups: Vec<_> = usage
        .rows
        .groups()
        .iter()
        .map(|group| {
            (
                group.provider.as_str(),
                group.resource.as_deref(),
                group.rows,
            )
        })
        .collect();
    assert_eq!(
        groups,
        [("aesgcm", None, 1), ("identity", Some("secrets"), 1)]
    );
}
