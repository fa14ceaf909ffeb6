//! Retained snapshots keep the keys that they need in the configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kdc_testbed::programs;
use serde_json::json;

use crate::fixture::{Cluster, Restarter, config};
use crate::transitions::{Plugin, kdc};

/// A folder bucket, and the keyring that its snapshots are sealed under.
struct Bucket {
    folder: PathBuf,
    keyring: PathBuf,
}

impl Bucket {
    fn new(folder: &Path) -> Self {
        let keyring = folder.join("snapshots.keyring");
        kdc(&["keyring", "init"], &keyring);
        let folder = folder.join("bucket");
        fs::create_dir(&folder).unwrap();
        Self { folder, keyring }
    }

    fn name(&self) -> &str {
        self.folder.to_str().unwrap()
    }

    /// Takes a snapshot of all of etcd.
    fn take(&self, cluster: &Cluster, snapshot: &str) {
        let mut command = Command::new(&programs::build().unwrap().kdc);
        command.args(["backup", "run", "--cluster", "prod", "--snapshot", snapshot]);
        command.args(["--bucket", self.name()]);
        command.arg("--keyring").arg(&self.keyring);
        command.args(["--etcd-endpoints", cluster.etcd.endpoint()]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

fn configuration(cluster: &Cluster) -> String {
    fs::read_to_string(&cluster.members[0].config).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_taken_between_two_changes_keeps_its_key_until_it_is_gone() {
    let plain = config(&["secrets"], &[json!({"identity": {}})]);
    let cluster = Cluster::start(1, &plain).await;
    let plugin = Plugin::start(cluster.folder()).await;
    let bucket = Bucket::new(cluster.folder());
    cluster.create_secrets(3).await;
    let restarter = Restarter::start(&cluster);
    let (endpoint, secrets) = (
        plugin.endpoint.as_str(),
        ["enable", "--resources", "secrets"],
    );
    let kms = ["--kms-name", "kdc", "--kms-endpoint", endpoint, "--yes"];
    let enabled = cluster.run(&[&secrets[..], &kms].concat()).await.done();
    assert!(enabled.contains("backups were not asked"), "{enabled}");
    bucket.take(&cluster, "monday");

    // The rows leave the plugin, and only the snapshot needs it.
    let asked = ["--output", "json", "--bucket", bucket.name()];
    let local = ["--provider", "aesgcm", "--yes"];
    let report = cluster.run(&[&secrets[..], &local, &asked].concat()).await;
    let report = report.json();
    assert_eq!(report["backupsAsked"], true);
    let stays = "kms v2 `kdc` stays, because the backup prod/monday needs it";
    assert_eq!(report["remarks"], json!([stays]));
    assert_eq!(cluster.prefixes("secrets").await, ["aesgcm:v1:key1"]);
    assert!(configuration(&cluster).contains(endpoint));
    let status = cluster
        .run(&[&["status"], &asked[..]].concat())
        .await
        .json();
    assert_eq!(status["change"]["phase"], "Done");
    assert_eq!(status["change"]["blockers"], json!([stays]));

    // The snapshots of another cluster, of which there is none, prove nothing.
    let other = [&["plan", "resume"], &asked[..], &["--cluster", "other"]].concat();
    let plan = cluster.run(&other).await.json();
    let remark = plan["blockers"][0].as_str().unwrap();
    assert!(
        remark.contains("it is not known which ones backups need"),
        "{remark}"
    );

    // A snapshot that does not tell its keys may need any.
    bucket.take(&cluster, "tuesday");
    fs::remove_dir_all(bucket.folder.join("prod/monday")).unwrap();
    let metadata = bucket.folder.join("prod/tuesday/metadata.json");
    let whole = fs::read(&metadata).unwrap();
    fs::write(&metadata, "{}").unwrap();
    let resumed = cluster
        .run(&[&["resume"], &asked[..]].concat())
        .await
        .json();
    let remark = resumed["remarks"][0].as_str().unwrap();
    assert!(remark.contains("prod/tuesday"), "{remark}");
    assert!(configuration(&cluster).contains(endpoint));

    // Nothing needs the plugin any more.
    fs::write(&metadata, whole).unwrap();
    let resumed = cluster
        .run(&[&["resume"], &asked[..]].concat())
        .await
        .json();
    assert_eq!(resumed["remarks"], json!([]));
    assert!(!configuration(&cluster).contains(endpoint));
    restarter.stop(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_cannot_be_asked_stops_a_change_before_it_begins() {
    let plain = config(&["secrets"], &[json!({"identity": {}})]);
    let cluster = Cluster::start(1, &plain).await;
    let enable = ["enable", "--provider", "aesgcm", "--yes"];
    for (flags, code) in [
        (&["--s3-region", "eu"][..], 64),
        (&["--cluster", "prod"], 64),
        (&["--bucket", "/dev/null/no", "--s3-region", "eu"], 64),
    ] {
        let refused = cluster.run(&[&enable[..], flags].concat()).await;
        assert_eq!(refused.code, Some(code), "{refused:?}");
        assert!(!cluster.state().exists());
    }
}
