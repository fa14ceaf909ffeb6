//! What `kdc backup` refuses: each with one line, and nothing left behind.

use std::fs;

use crate::backup_round_trip::{etcd_with_rows, save};
use crate::support::{Scene, runtime};

/// A scene with `saved.db`, sealed as snapshot `one` of cluster `prod`.
fn sealed() -> Scene {
    let (runtime, scene) = (runtime(), Scene::with_keyring());
    let etcd = etcd_with_rows(&runtime, &scene);
    save(&etcd, &scene, "saved.db");
    scene.kdc(&seal("saved.db", "one", &[])).succeeds();
    scene
}

fn seal<'a>(file: &'a str, id: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let seal = [
        "backup",
        "seal",
        file,
        "--snapshot",
        id,
        "--bucket",
        "bucket",
    ];
    [
        &seal[..],
        &["--cluster", "prod", "--keyring", "keyring"],
        more,
    ]
    .concat()
}

fn open<'a>(cluster: &'a str, id: &'a str) -> Vec<&'a str> {
    let open = [
        "backup",
        "open",
        "--bucket",
        "bucket",
        "--keyring",
        "keyring",
    ];
    [
        &open[..],
        &["--cluster", cluster, "--snapshot", id, "--out", "out.db"],
    ]
    .concat()
}

/// Whether snapshot `id` left anything in the bucket.
fn is_clean(scene: &Scene, id: &str) -> bool {
    fs::read_dir(scene.path("bucket/prod").join(id)).is_err()
}

#[test]
fn sources_that_are_no_whole_snapshot() {
    let scene = sealed();
    let saved = scene.read("saved.db");
    scene.write("empty.db", "");
    scene.write("cut.db", &saved[..saved.len() / 2]);
    scene.write("without.db", &saved[..saved.len() - 32]);
    let mut changed = saved.clone();
    changed[10_000] ^= 1;
    scene.write("changed.db", &changed);
    for (file, code, words) in [
        ("empty.db", 65, "the snapshot is empty"),
        ("cut.db", 65, "not a snapshot of etcd"),
        ("without.db", 65, "not a snapshot of etcd"),
        ("changed.db", 65, "checksum at the end"),
        ("none.db", 66, "FILE: cannot read `none.db`"),
        (".", 66, "is not a file"),
    ] {
        scene.kdc(&seal(file, "bad", &[])).fails(code, words);
        assert!(is_clean(&scene, "bad"), "{file}");
    }
    scene
        .kdc_with_input(&seal("-", "bad", &[]), &saved[..5000])
        .fails(65, "not a snapshot");
    assert!(is_clean(&scene, "bad"));
    scene
        .kdc(&seal("without.db", "copy", &["--without-checksum"]))
        .succeeds();
    scene.kdc(&open("prod", "copy")).succeeds();
    assert!(scene.read("out.db") == saved[..saved.len() - 32]);
}

#[test]
fn flags_that_contradict_or_are_missing() {
    let scene = sealed();
    scene
        .kdc(&seal("saved.db", "one", &[]))
        .fails(73, "is in the bucket already");
    scene
        .kdc(&seal(
            "saved.db",
            "v1",
            &["--format", "1", "--compress", "zstd"],
        ))
        .fails(64, "--compress zstd needs --format 2");
    scene
        .kdc(&seal("saved.db", "v1", &["--format", "1"]))
        .fails(64, "--format 1 needs a key in OpenBao");
    assert!(is_clean(&scene, "v1"));
    let bao = ["--bao-address", "https://127.0.0.1:1", "--bao-key", "etcd"];
    scene
        .kdc(&seal("saved.db", "both", &bao))
        .fails(64, "both given");
    let none = [
        "backup",
        "seal",
        "saved.db",
        "--bucket",
        "bucket",
        "--cluster",
        "prod",
    ];
    scene.kdc(&none).fails(64, "no key encryption key is given");
    let hold = [&none[..], &bao, &["--bao-hold", "1m"]].concat();
    scene.kdc(&hold).fails(64, "--bao-hold does nothing");
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
        let run = scene.kdc(&[&bad[..], &["--cluster", name]].concat());
        assert_ne!(run.code, 0, "{name}");
    }
    scene
        .kdc(&open("prod", "none"))
        .fails(66, "there is no snapshot `none`");
    scene
        .kdc(&open("staging", "latest"))
        .fails(66, "no complete snapshot of cluster `staging`");
}

#[test]
fn snapshots_that_were_tampered_with() {
    let scene = sealed();
    scene.kdc(&seal("saved.db", "two", &[])).succeeds();
    let folder = |id: &str| format!("bucket/prod/{id}");
    let (data, metadata) = (
        scene.read("bucket/prod/one/snapshot.db.enc"),
        scene.read("bucket/prod/one/metadata.json"),
    );
    let json = String::from_utf8(metadata.clone()).unwrap();
    let mut flipped = data.clone();
    flipped[200_000] ^= 1;
    let longer = [data.as_slice(), &[0]].concat();
    let other = scene.read(&format!("{}/metadata.json", folder("two")));
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
            scene.write(&format!("{}/snapshot.db.enc", folder(id)), data);
            scene.write(&format!("{}/metadata.json", folder(id)), metadata);
        }
        let run = scene.kdc(&open("prod", "one"));
        assert_ne!(run.code, 0, "{name}");
        assert!(
            run.stderr.contains(words) && run.stderr.lines().count() == 1,
            "{name}: {}",
            run.stderr
        );
        assert!(!scene.path("out.db").exists(), "{name}");
    }
    // Whole and well, but of another name than was asked for.
    scene.write(&format!("{}/snapshot.db.enc", folder("two")), &data);
    scene.write(&format!("{}/metadata.json", folder("two")), &metadata);
    scene
        .kdc(&open("prod", "two"))
        .fails(1, "the id of the snapshot is `one`, not `two`");
}

#[test]
fn places_that_cannot_be_written() {
    let scene = sealed();
    scene.write("out.db", "precious");
    scene
        .kdc(&open("prod", "one"))
        .fails(73, "--out: `out.db` exists");
    assert_eq!(scene.read("out.db"), b"precious");
    let into = |out: &'static str| {
        let mut open = open("prod", "one");
        *open.last_mut().unwrap() = out;
        open
    };
    scene
        .kdc(&into("none/out.db"))
        .fails(73, "--out: cannot create a file in `none`");
    let full = scene.kdc(&into("/dev/full"));
    assert_ne!(full.code, 0);
    scene.write("bucket/prod/file", "");
    let run = scene.kdc(&seal("saved.db", "file", &[]));
    assert_ne!(run.code, 0, "a file where a folder should be");
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
}
