//! Data keys that OpenBao makes, moves and opens, each by somebody who may do nothing else.

use kdc_testbed::bao::{Bao, Grant};
use tokio::runtime::Runtime;

use crate::backup_round_trip::{etcd_with_rows, save};
use crate::support::{Run, Scene, runtime};

/// The policies of `deploy/openbao`, with their names.
const POLICIES: [(&str, &str); 3] = [
    (
        "backup",
        include_str!("../../../../deploy/openbao/backup-policy.hcl"),
    ),
    (
        "rewrapper",
        include_str!("../../../../deploy/openbao/rewrapper-policy.hcl"),
    ),
    (
        "restorer",
        include_str!("../../../../deploy/openbao/restorer-policy.hcl"),
    ),
];

struct Stand {
    runtime: Runtime,
    scene: Scene,
    bao: Bao,
}

impl Stand {
    fn new() -> Self {
        let (runtime, scene) = (runtime(), Scene::with_keyring());
        let etcd = etcd_with_rows(&runtime, &scene);
        save(&etcd, &scene, "saved.db");
        let bao = runtime.block_on(Bao::start()).unwrap();
        let root = bao.root();
        runtime.block_on(async {
            root.enable_transit("transit").await.unwrap();
            root.create_key("transit", "etcd-prod").await.unwrap();
            root.create_key("transit", "other").await.unwrap();
            for (name, policy) in POLICIES {
                let policy = policy.replace("CLUSTER", "prod");
                root.write_policy(name, &policy).await.unwrap();
                let grant = Grant::of([name]).without_default_policy();
                scene.write(name, root.create_token(&grant).await.unwrap());
            }
        });
        Self {
            runtime,
            scene,
            bao,
        }
    }

    fn rotate(&self) {
        let rotated = self.bao.root().rotate_key("transit", "etcd-prod");
        self.runtime.block_on(rotated).unwrap();
    }

    /// Runs a verb as `role`.
    fn run_as(&self, role: &str, verb: &[&str]) -> Run {
        let key = [
            "--bao-insecure-http",
            "--bao-key",
            "etcd-prod",
            "--bao-auth",
            "token",
        ];
        let address = [
            "--bao-address",
            self.bao.address(),
            "--bao-token-file",
            role,
        ];
        let place = ["--bucket", "bucket"];
        self.scene
            .kdc(&[&["backup"], verb, &place[..], &key, &address].concat())
    }

    fn seal(&self, id: &str, more: &[&str]) -> Run {
        let seal = ["seal", "saved.db", "--cluster", "prod", "--snapshot", id];
        self.run_as("backup", &[&seal[..], more].concat())
    }

    fn open_as(&self, role: &str, id: &str, out: &str) -> Run {
        let open = ["open", "--cluster", "prod", "--snapshot", id, "--out", out];
        self.run_as(role, &open)
    }
}

#[test]
fn each_role_does_its_work_and_no_other() {
    let stand = Stand::new();
    let saved = stand.scene.read("saved.db");
    for (id, format) in [("one", "1"), ("two", "2")] {
        let sealed = stand.seal(id, &["--format", format, "--output", "json"]);
        assert_eq!(sealed.succeeds().json()["key"], "transit/etcd-prod v1");
    }
    stand.rotate();
    let rewrapped = stand.run_as("rewrapper", &["rewrap", "--output", "json"]);
    assert_eq!(rewrapped.succeeds().json()["rewrapped"], 2);
    let again = stand.run_as("rewrapper", &["rewrap", "--output", "json"]);
    assert_eq!(again.succeeds().json()["alreadyNewest"], 2);
    for id in ["one", "two"] {
        let out = format!("{id}.db");
        stand.open_as("restorer", id, &out).succeeds();
        assert!(stand.scene.read(&out) == saved, "{id}");
        for role in ["backup", "rewrapper"] {
            stand
                .open_as(role, id, "stolen.db")
                .fails(77, "cannot unwrap the data key");
        }
    }
    for role in ["rewrapper", "restorer"] {
        let seal = ["seal", "saved.db", "--cluster", "prod", "--snapshot", "no"];
        stand
            .run_as(role, &seal)
            .fails(77, "cannot make a data key");
    }
    stand.rotate();
    for role in ["backup", "restorer"] {
        stand
            .run_as(role, &["rewrap"])
            .fails(77, "cannot rewrap data keys");
    }
    let verified = stand.run_as(
        "restorer",
        &["verify", "--cluster", "prod", "--all", "--full"],
    );
    assert_eq!(
        verified
            .succeeds()
            .text()
            .matches("bytes are authentic")
            .count(),
        2
    );
}

#[test]
fn version_1_is_what_older_tools_read() {
    let stand = Stand::new();
    stand.seal("one", &["--format", "1"]).succeeds();
    let read = |name: &str| stand.scene.read(&format!("bucket/prod/one/{name}"));
    let metadata: serde_json::Value = serde_json::from_slice(&read("metadata.json")).unwrap();
    let fields = [
        "algorithm",
        "createdAt",
        "etcdSnapshotSha256",
        "nonce",
        "schemaVersion",
        "source",
        "transitKey",
        "transitKeyVersion",
        "wrappedDek",
    ];
    let found: Vec<&String> = metadata.as_object().unwrap().keys().collect();
    assert_eq!(found, fields);
    assert_eq!(metadata["schemaVersion"], 1);
    assert_eq!(
        read("snapshot.db.enc").len(),
        stand.scene.read("saved.db").len() + 28
    );
    assert_eq!(
        metadata["wrappedDek"].as_str().unwrap().as_bytes(),
        read("dek.wrapped").trim_ascii()
    );
}

#[test]
fn a_key_of_another_name_is_refused_and_an_outage_told_apart() {
    let stand = Stand::new();
    stand.seal("one", &[]).succeeds();
    let open = [
        "open",
        "--cluster",
        "prod",
        "--snapshot",
        "one",
        "--out",
        "out.db",
    ];
    let other = stand.scene.kdc(
        &[
            &["backup"],
            &open[..],
            &[
                "--bucket",
                "bucket",
                "--bao-insecure-http",
                "--bao-key",
                "other",
            ],
            &["--bao-auth", "token", "--bao-token-file", "restorer"],
            &["--bao-address", stand.bao.address()],
        ]
        .concat(),
    );
    other.fails(
        1,
        "is under transit/etcd-prod v1, not under `transit/other`",
    );
    let Stand {
        runtime,
        scene,
        bao,
    } = stand;
    let address = bao.address().to_owned();
    drop(bao);
    let down = scene.kdc(
        &[
            &["backup"],
            &open[..],
            &[
                "--bucket",
                "bucket",
                "--bao-insecure-http",
                "--bao-key",
                "etcd-prod",
            ],
            &["--bao-auth", "token", "--bao-token-file", "restorer"],
            &["--bao-address", &address],
        ]
        .concat(),
    );
    down.fails(69, "cannot unwrap the data key");
    assert!(!scene.path("out.db").exists());
    drop(runtime);
}
