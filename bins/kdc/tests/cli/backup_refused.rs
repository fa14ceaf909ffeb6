//! What `kdc backup` refuses: each with one line, and nothing left behind.

use std::fs;

use crate::backup_fixture::{BackupFixture, Place};
use crate::fixture::{Fixture, Run};

/// A bucket with `saved.db` sealed as snapshot `one` of cluster `prod`.
fn sealed(place: Place) -> BackupFixture {
    let backups = BackupFixture::new(place);
    backups.save_snapshot();
    seal(&backups, "saved.db", "one", &[]).succeeds();
    backups
}

fn seal(backups: &BackupFixture, file: &str, id: &str, more: &[&str]) -> Run {
    backups.on_prod("seal", &[&[file, "--snapshot", id], more].concat())
}

fn open_as(backups: &BackupFixture, cluster: &str, id: &str, out: &str) -> Run {
    let open = ["--cluster", cluster, "--snapshot", id, "--out", out];
    backups.run_with_key("open", &open)
}

fn open(backups: &BackupFixture, cluster: &str, id: &str) -> Run {
    open_as(backups, cluster, id, "out.db")
}

/// Whether snapshot `id` left nothing in the bucket.
fn is_clean(backups: &BackupFixture, id: &str) -> bool {
    !backups.has(&format!("prod/{id}")) && backups.unfinished_uploads() == (0, 0)
}

#[test]
fn sources_that_are_no_whole_snapshot_leave_nothing_in_a_folder() {
    let backups = sealed(Place::Folder);
    sources(&backups);
    assert!(!backups.file("prod/bad").exists(), "not even a folder");
}

#[test]
fn sources_that_are_no_whole_snapshot_leave_nothing_in_s3() {
    sources(&sealed(Place::S3));
}

fn sources(backups: &BackupFixture) {
    let fixture = &backups.fixture;
    let saved = fixture.read("saved.db");
    fixture.write("empty.db", "");
    fixture.write("cut.db", &saved[..saved.len() / 2]);
    fixture.write("without.db", &saved[..saved.len() - 32]);
    let mut changed = saved.clone();
    changed[10_000] ^= 1;
    fixture.write("changed.db", &changed);
    // Longer than a part, so that some of it is in the bucket before the end is seen.
    fixture.write("long.db", vec![7; 20 << 20]);
    for (file, code, words) in [
        ("empty.db", 65, "the snapshot is empty"),
        ("cut.db", 65, "not a snapshot of etcd"),
        ("without.db", 65, "not a snapshot of etcd"),
        ("changed.db", 65, "checksum at the end"),
        ("long.db", 65, "not a snapshot of etcd"),
        ("none.db", 66, "FILE: cannot read `none.db`"),
        (".", 66, "is not a file"),
    ] {
        seal(backups, file, "bad", &[]).fails(code, words);
        assert!(is_clean(backups, "bad"), "{file}");
    }
    let piped = backups.words("seal", &["-", "--cluster", "prod", "--snapshot", "bad"]);
    let piped: Vec<&str> = piped.iter().map(String::as_str).collect();
    fixture
        .kdc_with_input(
            &[&piped[..], &["--keyring", "keyring"]].concat(),
            &saved[..5000],
        )
        .fails(65, "not a snapshot");
    assert!(is_clean(backups, "bad"));
    seal(backups, "without.db", "copy", &["--without-checksum"]).succeeds();
    open(backups, "prod", "copy").succeeds();
    assert!(fixture.read("out.db") == saved[..saved.len() - 32]);
}

#[test]
fn flags_that_contradict_or_are_missing() {
    let backups = &sealed(Place::Folder);
    let fixture = &backups.fixture;
    seal(backups, "saved.db", "one", &[]).fails(73, "is in the bucket already");
    let packed = ["--format", "1", "--compress", "zstd"];
    seal(backups, "saved.db", "v1", &packed).fails(64, "--compress zstd needs --format 2");
    seal(backups, "saved.db", "v1", &["--format", "1"])
        .fails(64, "--format 1 needs a key in OpenBao");
    assert!(is_clean(backups, "v1"));
    let bao = ["--bao-address", "https://127.0.0.1:1", "--bao-key", "etcd"];
    seal(backups, "saved.db", "both", &bao).fails(64, "both given");
    let none = [
        "backup",
        "seal",
        "saved.db",
        "--bucket",
        "bucket",
        "--cluster",
        "prod",
    ];
    fixture
        .kdc(&none)
        .fails(64, "no key encryption key is given");
    let hold = [&none[..], &bao, &["--bao-hold", "1m"]].concat();
    fixture
        .kdc(&hold)
        .fails(64, "unexpected argument '--bao-hold'");
    for name in ["../x", "a/b", ".", ""] {
        let bad = [
            "backup",
            "seal",
            "saved.db",
            "--bucket",
            "bucket",
            "--keyring",
            "keyring",
        ];
        let run = fixture.kdc(&[&bad[..], &["--cluster", name]].concat());
        assert_ne!(run.code, 0, "{name}");
    }
    open(backups, "prod", "none").fails(66, "there is no snapshot `none`");
    open(backups, "staging", "latest").fails(66, "no complete snapshot of cluster `staging`");
}

#[test]
fn snapshots_in_a_folder_that_were_tampered_with() {
    tampered(&sealed(Place::Folder));
}

#[test]
fn snapshots_in_s3_that_were_tampered_with() {
    tampered(&sealed(Place::S3));
}

fn tampered(backups: &BackupFixture) {
    seal(backups, "saved.db", "two", &[]).succeeds();
    let put = |id: &str, data: &[u8], metadata: &[u8]| {
        let folder = backups.file(&format!("prod/{id}"));
        fs::write(folder.join("snapshot.db.enc"), data).unwrap();
        fs::write(folder.join("metadata.json"), metadata).unwrap();
    };
    let (data, metadata) = (
        backups.read("prod/one/snapshot.db.enc"),
        backups.read("prod/one/metadata.json"),
    );
    let json = String::from_utf8(metadata.clone()).unwrap();
    let mut flipped = data.clone();
    flipped[200_000] ^= 1;
    let longer = [data.as_slice(), &[0]].concat();
    let other = backups.read("prod/two/metadata.json");
    let edited = json.replace("Length\": ", "Length\": 1");
    let schema = json.replace("Version\": 2", "Version\": 9");
    let unknown = json.replace("local-v1-", "local-v7-");
    let cases: [(&str, &[u8], &[u8], &str); 9] = [
        (
            "flipped",
            &flipped,
            &metadata,
            "changed, cut off or added to",
        ),
        (
            "cut",
            &data[..data.len() - 1],
            &metadata,
            "changed, cut off or added to",
        ),
        ("longer", &longer, &metadata, "changed, cut off or added to"),
        ("header", &data[..50], &metadata, "malformed at byte"),
        ("swapped", &data, &other, "data key does not belong"),
        ("no JSON", &data, b"{", "metadata.json is malformed"),
        ("edited", &data, edited.as_bytes(), "changed"),
        ("schema", &data, schema.as_bytes(), "schemaVersion 9"),
        ("key", &data, unknown.as_bytes(), "unwrap"),
    ];
    for (name, data, metadata, words) in cases {
        for id in ["one", "two"] {
            put(id, data, metadata);
        }
        let run = open(backups, "prod", "one");
        assert_ne!(run.code, 0, "{name}");
        assert!(
            run.stderr.contains(words) && run.stderr.lines().count() == 1,
            "{name}: {}",
            run.stderr
        );
        assert!(!backups.fixture.path("out.db").exists(), "{name}");
    }
    // Whole and well, but of another name than was asked for.
    put("two", &data, &metadata);
    open(backups, "prod", "two").fails(1, "the id of the snapshot is `one`, not `two`");
}

#[test]
fn places_that_cannot_be_written() {
    let backups = &sealed(Place::Folder);
    let fixture = &backups.fixture;
    fixture.write("out.db", "precious");
    open(backups, "prod", "one").fails(73, "--out: `out.db` exists");
    assert_eq!(fixture.read("out.db"), b"precious");
    open_as(backups, "prod", "one", "none/out.db")
        .fails(73, "--out: cannot create a file in `none`");
    let full = open_as(backups, "prod", "one", "/dev/full");
    assert_ne!(full.code, 0);
    fixture.write("bucket/prod/file", "");
    let run = seal(backups, "saved.db", "file", &[]);
    assert_ne!(run.code, 0, "a file where a folder should be");
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
}

#[test]
fn settings_of_a_key_that_is_followed_are_refused_in_the_environment_too() {
    let bao = [
        "--bao-address",
        "https://192.0.2.1",
        "--bao-key",
        "k",
        "--bao-role",
        "r",
    ];
    let line = [
        "backup",
        "rewrap",
        "--bucket",
        "bucket",
        "--cluster",
        "prod",
    ];
    for flag in ["poll-interval", "hold"] {
        let mut fixture = Fixture::new();
        let value = [&format!("--bao-{flag}")[..], "1m"];
        fixture
            .kdc(&[&line[..], &bao[..], &value[..]].concat())
            .fails(64, "unexpected argument");
        let variable = format!("KMS_PLUGIN_BAO_{}", flag.replace('-', "_").to_uppercase());
        fixture.set_env(&variable, "1m");
        fixture.kdc(&[&line[..], &bao[..]].concat()).fails(
            64,
            &format!("{variable} does nothing for snapshots; unset it"),
        );
    }
}
