//! `kdc backup list`, `inventory` and `prune` on a folder and on S3.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use kdc_testbed::fixtures::SnapshotSample;
use serde_json::{Value, json};

use crate::backup_fixture::{BackupFixture, Place};

const DAY: u64 = 86_400;

/// A complete snapshot of `days` ago.
fn add(backups: &BackupFixture, cluster: &str, id: &str, days: u64, version: u32) {
    add_with(backups, cluster, id, days, version, |_| {});
}

fn add_with(
    backups: &BackupFixture,
    cluster: &str,
    id: &str,
    days: u64,
    version: u32,
    edit: impl FnOnce(&mut Value),
) {
    let created = now() - Duration::from_secs(days * DAY);
    let since = created.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let sample = SnapshotSample {
        cluster,
        id,
        created: since.as_secs(),
        version,
        inner: None,
    };
    let mut metadata = sample.metadata();
    metadata["contentLength"] = json!(3);
    metadata["sealedLength"] = json!(4);
    metadata["rows"] = json!({"total": 2, "groups": [{"provider": "kms-v2", "name": "bao", "keyId": "bao-v3-x", "version": 3, "rows": 2}]});
    edit(&mut metadata);
    let folder = backups.file(&format!("{cluster}/{id}"));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("snapshot.db.enc"), "data").unwrap();
    fs::write(folder.join("dek.wrapped"), format!("vault:v{version}:AAAA")).unwrap();
    fs::write(folder.join("metadata.json"), metadata.to_string()).unwrap();
}

#[expect(
    clippy::disallowed_methods,
    reason = "files have ages by the real clock"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

/// Snapshots of two clusters, and one of each trouble.
fn filled(place: Place) -> BackupFixture {
    let backups = BackupFixture::new(place);
    for (id, days, version) in [("p-1", 40, 1), ("p-2", 20, 1), ("p-3", 1, 2)] {
        add(&backups, "prod", id, days, version);
    }
    add(&backups, "test", "t-1", 300, 1);
    add_with(&backups, "test", "t-2", 1, 1, |json| {
        json["schemaVersion"] = 9.into()
    });
    add_with(&backups, "test", "t-3", 1, 1, |json| {
        json["transitKeyVersion"] = 7.into()
    });
    fs::create_dir_all(backups.file("prod/p-orphan")).unwrap();
    fs::write(backups.file("prod/p-orphan/snapshot.db.enc"), "half").unwrap();
    fs::write(backups.file("prod/old.db"), "plain").unwrap();
    fs::write(backups.file("readme"), "x").unwrap();
    backups
}

fn age(path: &Path) {
    let long_ago = now() - Duration::from_secs(3 * DAY);
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(long_ago).unwrap();
}

#[test]
fn list_tells_the_state_of_each_snapshot_in_a_folder() {
    listed(&filled(Place::Folder));
}

#[test]
fn list_tells_the_state_of_each_snapshot_in_s3() {
    listed(&filled(Place::S3));
}

fn listed(backups: &BackupFixture) {
    let json = backups.run("list", &["--output", "json"]).succeeds().json();
    let states: Vec<(&str, &str)> = json
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            let name = line.get("object").unwrap_or_else(|| &line["snapshot"]);
            (name.as_str().unwrap(), line["state"].as_str().unwrap())
        })
        .collect();
    for expected in [
        ("p-1", "completeV2"),
        ("p-orphan", "orphan"),
        ("prod/old.db", "plaintext"),
        ("t-2", "unknownSchema"),
        ("t-3", "versionMismatch"),
    ] {
        assert!(states.contains(&expected), "{states:?}");
    }
    assert_eq!(states.len(), 8);
    let text = backups
        .run("list", &["--cluster", "prod"])
        .succeeds()
        .text();
    assert!(
        text.contains("transit/snapshots v2") && text.contains("NOT ENCRYPTED"),
        "{text}"
    );
    assert!(!text.contains("t-1"));
}

#[test]
fn inventory_tells_which_versions_are_needed_in_a_folder() {
    inventoried(&filled(Place::Folder));
}

#[test]
fn inventory_tells_which_versions_are_needed_in_s3() {
    inventoried(&filled(Place::S3WithTls));
}

fn inventoried(backups: &BackupFixture) {
    let run = backups.run("inventory", &["--html", "page.html", "--output", "json"]);
    // Some do not tell which key they need, so that nothing follows for any key.
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(
        run.stderr
            .contains("3 could not be read, among them `prod/p-orphan`"),
        "{}",
        run.stderr
    );
    let again = backups.run("inventory", &["--html", "page.html"]);
    again.fails(73, "--html: `page.html` exists");
    let json = run.json();
    let outer = json["outerKeys"].as_array().unwrap();
    let counts: Vec<_> = outer
        .iter()
        .map(|key| {
            (
                key["version"].as_u64().unwrap(),
                key["snapshots"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(counts, [(1, 3), (2, 1)]);
    assert_eq!(outer[0]["oldest"]["snapshot"], "test/t-1");
    assert_eq!(json["innerKeys"][0]["rows"], 8);
    assert_eq!(json["outerKeyUnknown"]["snapshots"], 3);
    // One for each snapshot that has metadata.
    assert_eq!(json["reads"], 6);
    let page = String::from_utf8(backups.fixture.read("page.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("transit/snapshots v2"));
    let text = backups.run("inventory", &[]).text();
    assert!(text.contains("kms-v2 bao bao-v3-x v3"), "{text}");
}

#[test]
fn prune_deletes_from_a_folder_only_what_no_rule_keeps_and_only_when_told() {
    pruned(&filled(Place::Folder));
}

#[test]
fn prune_deletes_from_s3_only_what_no_rule_keeps_and_only_when_told() {
    pruned(&filled(Place::S3));
}

fn pruned(backups: &BackupFixture) {
    let prune = |more: &[&str]| {
        let more = [&["--output", "json"], more].concat();
        let json = backups.run("prune", &more).succeeds().json();
        let lines = json["delete"].as_array().unwrap();
        let names = lines
            .iter()
            .map(|line| line["snapshot"].as_str().unwrap().to_owned());
        names.collect::<Vec<String>>()
    };
    let rules = ["--keep-last", "1", "--keep-within", "30d"];
    assert_eq!(prune(&rules), ["p-1"]);
    assert!(backups.has("prod/p-1/metadata.json"));
    assert_eq!(prune(&[&rules[..], &["--yes"]].concat()), ["p-1"]);
    assert!(!backups.has("prod/p-1"));
    assert_eq!(prune(&[&rules[..], &["--yes"]].concat()), [""; 0]);
    assert_eq!(prune(&["--orphans", "--yes"]), [""; 0]);
    age(&backups.file("prod/p-orphan/snapshot.db.enc"));
    assert_eq!(prune(&["--orphans", "--yes"]), ["p-orphan"]);
    for kept in [
        "prod/p-2",
        "prod/p-3",
        "test/t-1",
        "test/t-2",
        "test/t-3",
        "prod/old.db",
        "readme",
    ] {
        assert!(backups.has(kept), "{kept}");
    }
}

#[test]
fn bad_input_is_one_line() {
    let backups = filled(Place::Folder);
    let fails = |arguments: &[&str], code: i32, words: &str| {
        let mut all = vec!["backup"];
        all.extend(arguments);
        backups.fixture.kdc(&all).fails(code, words);
    };
    fails(
        &["list", "--bucket", "missing"],
        66,
        "cannot read `missing`",
    );
    fails(&["list", "--bucket", "s3://"], 64, "--bucket");
    fails(
        &["list", "--bucket", "bucket", "--cluster", "../x"],
        64,
        "--cluster",
    );
    fails(
        &["list", "--bucket", "bucket", "--s3-region", "x"],
        64,
        "--s3-region",
    );
    fails(&["prune", "--bucket", "bucket"], 64, "--keep-last");
    fails(
        &["prune", "--bucket", "bucket", "--keep-last", "0"],
        64,
        "--keep-last",
    );
    let http = [
        "list",
        "--bucket",
        "s3://b",
        "--s3-endpoint",
        "http://127.0.0.1:1",
    ];
    fails(&http, 64, "--s3-allow-http");
    let no_file = ["inventory", "--bucket", "bucket", "--html", "no/page.html"];
    fails(&no_file, 73, "--html");
    backups.fixture.write("page.html", "by another client");
    let taken = ["inventory", "--bucket", "bucket", "--html", "page.html"];
    fails(&taken, 73, "exists already");
}

#[test]
fn the_unit_in_deploy_is_understood() {
    let backups = filled(Place::Folder);
    let unit =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/backup/kdc-backup-prune.service");
    let unit = fs::read_to_string(unit).unwrap();
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .unwrap();
    let bucket = "/var/backups/etcd";
    assert!(unit.contains(&format!("ReadWritePaths={bucket}")));
    let line = line.replace(bucket, "bucket");
    let arguments: Vec<&str> = line.split(' ').skip(1).collect();
    age(&backups.file("prod/p-orphan/snapshot.db.enc"));
    backups.fixture.kdc(&arguments).succeeds();
    assert!(!backups.has("prod/p-orphan") && backups.has("prod/p-1"));
}
