//! What must be refused, and why.

use kdc_envelope::etcd_file::{EtcdFileError, PageFault};

use crate::bbolt::{
    BRANCH, Change, FIRST, LEAF, Meta, PAGE_SIZE, ROOT, bucket, database, entry, file, header,
    link, page, read, revision, rooted, snapshot, with_key_bucket,
};

fn change(main: i64) -> Change {
    Change {
        main,
        sub: 0,
        key: format!("/registry/{main}").into(),
        value: Some(vec![b'v'; 100]),
    }
}

fn small() -> Vec<u8> {
    database(&(2..40).map(change).collect::<Vec<_>>(), 5)
}

#[track_caller]
fn fault(file: &[u8]) -> (u64, PageFault) {
    match read(file).unwrap_err() {
        EtcdFileError::Page { page, fault } => (page, fault),
        other => panic!("{other}"),
    }
}

#[test]
fn every_truncation_is_refused() {
    let whole = snapshot(small());
    // 32 bytes less are a data file.
    let data_len = whole.len() - 32;
    for len in (0..whole.len()).filter(|len| *len < data_len) {
        let error = read(&whole[..len]).unwrap_err();
        match error {
            EtcdFileError::NoMeta => assert!(len < PAGE_SIZE, "{len}"),
            EtcdFileError::CutOff { needed, .. } => assert_eq!(needed, data_len as u64),
            other => panic!("{len}: {other}"),
        }
    }
}

#[test]
fn every_flipped_bit_of_the_meta_pages_leaves_the_other_one() {
    let whole = small();
    let expected = read(&whole).unwrap();
    for start in [0, PAGE_SIZE] {
        // The number in the header and its count are not read.
        for place in (8..10).chain(16..80).map(|place| start + place) {
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[place] ^= 1 << bit;
                assert_eq!(read(&changed).unwrap(), expected);
                changed[PAGE_SIZE - start + 30] ^= 1;
                let error = read(&changed).unwrap_err();
                assert!(matches!(error, EtcdFileError::NoMeta), "{error}");
            }
        }
    }
}

#[test]
fn meta_pages_with_a_right_checksum_may_lie() {
    let meta = Meta {
        page_size: PAGE_SIZE as u32,
        root: ROOT,
        pages: 2,
        transaction: 9,
    };
    let with = |meta: Meta| {
        let mut file = small();
        let page = meta.page(0);
        file[..80].copy_from_slice(&page[..80]);
        read(&file).unwrap_err()
    };
    assert!(matches!(
        with(Meta {
            pages: u64::MAX,
            ..meta
        }),
        EtcdFileError::CutOff {
            needed: u64::MAX,
            ..
        }
    ));
    assert!(matches!(
        with(meta),
        EtcdFileError::Page {
            page: ROOT,
            fault: PageFault::Outside
        }
    ));
    let pages = (small().len() / PAGE_SIZE) as u64;
    for root in [0, 1, pages, u64::MAX] {
        let error = with(Meta {
            root,
            pages,
            ..meta
        });
        assert!(
            matches!(error, EtcdFileError::Page { page, fault: PageFault::Outside } if page == root),
            "{error}"
        );
    }
    // A page size that is none makes the page invalid; the other one counts.
    for page_size in [0, 1, 1000, 512, 1 << 17, u32::MAX] {
        let mut file = small();
        let lie = Meta { page_size, ..meta };
        file[..80].copy_from_slice(&lie.page(0)[..80]);
        read(&file).unwrap();
    }
}

#[test]
fn other_files_are_told_apart() {
    for other in [&b""[..], b"SQLite format 3\0", &[0; 100_000], &[0xff; 5000]] {
        assert!(matches!(read(other).unwrap_err(), EtcdFileError::NoMeta));
    }
    let no_key = file(&[page(ROOT, LEAF, &[bucket("keys", rooted(0))])]);
    assert!(matches!(
        read(&no_key).unwrap_err(),
        EtcdFileError::NoKeyBucket
    ));
    let empty = file(&[page(ROOT, LEAF, &[])]);
    assert!(matches!(
        read(&empty).unwrap_err(),
        EtcdFileError::NoKeyBucket
    ));
    let no_bucket = file(&[page(ROOT, LEAF, &[entry("key", rooted(FIRST))])]);
    assert_eq!(fault(&no_bucket), (ROOT, PageFault::Bucket));
    for value in [
        vec![],
        vec![1; 15],
        rooted(0),
        [rooted(FIRST), vec![0]].concat(),
    ] {
        let file = file(&[page(ROOT, LEAF, &[bucket("key", value)])]);
        assert_eq!(fault(&file), (ROOT, PageFault::Bucket));
    }
    let inline_branch = page(0, BRANCH, &[link("a", FIRST)]);
    let value = [rooted(0), inline_branch].concat();
    let inline = file(&[page(ROOT, LEAF, &[bucket("key", value)])]);
    assert_eq!(fault(&inline), (ROOT, PageFault::Bucket));
}

#[test]
fn loops_of_links_end() {
    let to_itself = with_key_bucket(vec![page(FIRST, BRANCH, &[link("a", FIRST)])]);
    assert_eq!(fault(&to_itself).1, PageFault::Loop);
    // Enough pages for more rounds than the depth that is followed.
    let mut nodes = vec![page(FIRST, BRANCH, &[link("a", FIRST)])];
    nodes.extend((0..100).map(|number| page(FIRST + 1 + number, LEAF, &[])));
    assert_eq!(fault(&with_key_bucket(nodes)).1, PageFault::Depth);
    let two = [
        page(FIRST, BRANCH, &[link("a", FIRST + 1), link("b", FIRST + 1)]),
        page(FIRST + 1, BRANCH, &[link("a", FIRST), link("b", FIRST)]),
    ];
    assert_eq!(fault(&with_key_bucket(two.to_vec())).1, PageFault::Loop);
    // A tree in which every branch links 60 times to the next one would take forever without a bound.
    let mut nodes: Vec<Vec<u8>> = (0..20)
        .map(|level: u64| {
            let links: Vec<_> = (0..40u8)
                .map(|least| link([least], FIRST + level + 1))
                .collect();
            page(FIRST + level, BRANCH, &links)
        })
        .collect();
    nodes.push(page(FIRST + 20, LEAF, &[]));
    assert_eq!(fault(&with_key_bucket(nodes)).1, PageFault::Loop);
    let to_the_root = with_key_bucket(vec![page(FIRST, BRANCH, &[link("a", ROOT)])]);
    assert!(matches!(
        read(&to_the_root).unwrap_err(),
        EtcdFileError::Revision { page: ROOT }
    ));
}

#[test]
fn a_leaf_that_is_linked_twice_is_out_of_order() {
    let leaf = page(FIRST + 1, LEAF, &[change(5).element()]);
    let twice = [
        link(revision(1, 0), FIRST + 1),
        link(revision(2, 0), FIRST + 1),
    ];
    let file = with_key_bucket(vec![
        page(FIRST, BRANCH, &twice),
        leaf,
        page(FIRST + 2, LEAF, &[]),
    ]);
    assert_eq!(fault(&file), (FIRST + 1, PageFault::Order));
}

#[test]
fn links_lead_to_pages_that_are_there() {
    for number in [0, 1, FIRST + 1, u64::MAX] {
        let file = with_key_bucket(vec![page(FIRST, BRANCH, &[link("a", number)])]);
        assert_eq!(fault(&file), (number, PageFault::Outside));
    }
    let empty = with_key_bucket(vec![page(FIRST, BRANCH, &[])]);
    assert_eq!(fault(&empty), (FIRST, PageFault::Count(0)));
    let misnumbered = with_key_bucket(vec![page(77, LEAF, &[])]);
    assert_eq!(fault(&misnumbered), (FIRST, PageFault::Number(77)));
    for flags in [0, 3, 4, 0x10, 0xffff] {
        let file = with_key_bucket(vec![page(FIRST, flags, &[])]);
        assert_eq!(fault(&file), (FIRST, PageFault::Kind(flags)));
    }
}

#[test]
fn lengths_are_checked_before_anything_is_taken() {
    let with = |page: Vec<u8>| fault(&with_key_bucket(vec![page])).1;
    for overflow in [1, 5, u32::MAX] {
        let page = header(FIRST, LEAF, 0, overflow);
        assert_eq!(with(page), PageFault::Overflow(overflow));
    }
    for flags in [LEAF, BRANCH] {
        assert_eq!(
            with(header(FIRST, flags, u16::MAX, 0)),
            PageFault::Count(u16::MAX)
        );
        assert_eq!(with(header(FIRST, flags, 64, 0)), PageFault::Count(64));
    }
    let good = page(FIRST, LEAF, &[change(2).element(), change(3).element()]);
    // Position, key length and value length of the second element.
    for place in [36, 40, 44] {
        for wrong in [u32::MAX, 1 << 31, 2000] {
            let mut page = good.clone();
            page[place..place + 4].copy_from_slice(&wrong.to_le_bytes());
            assert_eq!(with(page), PageFault::Element(1), "{place}: {wrong}");
        }
    }
    let mut in_table = good.clone();
    in_table[36..40].copy_from_slice(&0u32.to_le_bytes());
    assert_eq!(with(in_table), PageFault::Element(1));
    let mut over_the_next = good;
    let value_len = u32::from_le_bytes(over_the_next[28..32].try_into().unwrap());
    over_the_next[28..32].copy_from_slice(&(value_len + 1).to_le_bytes());
    assert_eq!(with(over_the_next), PageFault::Element(0));
    let mut branch = page(FIRST, BRANCH, &[link("a", 2), link("b", 2)]);
    branch[20..24].copy_from_slice(&2u32.to_le_bytes());
    assert_eq!(with(branch), PageFault::Element(0));
}

#[test]
fn keys_ascend() {
    let with = |nodes| fault(&with_key_bucket(nodes));
    let leaf = |number, mains: &[i64]| {
        let elements: Vec<_> = mains.iter().map(|main| change(*main).element()).collect();
        page(number, LEAF, &elements)
    };
    assert_eq!(with(vec![leaf(FIRST, &[2, 2])]), (FIRST, PageFault::Order));
    assert_eq!(with(vec![leaf(FIRST, &[3, 2])]), (FIRST, PageFault::Order));
    let links = [
        link(revision(2, 0), FIRST + 1),
        link(revision(4, 0), FIRST + 2),
    ];
    let branch = page(FIRST, BRANCH, &links);
    let nodes = vec![branch, leaf(FIRST + 1, &[2, 4]), leaf(FIRST + 2, &[4, 5])];
    assert_eq!(with(nodes), (FIRST + 1, PageFault::Order));
    let branch = page(FIRST, BRANCH, &[link("b", FIRST), link("a", FIRST)]);
    assert_eq!(with(vec![branch]), (FIRST, PageFault::Order));
}

#[test]
fn entries_are_changes_of_rows() {
    let with = |element| read(&with_key_bucket(vec![page(FIRST, LEAF, &[element])])).unwrap_err();
    for key in [
        b"".to_vec(),
        vec![0; 16],
        vec![b'_'; 19],
        revision(-1, 0),
        revision(1, -1),
    ] {
        let error = with(entry(key, ""));
        assert!(
            matches!(error, EtcdFileError::Revision { page: FIRST }),
            "{error}"
        );
    }
    let error = with(entry(revision(5, 1), b"\x0a\x05ab".to_vec()));
    assert_eq!(
        error.to_string(),
        "the row of revision 5.1 is damaged: key at byte 2"
    );
}

#[test]
fn errors_of_reading_say_where() {
    #[derive(Debug)]
    struct Failing;
    impl kdc_envelope::etcd_file::ReadAt for Failing {
        fn len(&self) -> u64 {
            1 << 20
        }
        fn read_exact_at(&self, _: &mut [u8], _: u64) -> std::io::Result<()> {
            Err(std::io::Error::other("gone"))
        }
    }
    let error = kdc_envelope::etcd_file::EtcdFile::open(Failing).unwrap_err();
    assert_eq!(error.to_string(), "cannot read 80 bytes at byte 0");
}
