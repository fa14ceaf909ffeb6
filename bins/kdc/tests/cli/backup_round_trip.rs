//! Snapshots of a real etcd into a folder and into S3, and back into a real etcd.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use kdc_testbed::{Etcd, Server};

use crate::backup_fixture::{BackupFixture, Place};

#[test]
fn from_a_running_etcd_into_a_folder_and_back_into_etcd() {
    there_and_back(&BackupFixture::new(Place::Folder));
}

#[test]
fn from_a_running_etcd_into_s3_and_back_into_etcd() {
    there_and_back(&BackupFixture::new(Place::S3));
}

#[test]
fn from_a_running_etcd_into_s3_with_tls_and_back_into_etcd() {
    there_and_back(&BackupFixture::new(Place::S3WithTls));
}

fn there_and_back(backups: &BackupFixture) {
    let (runtime, fixture) = (&backups.runtime, &backups.fixture);
    let etcd = backups.etcd_with_rows();
    let before = runtime.block_on(etcd.rows("/")).unwrap();
    let from = ["--etcd-endpoints", etcd.endpoint(), "--output", "json"];
    let taken = backups.on_prod("run", &from).succeeds().json();
    assert_eq!(taken["rows"]["total"], 41);
    let groups = taken["rows"]["groups"].as_array().unwrap();
    let kms = groups
        .iter()
        .find(|group| group["provider"] == "kms-v2")
        .unwrap();
    assert_eq!((&kms["rows"], &kms["version"]), (&40.into(), &1.into()));
    let id = taken["snapshot"].as_str().unwrap();
    for name in ["snapshot.db.enc", "dek.wrapped", "metadata.json"] {
        assert!(backups.has(&format!("prod/{id}/{name}")), "{name}");
    }
    assert_eq!(backups.unfinished_uploads(), (0, 0));

    let listed = backups.run("list", &["--output", "json"]).succeeds().json();
    assert_eq!(
        (&listed[0]["snapshot"], &listed[0]["state"]),
        (&id.into(), &"completeV2".into())
    );
    let verified = backups.on_prod("verify", &[]);
    assert!(verified.succeeds().text().contains("belong together"));
    let verified = backups.on_prod("verify", &["--all", "--full"]);
    assert!(verified.succeeds().text().contains("bytes are authentic"));

    backups.on_prod("open", &["--out", "opened.db"]).succeeds();
    let opened = fixture.path("opened.db").metadata().unwrap();
    assert_eq!(opened.permissions().mode() & 0o777, 0o600);
    assert_eq!(opened.len(), taken["contentLength"].as_u64().unwrap());

    let program = kdc_testbed::servers::prepare(Server::Etcdutl, &mut |_| ()).unwrap();
    let restore = ["--data-dir", "data", "--etcdutl", program.to_str().unwrap()];
    let restored = backups.on_prod("restore", &restore);
    assert!(restored.succeeds().text().contains(id));
    let left: Vec<_> = fs::read_dir(fixture.path("."))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".kdc-") || name.ends_with("snapshot.db"))
        .collect();
    assert_eq!(left, Vec::<String>::new(), "the plaintext is gone");
    backups
        .on_prod("restore", &restore)
        .fails(73, "--data-dir: `data` exists");
    let second = runtime
        .block_on(Etcd::start_on(&fixture.path("data")))
        .unwrap();
    assert_eq!(runtime.block_on(second.rows("/")).unwrap(), before);
}

#[test]
fn a_file_and_a_pipe_are_sealed_alike_into_a_folder() {
    sealed_alike(&BackupFixture::new(Place::Folder));
}

#[test]
fn a_file_and_a_pipe_are_sealed_alike_into_s3() {
    sealed_alike(&BackupFixture::new(Place::S3));
}

fn sealed_alike(backups: &BackupFixture) {
    let fixture = &backups.fixture;
    backups.save_snapshot();
    let saved = fixture.read("saved.db");
    for (id, more) in [
        ("plain", &[][..]),
        ("packed", &["--compress", "zstd"]),
        ("one-thread", &["--threads", "1"]),
    ] {
        let seal = [
            &["saved.db", "--snapshot", id, "--output", "json"][..],
            more,
        ]
        .concat();
        let sealed = backups.on_prod("seal", &seal).succeeds().json();
        assert_eq!(sealed["rows"]["total"], 41, "{id}");
        let out = format!("{id}.db");
        let open = ["--snapshot", id, "--out", &out];
        backups.on_prod("open", &open).succeeds();
        assert!(fixture.read(&out) == saved, "{id}");
    }
    let seal = ["-", "--cluster", "prod", "--snapshot", "piped"];
    let seal = backups.words("seal", &[&seal[..], &["--keyring", "keyring"]].concat());
    let seal: Vec<&str> = seal.iter().map(String::as_str).collect();
    fixture.kdc_with_input(&seal, &saved).succeeds();
    let open = ["--snapshot", "piped", "--out", "piped.db"];
    backups.on_prod("open", &open).succeeds();
    assert!(fixture.read("piped.db") == saved);
    let len = |id: &str| backups.read(&format!("prod/{id}/snapshot.db.enc")).len();
    assert!(len("packed") < len("plain") / 4);
    // The same name again is refused before anything is sent.
    backups
        .on_prod("seal", &["saved.db", "--snapshot", "plain"])
        .fails(73, "is in the bucket already");
}

#[test]
fn what_is_longer_than_a_part_goes_into_s3_in_parts() {
    let backups = BackupFixture::new(Place::S3WithTls);
    // Zeros would do: without --compress nothing looks at what is in them.
    backups.fixture.write("long.db", vec![7; 20 << 20]);
    let seal = ["long.db", "--snapshot", "long", "--without-checksum"];
    let run = backups.on_prod("seal", &seal);
    // It is no file of etcd, and so its rows are not counted, which is said.
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(backups.unfinished_uploads(), (0, 0));
    let open = ["--snapshot", "long", "--out", "opened.db"];
    backups.on_prod("open", &open).succeeds();
    assert!(backups.fixture.read("opened.db") == backups.fixture.read("long.db"));
}

#[test]
fn data_keys_move_to_the_newest_version_of_a_keyring_in_a_folder() {
    moved(&BackupFixture::new(Place::Folder));
}

#[test]
fn data_keys_move_to_the_newest_version_of_a_keyring_in_s3() {
    moved(&BackupFixture::new(Place::S3));
}

/// Moves data keys, and opens the snapshots then.
fn moved(backups: &BackupFixture) {
    backups.save_snapshot();
    for id in ["a", "b", "c"] {
        backups
            .on_prod("seal", &["saved.db", "--snapshot", id])
            .succeeds();
    }
    let rewrap = |more: &[&str]| {
        let more = [&["--output", "json"], more].concat();
        backups.run_with_key("rewrap", &more).succeeds().json()
    };
    assert_eq!(rewrap(&[])["alreadyNewest"], 3);
    let data = backups.read("prod/a/snapshot.db.enc");
    backups.rotate();
    assert_eq!(rewrap(&["--dry-run"])["rewrapped"], 3);
    backups
        .run_with_key("rewrap", &["--cluster", "other", "--output", "json"])
        .fails(66, "nothing was found in");
    assert_eq!(rewrap(&[])["rewrapped"], 3);
    assert_eq!(rewrap(&[])["alreadyNewest"], 3);
    assert!(
        backups.read("prod/a/snapshot.db.enc") == data,
        "the data is not touched"
    );
    let metadata: serde_json::Value =
        serde_json::from_slice(&backups.read("prod/a/metadata.json")).unwrap();
    let beside = backups.read("prod/a/dek.wrapped");
    assert_eq!(
        metadata["wrappedDek"].as_str().unwrap().as_bytes(),
        beside.trim_ascii()
    );
    assert!(metadata["keyId"].as_str().unwrap().starts_with("local-v2-"));
    let verify = ["--all", "--full", "--output", "json"];
    let verdicts = backups.on_prod("verify", &verify).succeeds().json();
    assert_eq!(verdicts.as_array().unwrap().len(), 3);
}
