use super::page::render;
use super::report::Report;
use super::survey::Survey;
use crate::backup::bucket::Entry;
use crate::backup::state::tests::{Sample, entry, known, v2};
use crate::backup::state::{State, judge};
use crate::page::escape;

const DAY: u64 = 86_400;
const NOW: u64 = 1_790_000_000;

fn report(survey: &Survey) -> Report {
    Report::new(survey, "s3://b/<x>".to_owned(), 1, NOW)
}

/// A year of snapshots: an outer key that was rotated, an inner one that was too, and some of each trouble.
fn year() -> Survey {
    let mut survey = Survey::default();
    for day in 0..365 {
        for cluster in ["prod", "test & <b>\"x\"</b>"] {
            let inner = match day {
                0..100 => vec![("key-v1", 5)],
                100..120 => vec![("key-v1", 2), ("key-v2", 3)],
                _ => vec![("key-v2", 7)],
            };
            let sample = Sample {
                cluster,
                id: &format!("s-{day}"),
                created: NOW - (365 - day) * DAY,
                version: u32::try_from(day / 90 + 1).unwrap(),
                inner: Some(inner),
            };
            survey.add(&known(&sample));
        }
    }
    survey.add(&known(&Sample {
        inner: None,
        ..Sample::default()
    }));
    let orphan = Entry {
        data: known(&Sample::default()).entry.data,
        cluster: "prod".to_owned(),
        id: "orphan".to_owned(),
        modified: NOW,
        ..Entry::default()
    };
    survey.add(&judge(orphan, None));
    let plaintext = Entry {
        plaintext_db: Some("prod/<script>alert(1)</script>.db".to_owned()),
        ..Entry::default()
    };
    survey.add(&judge(plaintext, None));
    survey
}

#[test]
fn each_key_version_is_told_with_what_needs_it_and_since_when() {
    let survey = year();
    let json = serde_json::to_value(report(&survey)).unwrap();
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
    assert_eq!(survey.count(State::is_complete), 2 * 365 + 1);
}

/// Early releases wrote down 0 for what lies under another prefix than `/registry/`.
#[test]
fn a_count_of_no_rows_says_nothing_about_inner_keys() {
    let mut survey = Survey::default();
    for inner in [Some(vec![]), None] {
        survey.add(&known(&Sample {
            inner,
            ..Sample::default()
        }));
    }
    let json = serde_json::to_value(report(&survey)).unwrap();
    assert_eq!(json["innerKeysUnknown"]["snapshots"], 2);
    assert!(json["innerKeys"].as_array().unwrap().is_empty());
}

#[test]
fn damaged_rows_that_name_no_key_may_need_any() {
    let sample = Sample::default();
    let mut json = v2(&sample);
    json["rows"] = serde_json::json!({"total": 6, "groups": [
        {"provider": "identity", "rows": 3},
        {"provider": "kms-v2", "rows": 2},
        {"provider": "aesgcm", "name": "key1", "rows": 1},
    ]});
    let mut survey = Survey::default();
    survey.add(&judge(entry(&sample), Some(json.to_string().as_bytes())));
    assert_eq!(survey.inner_unknown.rows, 2);
    let named: Vec<_> = survey
        .inner
        .keys()
        .map(|key| key.provider.as_str())
        .collect();
    assert_eq!(named, ["aesgcm", "identity"]);
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
    assert_well_formed(&render(&report(&Survey::default())));
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
fn memory_does_not_grow_with_hostile_names() {
    let mut survey = Survey::default();
    for number in 0..6000_u32 {
        survey.add(&known(&Sample {
            version: number + 1,
            cluster: &format!("c{number}"),
            created: u64::from(number) * DAY,
            inner: Some(vec![("same", 1)]),
            ..Sample::default()
        }));
    }
    assert_eq!(survey.outer.len(), 4096);
    assert_eq!(survey.beyond, 6000 - 4096);
    let (_, need) = survey.inner.first_key_value().unwrap();
    assert_eq!(
        (need.snapshots, need.days.len(), need.clusters.len()),
        (6000, 2048, 2048)
    );
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
