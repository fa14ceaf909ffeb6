//! Snapshots of a real etcd into a folder, and back into a real etcd.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use kdc_testbed::{Etcd, Server};
use tokio::runtime::Runtime;

use crate::support::{ETCD_KEY, Scene, runtime};

const KEY: [&str; 2] = ["--keyring", "keyring"];
const PROD: [&str; 4] = ["--bucket", "bucket", "--cluster", "prod"];

/// Arguments of a verb of `kdc backup` on the bucket and the cluster of these tests.
fn on_prod<'a>(verb: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["backup", verb][..], &PROD, &KEY, more].concat()
}

/// An etcd with encrypted and plain rows, some changed and one deleted.
pub(crate) fn etcd_with_rows(runtime: &Runtime, scene: &Scene) -> Etcd {
    let etcd = runtime.block_on(Etcd::start()).unwrap();
    let put = |key: &str, value: &[u8]| runtime.block_on(etcd.put(key, value)).unwrap();
    for number in 0..40 {
        let row = scene.row(format!("secret {number}").as_bytes());
        put(&format!("{ETCD_KEY}{number}"), &row);
        put(&format!("{ETCD_KEY}{number}"), &row);
    }
    put("/registry/configmaps/default/plain", &vec![b'x'; 300_000]);
    put("/registry/secrets/default/gone", b"gone");
    runtime
        .block_on(etcd.delete("/registry/secrets/default/gone"))
        .unwrap();
    etcd
}

/// A snapshot file, as etcd's own client saves it.
pub(crate) fn save(etcd: &Etcd, scene: &Scene, name: &str) {
    let mut etcdctl = etcd.etcdctl();
    let saved = etcdctl
        .args(["snapshot", "save"])
        .arg(scene.path(name))
        .output()
        .unwrap();
    assert!(saved.status.success(), "{saved:?}");
}

fn etcdutl() -> PathBuf {
    kdc_testbed::servers::prepare(Server::Etcdutl, &mut |_| ()).unwrap()
}

#[test]
fn from_a_running_etcd_into_a_folder_and_back_into_etcd() {
    let (runtime, scene) = (runtime(), Scene::with_keyring());
    let etcd = etcd_with_rows(&runtime, &scene);
    let before = runtime.block_on(etcd.rows("/")).unwrap();
    let from = ["--etcd-endpoints", etcd.endpoint(), "--output", "json"];
    let taken = scene.kdc(&on_prod("run", &from)).succeeds().json();
    assert_eq!(taken["rows"]["total"], 41);
    let groups = taken["rows"]["groups"].as_array().unwrap();
    let kms = groups
        .iter()
        .find(|group| group["provider"] == "kms-v2")
        .unwrap();
    assert_eq!((&kms["rows"], &kms["version"]), (&40.into(), &1.into()));
    let id = taken["snapshot"].as_str().unwrap();
    for name in ["snapshot.db.enc", "dek.wrapped", "metadata.json"] {
        assert!(
            scene.path("bucket/prod").join(id).join(name).exists(),
            "{name}"
        );
    }

    let verified = scene.kdc(&on_prod("verify", &[]));
    assert!(verified.succeeds().text().contains("belong together"));
    let verified = scene.kdc(&on_prod("verify", &["--all", "--full"]));
    assert!(verified.succeeds().text().contains("bytes are authentic"));

    scene
        .kdc(&on_prod("open", &["--out", "opened.db"]))
        .succeeds();
    let opened = scene.path("opened.db").metadata().unwrap();
    assert_eq!(opened.permissions().mode() & 0o777, 0o600);
    assert_eq!(opened.len(), taken["contentLength"].as_u64().unwrap());

    let program = etcdutl();
    let restore = ["--data-dir", "data", "--etcdutl", program.to_str().unwrap()];
    let restored = scene.kdc(&on_prod("restore", &restore));
    assert!(restored.succeeds().text().contains(id));
    let left: Vec<_> = fs::read_dir(scene.path("."))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".kdc-") || name.ends_with("snapshot.db"))
        .collect();
    assert_eq!(left, Vec::<String>::new(), "the plaintext is gone");
    scene
        .kdc(&on_prod("restore", &restore))
        .fails(73, "--data-dir: `data` exists");
    let second = runtime
        .block_on(Etcd::start_on(&scene.path("data")))
        .unwrap();
    assert_eq!(runtime.block_on(second.rows("/")).unwrap(), before);
}

#[test]
fn a_file_and_a_pipe_are_sealed_alike() {
    let (runtime, scene) = (runtime(), Scene::with_keyring());
    let etcd = etcd_with_rows(&runtime, &scene);
    save(&etcd, &scene, "saved.db");
    let saved = scene.read("saved.db");
    let json = ["--output", "json"];
    for (id, more) in [
        ("plain", &[][..]),
        ("packed", &["--compress", "zstd"]),
        ("one-thread", &["--threads", "1"]),
    ] {
        let seal = [&["saved.db", "--snapshot", id][..], more, &json].concat();
        let sealed = scene.kdc(&on_prod("seal", &seal)).succeeds().json();
        assert_eq!(sealed["rows"]["total"], 41, "{id}");
        let out = format!("{id}.db");
        let open = ["--snapshot", id, "--out", &out];
        scene.kdc(&on_prod("open", &open)).succeeds();
        assert!(scene.read(&out) == saved, "{id}");
    }
    let seal = on_prod("seal", &["-", "--snapshot", "piped"]);
    scene.kdc_with_input(&seal, &saved).succeeds();
    let open = on_prod("open", &["--snapshot", "piped", "--out", "piped.db"]);
    scene.kdc(&open).succeeds();
    assert!(scene.read("piped.db") == saved);
    let len = |id: &str| {
        scene
            .read(&format!("bucket/prod/{id}/snapshot.db.enc"))
            .len()
    };
    assert!(len("packed") < len("plain") / 4);
}

#[test]
fn data_keys_move_to_the_newest_version_of_a_keyring_and_snapshots_still_open() {
    let (runtime, scene) = (runtime(), Scene::with_keyring());
    let etcd = etcd_with_rows(&runtime, &scene);
    save(&etcd, &scene, "saved.db");
    for id in ["a", "b", "c"] {
        let seal = ["saved.db", "--snapshot", id];
        scene.kdc(&on_prod("seal", &seal)).succeeds();
    }
    let rewrap = |more: &[&str]| {
        let rewrap = ["backup", "rewrap", "--bucket", "bucket", "--output", "json"];
        scene
            .kdc(&[&rewrap[..], &KEY, more].concat())
            .succeeds()
            .json()
    };
    assert_eq!(rewrap(&[])["alreadyNewest"], 3);
    let data = scene.read("bucket/prod/a/snapshot.db.enc");
    scene.kdc(&["keyring", "add", "keyring"]).succeeds();
    scene.kdc(&["keyring", "promote", "keyring"]).succeeds();
    assert_eq!(rewrap(&["--dry-run"])["rewrapped"], 3);
    assert_eq!(rewrap(&["--cluster", "other"])["rewrapped"], 0);
    assert_eq!(rewrap(&[])["rewrapped"], 3);
    assert_eq!(rewrap(&[])["alreadyNewest"], 3);
    assert!(
        scene.read("bucket/prod/a/snapshot.db.enc") == data,
        "the data is not touched"
    );
    let metadata: serde_json::Value =
        serde_json::from_slice(&scene.read("bucket/prod/a/metadata.json")).unwrap();
    let beside = scene.read("bucket/prod/a/dek.wrapped");
    assert_eq!(
        metadata["wrappedDek"].as_str().unwrap().as_bytes(),
        beside.trim_ascii()
    );
    assert!(metadata["keyId"].as_str().unwrap().starts_with("local-v2-"));
    let verified = scene.kdc(&on_prod("verify", &["--all", "--full", "--output", "json"]));
    let verdicts = verified.succeeds().json();
    assert_eq!(verdicts.as_array().unwrap().len(), 3);
}
