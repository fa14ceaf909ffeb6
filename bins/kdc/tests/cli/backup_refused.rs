//! What `kdc backup` refuses: each with one line, and nothing left behind.

use std::fs;

use crate::backup_stand::{Place, Stand};
use crate::support::{Run, Scene};

/// A bucket with `saved.db` sealed as snapshot `one` of cluster `prod`.
fn sealed(place: Place) -> Stand {
    let stand = Stand::new(place);
    stand.save_snapshot();
    seal(&stand, "saved.db", "one", &[]).succeeds();
    stand
}

fn seal(stand: &Stand, file: &str, id: &str, more: &[&str]) -> Run {
    stand.on_prod("seal", &[&[file, "--snapshot", id], more].concat())
}

fn open_as(stand: &Stand, cluster: &str, id: &str, out: &str) -> Run {
    let open = ["--cluster", cluster, "--snapshot", id, "--out", out];
    stand.run_with_key("open", &open)
}

fn open(stand: &Stand, cluster: &str, id: &str) -> Run {
    open_as(stand, cluster, id, "out.db")
}

/// Whether snapshot `id` left nothing in the bucket.
fn is_clean(stand: &Stand, id: &str) -> bool {
    !stand.has(&format!("prod/{id}")) && stand.unfinished_uploads() == (0, 0)
}

#[test]
fn sources_that_are_no_whole_snapshot_leave_nothing_in_a_folder() {
    let stand = sealed(Place::Folder);
    sources(&stand);
    assert!(!stand.file("prod/bad").exists(), "not even a folder");
}

#[test]
fn sources_that_are_no_whole_snapshot_leave_nothing_in_s3() {
    sources(&sealed(Place::S3));
}

fn sources(stand: &Stand) {
    let scene = &stand.scene;
    let saved = scene.read("saved.db");
    scene.write("empty.db", "");
    scene.write("cut.db", &saved[..saved.len() / 2]);
    scene.write("without.db", &saved[..saved.len() - 32]);
    let mut changed = saved.clone();
    changed[10_000] ^= 1;
    scene.write("changed.db", &changed);
    // Longer than a part, so that some of it is in the bucket before the end is seen.
    scene.write("long.db", vec![7; 20 << 20]);
    for (file, code, words) in [
        ("empty.db", 65, "the snapshot is empty"),
        ("cut.db", 65, "not a snapshot of etcd"),
        ("without.db", 65, "not a snapshot of etcd"),
        ("changed.db", 65, "checksum at the end"),
        ("long.db", 65, "not a snapshot of etcd"),
        ("none.db", 66, "FILE: cannot read `none.db`"),
        (".", 66, "is not a file"),
    ] {
        seal(stand, file, "bad", &[]).fails(code, words);
        assert!(is_clean(stand, "bad"), "{file}");
    }
    let piped = stand.words("seal", &["-", "--cluster", "prod", "--snapshot", "bad"]);
    let piped: Vec<&str> = piped.iter().map(String::as_str).collect();
    scene
        .kdc_with_input(
            &[&piped[..], &["--keyring", "keyring"]].concat(),
            &saved[..5000],
        )
        .fails(65, "not a snapshot");
    assert!(is_clean(stand, "bad"));
    seal(stand, "without.db", "copy", &["--without-checksum"]).succeeds();
    open(stand, "prod", "copy").succeeds();
    assert!(scene.read("out.db") == saved[..saved.len() - 32]);
}

#[test]
fn flags_that_contradict_or_are_missing() {
    let stand = &sealed(Place::Folder);
    let scene = &stand.scene;
    seal(stand, "saved.db", "one", &[]).fails(73, "is in the bucket already");
    let packed = ["--format", "1", "--compress", "zstd"];
    seal(stand, "saved.db", "v1", &packed).fails(64, "--compress zstd needs --format 2");
    seal(stand, "saved.db", "v1", &["--format", "1"])
        .fails(64, "--format 1 needs a key in OpenBao");
    assert!(is_clean(stand, "v1"));
    let bao = ["--bao-address", "https://127.0.0.1:1", "--bao-key", "etcd"];
    seal(stand, "saved.db", "both", &bao).fails(64, "both given");
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
    scene
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
        let run = scene.kdc(&[&bad[..], &["--cluster", name]].concat());
        assert_ne!(run.code, 0, "{name}");
    }
    open(stand, "prod", "none").fails(66, "there is no snapshot `none`");
    open(stand, "staging", "latest").fails(66, "no complete snapshot of cluster `staging`");
}

#[test]
fn snapshots_in_a_folder_that_were_tampered_with() {
    tampered(&sealed(Place::Folder));
}

#[test]
fn snapshots_in_s3_that_were_tampered_with() {
    tampered(&sealed(Place::S3));
}

fn tampered(stand: &Stand) {
    seal(stand, "saved.db", "two", &[]).succeeds();
    let put = |id: &str, data: &[u8], metadata: &[u8]| {
        let folder = stand.file(&format!("prod/{id}"));
        fs::write(folder.join("snapshot.db.enc"), data).unwrap();
        fs::write(folder.join("metadata.json"), metadata).unwrap();
    };
    let (data, metadata) = (
        stand.read("prod/one/snapshot.db.enc"),
        stand.read("prod/one/metadata.json"),
    );
    let json = String::from_utf8(metadata.clone()).unwrap();
    let mut flipped = data.clone();
    flipped[200_000] ^= 1;
    let longer = [data.as_slice(), &[0]].concat();
    let other = stand.read("prod/two/metadata.json");
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
        let run = open(stand, "prod", "one");
        assert_ne!(run.code, 0, "{name}");
        assert!(
            run.stderr.contains(words) && run.stderr.lines().count() == 1,
            "{name}: {}",
            run.stderr
        );
        assert!(!stand.scene.path("out.db").exists(), "{name}");
    }
    // Whole and well, but of another name than was asked for.
    put("two", &data, &metadata);
    open(stand, "prod", "two").fails(1, "the id of the snapshot is `one`, not `two`");
}

#[test]
fn places_that_cannot_be_written() {
    let stand = &sealed(Place::Folder);
    let scene = &stand.scene;
    scene.write("out.db", "precious");
    open(stand, "prod", "one").fails(73, "--out: `out.db` exists");
    assert_eq!(scene.read("out.db"), b"precious");
    open_as(stand, "prod", "one", "none/out.db").fails(73, "--out: cannot create a file in `none`");
    let full = open_as(stand, "prod", "one", "/dev/full");
    assert_ne!(full.code, 0);
    scene.write("bucket/prod/file", "");
    let run = seal(stand, "saved.db", "file", &[]);
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
        let mut scene = Scene::new();
        let value = [&format!("--bao-{flag}")[..], "1m"];
        scene
            .kdc(&[&line[..], &bao[..], &value[..]].concat())
            .fails(64, "unexpected argument");
        let variable = format!("KMS_PLUGIN_BAO_{}", flag.replace('-', "_").to_uppercase());
        scene.set_env(&variable, "1m");
        scene.kdc(&[&line[..], &bao[..]].concat()).fails(
            64,
            &format!("{variable} does nothing for snapshots; unset it"),
        );
    }
}
