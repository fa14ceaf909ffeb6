//! `kdc backup` on files that a real etcd wrote.

use kdc_testbed::Etcd;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::fixture::{Fixture, runtime};

/// Rows under two keys, a local provider and plain ones; some were changed, one was deleted.
fn fill(runtime: &Runtime, etcd: &Etcd, fixture: &Fixture) {
    let put = |key: &str, value: &[u8]| runtime.block_on(etcd.put(key, value)).unwrap();
    let old = fixture.row(b"old");
    for number in 0..20 {
        put(&format!("/registry/secrets/default/s{number:03}"), &old);
    }
    fixture.kdc(&["keyring", "add", "keyring"]).succeeds();
    fixture.kdc(&["keyring", "promote", "keyring"]).succeeds();
    for number in 0..5 {
        put(
            &format!("/registry/secrets/default/s{number:03}"),
            &fixture.row(b"new"),
        );
    }
    put("/registry/configmaps/default/plain", b"k8s\0plain");
    let local = [b"k8s:enc:aesgcm:v1:key1:".as_slice(), &[0; 40]].concat();
    put("/registry/configmaps/default/gcm", &local);
    put("/registry2/secrets/outside", &old);
    runtime
        .block_on(etcd.delete("/registry/secrets/default/s019"))
        .unwrap();
}

fn scan(fixture: &Fixture, file: &str, more: &[&str]) -> Value {
    let scan = ["backup", "scan", file, "--output", "json"];
    fixture.kdc(&[&scan[..], more].concat()).succeeds().json()
}

#[test]
fn a_scan_counts_what_etcd_answered() {
    let runtime = runtime();
    let fixture = Fixture::with_keyring();
    let mut etcd = runtime.block_on(Etcd::start()).unwrap();
    fill(&runtime, &etcd, &fixture);
    etcd.save_snapshot(&fixture.path("etcd.db")).unwrap();
    let seen = scan(&fixture, "etcd.db", &["--verify"]);
    let inspect = ["value", "inspect", "--output", "json", "--etcd-prefix", ""];
    let live = [&inspect[..], &["--etcd-endpoints", etcd.endpoint()]].concat();
    let live = fixture.kdc(&live).succeeds().json();
    assert_eq!(
        (&seen["groups"], &seen["rows"]),
        (&live["groups"], &live["rows"])
    );
    assert_eq!(
        (&seen["isSnapshot"], &seen["isVerified"]),
        (&true.into(), &true.into())
    );
    assert_eq!(
        (&seen["totalRows"], &seen["totalChanges"]),
        (&22.into(), &29.into())
    );
    let versions: Vec<_> = seen["groups"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|group| group["provider"] == "kms-v2")
        .map(|group| (group["version"].as_u64(), group["rows"].as_u64()))
        .collect();
    assert_eq!(versions, [(Some(1), Some(15)), (Some(2), Some(5))]);

    let text = fixture
        .kdc(&["backup", "scan", "etcd.db"])
        .succeeds()
        .text();
    assert!(text.starts_with("snapshot: revision "), "{text}");
    assert!(text.contains("identity (configmaps)"), "{text}");
    let line = "22 rows in all, of API servers under /registry, /registry2\n";
    assert!(text.ends_with(line), "{text}");
    assert_eq!(
        seen["prefixes"],
        serde_json::json!(["/registry", "/registry2"])
    );
    let some = scan(&fixture, "etcd.db", &["--prefix", "/registry/"]);
    assert_eq!(
        (&some["rows"], &some["notLookedAt"]),
        (&21.into(), &1.into())
    );

    runtime.block_on(etcd.process().kill()).unwrap();
    let data = etcd.folder().join("data/member/snap/db");
    let data = scan(&fixture, data.to_str().unwrap(), &[]);
    assert_eq!(
        (&data["groups"], &data["isSnapshot"]),
        (&seen["groups"], &false.into())
    );
}

#[test]
fn what_cannot_be_counted_is_refused_in_one_line() {
    let runtime = runtime();
    let fixture = Fixture::new();
    let etcd = runtime.block_on(Etcd::start()).unwrap();
    runtime
        .block_on(etcd.put("/registry/secrets/a/b", b"k8s:enc:new:v1:"))
        .unwrap();
    etcd.save_snapshot(&fixture.path("etcd.db")).unwrap();
    let scan =
        |file: &str, more: &[&str]| fixture.kdc(&[&["backup", "scan", file][..], more].concat());
    scan("etcd.db", &[]).fails(65, "first the one at `/registry/secrets/a/b`");
    scan("etcd.db", &["--prefix", "/other/"]).fails(
        66,
        "has 1 rows, but none under `/other/`; API servers have objects under /registry",
    );
    let whole = fixture.read("etcd.db");
    fixture.write("cut.db", &whole[..whole.len() - 4096]);
    scan("cut.db", &[]).fails(65, "`cut.db`: the file is cut off");
    fixture.write("no-trailer.db", &whole[..whole.len() - 32]);
    scan("no-trailer.db", &["--verify"]).fails(65, "--verify: `no-trailer.db` ends in no SHA-256");
    let mut changed = whole;
    *changed.last_mut().unwrap() ^= 1;
    fixture.write("changed.db", changed);
    scan("changed.db", &["--verify"]).fails(65, "`changed.db`: the SHA-256 at the end");
    fixture.write("text.db", "no database");
    scan("text.db", &[]).fails(65, "no valid bbolt meta page");
    fixture.write("empty.db", "");
    scan("empty.db", &[]).fails(65, "no snapshot or data file of etcd, but empty");
    scan("none.db", &[]).fails(66, "cannot read `none.db`");
    scan(".", &[]).fails(66, "cannot read `.`");
    scan("/dev/null", &[]).fails(74, "no regular file");
    fixture.kdc(&["backup", "scan"]).fails(64, "<FILE>");
}

/// As with OpenShift, whose API server has `/kubernetes.io`, or with several in one etcd.
#[test]
fn rows_under_any_prefix_are_counted_and_their_keys_known() {
    let runtime = runtime();
    let fixture = Fixture::with_keyring();
    let etcd = runtime.block_on(Etcd::start()).unwrap();
    let row = fixture.row(b"object");
    runtime.block_on(async {
        for key in [
            "/tenant_a/secrets/default/db",
            "/kubernetes.io/secrets/default/db",
        ] {
            etcd.put(key, &row).await.unwrap();
        }
    });
    etcd.save_snapshot(&fixture.path("etcd.db")).unwrap();
    let to = ["--bucket", "bucket", "--keyring", "keyring", "--cluster"];
    let seal = ["backup", "seal", "etcd.db", "--output", "json"];
    let sealed = fixture.kdc(&[&seal[..], &to, &["sealed"]].concat()).json();
    assert_eq!(sealed["rows"]["total"], 2);
    let run = [
        "backup",
        "run",
        "--output",
        "json",
        "--etcd-endpoints",
        etcd.endpoint(),
    ];
    let taken = fixture.kdc(&[&run[..], &to, &["taken"]].concat()).json();
    assert_eq!(taken["rows"]["groups"], sealed["rows"]["groups"]);
    let inventory = [
        "backup",
        "inventory",
        "--bucket",
        "bucket",
        "--output",
        "json",
    ];
    let seen = fixture.kdc(&inventory).succeeds().json();
    let keys = seen["innerKeys"].as_array().unwrap();
    assert_eq!(keys.len(), 1);
    assert_eq!(
        (&keys[0]["rows"], &keys[0]["snapshots"]),
        (&4.into(), &2.into())
    );
    let list = fixture.kdc(&["keyring", "list", "keyring", "--output", "json"]);
    assert_eq!(keys[0]["keyId"], list.json()["versions"][0]["keyId"]);
    assert_eq!(seen["innerKeysUnknown"]["snapshots"], 0);
    let text = fixture
        .kdc(&["backup", "scan", "etcd.db"])
        .succeeds()
        .text();
    let line = "2 rows in all, of API servers under /kubernetes.io, /tenant_a\n";
    assert!(text.ends_with(line), "{text}");
}

#[test]
fn a_file_without_rows_is_said_to_be_one() {
    let runtime = runtime();
    let fixture = Fixture::new();
    let etcd = runtime.block_on(Etcd::start()).unwrap();
    etcd.save_snapshot(&fixture.path("etcd.db")).unwrap();
    fixture.kdc(&["backup", "scan", "etcd.db"]).fails(
        66,
        "`etcd.db` has no rows: nothing was ever written to this etcd",
    );
}
