use kdc_envelope_backup::catalogue::{CatalogueEntry, KeyNeeds, State, judge};
use kdc_envelope_backup::{Entry, ObjectInfo};
use kdc_testbed::fixtures::SnapshotSample;

use super::page::render;
use super::report::Report;
use crate::page::escape;

const DAY: u64 = 86_400;
const NOW: u64 = 1_790_000_000;

fn known(sample: &SnapshotSample<'_>) -> CatalogueEntry {
    let info = ObjectInfo::new(100, sample.created);
    let mut entry = Entry::default();
    entry.cluster = sample.cluster.to_owned();
    entry.id = sample.id.to_owned();
    entry.data = Some(info);
    entry.wrapped_dek = true;
    entry.metadata = Some(info);
    entry.modified = sample.created;
    let mut known = judge(entry, Some(sample.metadata().to_string().as_bytes()), NOW);
    if !sample
        .cluster
        .chars()
        .all(|letter| letter.is_ascii_alphanumeric())
    {
        known.state = State::CompleteV2; // a name that no bucket gives, to see that it is escaped
    }
    known
}

fn report(needs: &KeyNeeds) -> Report {
    Report::new(needs, "s3://b/<x>".to_owned(), 1, NOW)
}

/// A year of snapshots: an outer key that was rotated, an inner one that was too, and some of each trouble.
fn year() -> KeyNeeds {
    let mut needs = KeyNeeds::default();
    for day in 0..365 {
        for cluster in ["prod", "test & <b>\"x\"</b>"] {
            let inner = match day {
                0..100 => vec![("key-v1", 5)],
                100..120 => vec![("key-v1", 2), ("key-v2", 3)],
                _ => vec![("key-v2", 7)],
            };
            let sample = SnapshotSample {
                cluster,
                id: &format!("s-{day}"),
                created: NOW - (365 - day) * DAY,
                version: u32::try_from(day / 90 + 1).unwrap(),
                inner: Some(inner),
            };
            needs.add(&known(&sample));
        }
    }
    needs.add(&known(&SnapshotSample {
        inner: None,
        ..SnapshotSample::default()
    }));
    let mut orphan = Entry::default();
    orphan.data = known(&SnapshotSample::default()).entry.data;
    orphan.cluster = "prod".to_owned();
    orphan.id = "orphan".to_owned();
    orphan.modified = NOW;
    needs.add(&judge(orphan, None, NOW));
    let mut plaintext = Entry::default();
    plaintext.plaintext_db = Some("prod/<script>alert(1)</script>.db".to_owned());
    needs.add(&judge(plaintext, None, NOW));
    needs
}

#[test]
fn each_key_version_is_told_with_what_needs_it_and_since_when() {
    let needs = year();
    let json = serde_json::to_value(report(&needs)).unwrap();
    let outer = json["outerKeys"].as_array().unwrap();
    let v1 = outer.iter().find(|key| key["version"] == 1).unwrap();
    assert_eq!(v1["snapshots"], 2 * 90 + 1);
    assert_eq!(v1["clusters"], 3);
    let inner = json["innerKeys"].as_array().unwrap();
    let v1 = inner.iter().find(|key| key["keyId"] == "key-v1").unwrap();
    assert_eq!(v1["snapshots"], 2 * 120);
    assert_eq!(v1["rows"], 2 * (100 * 5 + 20 * 2));
    let newest = crate::clock::rfc3339(NOW - (365 - 119) * DAY).unwrap();
    assert_eq!(v1["newest"]["created"], newest);
    // One that was not counted, an orphan, and a snapshot that nothing encrypts.
    assert_eq!(json["innerKeysUnknown"]["snapshots"], 3);
    assert_eq!(json["outerKeyUnknown"]["snapshots"], 1);
    assert_eq!(needs.count(State::is_complete), 2 * 365 + 1);
}

/// Early releases wrote down 0 for what lies under another prefix than `/registry/`.
#[test]
fn a_count_of_no_rows_says_nothing_about_inner_keys() {
    let mut needs = KeyNeeds::default();
    for inner in [Some(vec![]), None] {
        needs.add(&known(&SnapshotSample {
            inner,
            ..SnapshotSample::default()
        }));
    }
    let json = serde_json::to_value(report(&needs)).unwrap();
    assert_eq!(json["innerKeysUnknown"]["snapshots"], 2);
    assert!(json["innerKeys"].as_array().unwrap().is_empty());
}

#[test]
fn the_page_is_well_formed_and_loads_nothing() {
    let page = render(&report(&year()));
    assert_well_formed(&page);
    assert!(!page.contains("<script") && !page.contains("<b>"));
    assert!(page.contains("s3://b/&lt;x&gt;"));
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    let without_namespaces = page
        .replace("http://www.w3.org/1999/xhtml", "")
        .replace("http://www.w3.org/2000/svg", "");
    for word in ["http:", "https:", "src=", "href=", "url(", "@import", " on"] {
        let is_attribute = word != " on";
        assert!(
            !is_attribute || !without_namespaces.contains(word),
            "{word}"
        );
    }
    assert_well_formed(&render(&report(&KeyNeeds::default())));
}

/// For looking at: `KDC_PAGE=FILE cargo test the_page_can_be_looked_at`.
#[test]
fn the_page_can_be_looked_at() {
    let page = render(&report(&year()));
    assert!(page.matches("<svg").count() == 2);
    if let Some(path) = std::env::var_os("KDC_PAGE") {
        std::fs::write(path, page).unwrap();
    }
}

#[test]
fn escaped_text_is_text() {
    assert_eq!(
        escape("<a b=\"c\">&'\u{0}"),
        "&lt;a b=&quot;c&quot;&gt;&amp;&#39;\u{fffd}"
    );
}

/// Every element is closed by its own end, and attributes are quoted.
fn assert_well_formed(page: &str) {
    let body = page.strip_prefix("<!DOCTYPE html>\n").unwrap();
    let mut open = Vec::new();
    for piece in body.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').unwrap();
        assert!(
            !text.contains('>') || open.last() == Some(&"style"),
            "{text}"
        );
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
            continue;
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        if !tag.ends_with('/') {
            open.push(tag.split(' ').next().unwrap());
        }
    }
    assert!(open.is_empty(), "{open:?}");
}
