//! Snapshots of a real etcd into a folder and into S3, and back into a real etcd.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use kdc_testbed::{Etcd, Server};

use crate::backup_stand::{Place, Stand};

#[test]
fn from_a_running_etcd_into_a_folder_and_back_into_etcd() {
    there_and_back(&Stand::new(Place::Folder));
}

#[test]
fn from_a_running_etcd_into_s3_and_back_into_etcd() {
    there_and_back(&Stand::new(Place::S3));
}

#[test]
fn from_a_running_etcd_into_s3_with_tls_and_back_into_etcd() {
    there_and_back(&Stand::new(Place::S3WithTls));
}

fn there_and_back(stand: &Stand) {
    let (runtime, scene) = (&stand.runtime, &stand.scene);
    let etcd = stand.etcd_with_rows();
    let before = runtime.block_on(etcd.rows("/")).unwrap();
    let from = ["--etcd-endpoints", etcd.endpoint(), "--output", "json"];
    let taken = stand.on_prod("run", &from).succeeds().json();
    assert_eq!(taken["rows"]["total"], 41);
    let groups = taken["rows"]["groups"].as_array().unwrap();
    let kms = groups
        .iter()
        .find(|group| group["provider"] == "kms-v2")
        .unwrap();
    assert_eq!((&kms["rows"], &kms["version"]), (&40.into(), &1.into()));
    let id = taken["snapshot"].as_str().unwrap();
    for name in ["snapshot.db.enc", "dek.wrapped", "metadata.json"] {
        assert!(stand.has(&format!("prod/{id}/{name}")), "{name}");
    }
    assert_eq!(stand.unfinished_uploads(), (0, 0));

    let listed = stand.run("list", &["--output", "json"]).succeeds().json();
    assert_eq!(
        (&listed[0]["snapshot"], &listed[0]["state"]),
        (&id.into(), &"completeV2".into())
    );
    let verified = stand.on_prod("verify", &[]);
    assert!(verified.succeeds().text().contains("belong together"));
    let verified = stand.on_prod("verify", &["--all", "--full"]);
    assert!(verified.succeeds().text().contains("bytes are authentic"));

    stand.on_prod("open", &["--out", "opened.db"]).succeeds();
    let opened = scene.path("opened.db").metadata().unwrap();
    assert_eq!(opened.permissions().mode() & 0o777, 0o600);
    assert_eq!(opened.len(), taken["contentLength"].as_u64().unwrap());

    let program = kdc_testbed::servers::prepare(Server::Etcdutl, &mut |_| ()).unwrap();
    let restore = ["--data-dir", "data", "--etcdutl", program.to_str().unwrap()];
    let restored = stand.on_prod("restore", &restore);
    assert!(restored.succeeds().text().contains(id));
    let left: Vec<_> = fs::read_dir(scene.path("."))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".kdc-") || name.ends_with("snapshot.db"))
        .collect();
    assert_eq!(left, Vec::<String>::new(), "the plaintext is gone");
    stand
        .on_prod("restore", &restore)
        .fails(73, "--data-dir: `data` exists");
    let second = runtime
        .block_on(Etcd::start_on(&scene.path("data")))
        .unwrap();
    assert_eq!(runtime.block_on(second.rows("/")).unwrap(), before);
}

#[test]
fn a_file_and_a_pipe_are_sealed_alike_into_a_folder() {
    sealed_alike(&Stand::new(Place::Folder));
}

#[test]
fn a_file_and_a_pipe_are_sealed_alike_into_s3() {
    sealed_alike(&Stand::new(Place::S3));
}

fn sealed_alike(stand: &Stand) {
    let scene = &stand.scene;
    stand.save_snapshot();
    let saved = scene.read("saved.db");
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
        let sealed = stand.on_prod("seal", &seal).succeeds().json();
        assert_eq!(sealed["rows"]["total"], 41, "{id}");
        let out = format!("{id}.db");
        let open = ["--snapshot", id, "--out", &out];
        stand.on_prod("open", &open).succeeds();
        assert!(scene.read(&out) == saved, "{id}");
    }
    let seal = ["-", "--cluster", "prod", "--snapshot", "piped"];
    let seal = stand.words("seal", &[&seal[..], &["--keyring", "keyring"]].concat());
    let seal: Vec<&str> = seal.iter().map(String::as_str).collect();
    scene.kdc_with_input(&seal, &saved).succeeds();
    let open = ["--snapshot", "piped", "--out", "piped.db"];
    stand.on_prod("open", &open).succeeds();
    assert!(scene.read("piped.db") == saved);
    let len = |id: &str| stand.read(&format!("prod/{id}/snapshot.db.enc")).len();
    assert!(len("packed") < len("plain") / 4);
    // The same name again is refused before anything is sent.
    stand
        .on_prod("seal", &["saved.db", "--snapshot", "plain"])
        .fails(73, "is in the bucket already");
}

#[test]
fn what_is_longer_than_a_part_goes_into_s3_in_parts() {
    let stand = Stand::new(Place::S3WithTls);
    // Zeros would do: without --compress nothing looks at what is in them.
    stand.scene.write("long.db", vec![7; 20 << 20]);
    let seal = ["long.db", "--snapshot", "long", "--without-checksum"];
    let run = stand.on_prod("seal", &seal);
    // It is no file of etcd, and so its rows are not counted, which is said.
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(stand.unfinished_uploads(), (0, 0));
    let open = ["--snapshot", "long", "--out", "opened.db"];
    stand.on_prod("open", &open).succeeds();
    assert!(stand.scene.read("opened.db") == stand.scene.read("long.db"));
}

#[test]
fn data_keys_move_to_the_newest_version_of_a_keyring_in_a_folder() {
    moved(&Stand::new(Place::Folder));
}

#[test]
fn data_keys_move_to_the_newest_version_of_a_keyring_in_s3() {
    moved(&Stand::new(Place::S3));
}

/// Moves data keys, and opens the snapshots then.
fn moved(stand: &Stand) {
    stand.save_snapshot();
    for id in ["a", "b", "c"] {
        stand
            .on_prod("seal", &["saved.db", "--snapshot", id])
            .succeeds();
    }
    let rewrap = |more: &[&str]| {
        let more = [&["--output", "json"], more].concat();
        stand.run_with_key("rewrap", &more).succeeds().json()
    };
    assert_eq!(rewrap(&[])["alreadyNewest"], 3);
    let data = stand.read("prod/a/snapshot.db.enc");
    stand.rotate();
    assert_eq!(rewrap(&["--dry-run"])["rewrapped"], 3);
    stand
        .run_with_key("rewrap", &["--cluster", "other", "--output", "json"])
        .fails(66, "nothing was found in");
    assert_eq!(rewrap(&[])["rewrapped"], 3);
    assert_eq!(rewrap(&[])["alreadyNewest"], 3);
    assert!(
        stand.read("prod/a/snapshot.db.enc") == data,
        "the data is not touched"
    );
    let metadata: serde_json::Value =
        serde_json::from_slice(&stand.read("prod/a/metadata.json")).unwrap();
    let beside = stand.read("prod/a/dek.wrapped");
    assert_eq!(
        metadata["wrappedDek"].as_str().unwrap().as_bytes(),
        beside.trim_ascii()
    );
    assert!(metadata["keyId"].as_str().unwrap().starts_with("local-v2-"));
    let verify = ["--all", "--full", "--output", "json"];
    let verdicts = stand.on_prod("verify", &verify).succeeds().json();
    assert_eq!(verdicts.as_array().unwrap().len(), 3);
}
