//! Data keys that OpenBao makes, moves and opens, each by a client that may do nothing else.

use kdc_testbed::bao::{Bao, Grant};

use crate::backup_fixture::{BackupFixture, Place};
use crate::fixture::Run;

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

/// A bucket whose keys are in OpenBao, and a token of each policy in a file of its name.
struct WithBao {
    backups: BackupFixture,
    bao: Bao,
}

impl WithBao {
    fn new(place: Place) -> Self {
        let backups = BackupFixture::new(place);
        backups.save_snapshot();
        let bao = backups.runtime.block_on(Bao::start()).unwrap();
        let root = bao.root();
        backups.runtime.block_on(async {
            root.enable_transit("transit").await.unwrap();
            root.create_key("transit", "etcd-prod").await.unwrap();
            root.create_key("transit", "other").await.unwrap();
            for (name, policy) in POLICIES {
                let policy = policy.replace("CLUSTER", "prod");
                root.write_policy(name, &policy).await.unwrap();
                let grant = Grant::of([name]).without_default_policy();
                let token = root.create_token(&grant).await.unwrap();
                backups.fixture.write(name, token);
            }
        });
        Self { backups, bao }
    }

    fn rotate(&self) {
        let rotated = self.bao.root().rotate_key("transit", "etcd-prod");
        self.backups.runtime.block_on(rotated).unwrap();
    }

    /// Runs a verb as `role`.
    fn run_as(&self, role: &str, verb: &str, more: &[&str]) -> Run {
        self.run_with(role, "etcd-prod", verb, more)
    }

    /// Runs a verb as `role` with a key of another name.
    fn run_with(&self, role: &str, key: &str, verb: &str, more: &[&str]) -> Run {
        run_at(&self.backups, self.bao.address(), (role, key), verb, more)
    }

    fn seal(&self, id: &str, more: &[&str]) -> Run {
        let seal = ["saved.db", "--cluster", "prod", "--snapshot", id];
        self.run_as("backup", "seal", &[&seal[..], more].concat())
    }

    fn open_as(&self, role: &str, id: &str, out: &str) -> Run {
        let open = ["--cluster", "prod", "--snapshot", id, "--out", out];
        self.run_as(role, "open", &open)
    }
}

/// Runs a verb with a key at an address, where a server need not be.
fn run_at(
    backups: &BackupFixture,
    address: &str,
    (role, key): (&str, &str),
    verb: &str,
    more: &[&str],
) -> Run {
    let login = ["--bao-auth", "token", "--bao-token-file", role];
    let bao = ["--bao-address", address, "--bao-insecure-http"];
    backups.run(
        verb,
        &[&bao[..], &["--bao-key", key], &login, more].concat(),
    )
}

#[test]
fn each_role_does_its_work_and_no_other_in_a_folder() {
    each_role(&WithBao::new(Place::Folder));
}

#[test]
fn each_role_does_its_work_and_no_other_in_s3() {
    each_role(&WithBao::new(Place::S3));
}

fn each_role(backups: &WithBao) {
    let fixture = &backups.backups.fixture;
    let saved = fixture.read("saved.db");
    for (id, format) in [("one", "1"), ("two", "2")] {
        let sealed = backups.seal(id, &["--format", format, "--output", "json"]);
        assert_eq!(sealed.succeeds().json()["key"], "transit/etcd-prod v1");
    }
    backups.rotate();
    let rewrap = |role: &str| backups.run_as(role, "rewrap", &["--output", "json"]);
    assert_eq!(rewrap("rewrapper").succeeds().json()["rewrapped"], 2);
    assert_eq!(rewrap("rewrapper").succeeds().json()["alreadyNewest"], 2);
    for id in ["one", "two"] {
        let out = format!("{id}.db");
        backups.open_as("restorer", id, &out).succeeds();
        assert!(fixture.read(&out) == saved, "{id}");
        for role in ["backup", "rewrapper"] {
            backups
                .open_as(role, id, "stolen.db")
                .fails(77, "cannot unwrap the data key");
        }
    }
    for role in ["rewrapper", "restorer"] {
        let seal = ["saved.db", "--cluster", "prod", "--snapshot", "no"];
        backups
            .run_as(role, "seal", &seal)
            .fails(77, "cannot make a data key");
    }
    backups.rotate();
    for role in ["backup", "restorer"] {
        rewrap(role).fails(77, "cannot rewrap data keys");
    }
    let verify = ["--cluster", "prod", "--all", "--full"];
    let verified = backups.run_as("restorer", "verify", &verify);
    let text = verified.succeeds().text();
    assert_eq!(text.matches("bytes are authentic").count(), 2);
}

#[test]
fn version_1_is_what_older_tools_read() {
    let backups = WithBao::new(Place::Folder);
    backups.seal("one", &["--format", "1"]).succeeds();
    let read = |name: &str| backups.backups.read(&format!("prod/one/{name}"));
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
    let saved = backups.backups.fixture.read("saved.db");
    assert_eq!(read("snapshot.db.enc").len(), saved.len() + 28);
    assert_eq!(
        metadata["wrappedDek"].as_str().unwrap().as_bytes(),
        read("dek.wrapped").trim_ascii()
    );
}

#[test]
fn a_key_of_another_name_is_refused_and_an_outage_told_apart() {
    let with_bao = WithBao::new(Place::Folder);
    with_bao.seal("one", &[]).succeeds();
    let open = ["--cluster", "prod", "--snapshot", "one", "--out", "out.db"];
    with_bao.run_with("restorer", "other", "open", &open).fails(
        1,
        "is under transit/etcd-prod v1, not under `transit/other`",
    );
    let WithBao { backups, bao } = with_bao;
    let address = bao.address().to_owned();
    drop(bao);
    run_at(&backups, &address, ("restorer", "etcd-prod"), "open", &open)
        .fails(69, "cannot unwrap the data key");
    assert!(!backups.fixture.path("out.db").exists());
}
