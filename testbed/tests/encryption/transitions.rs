//! Every change, one after the other, on two API servers, while clients read and write through both.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kdc_testbed::{Process, Resource, programs};
use serde_json::json;

use crate::fixture::{Cluster, Load, Restarter, config, secret};

const SECRETS: usize = 40;

/// `kms-plugin` on a fresh keyring, as both API servers' plugin.
pub struct Plugin {
    pub keyring: PathBuf,
    pub endpoint: String,
    _process: Process,
}

impl Plugin {
    pub async fn start(folder: &Path) -> Self {
        let keyring = folder.join("keyring");
        kdc(&["keyring", "init"], &keyring);
        let socket = folder.join("kms.sock");
        let mut command = Command::new(&programs::build().unwrap().kms_plugin);
        command.arg("--socket").arg(&socket);
        command.arg("--keyring").arg(&keyring);
        let process = Process::start("kms-plugin", &command, &folder.join("plugin.log")).unwrap();
        while !socket.exists() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self {
            keyring,
            endpoint: format!("unix://{}", socket.display()),
            _process: process,
        }
    }
}

/// One step in the life of a keyring.
pub fn kdc(words: &[&str], file: &Path) {
    let mut command = Command::new(&programs::build().unwrap().kdc);
    let output = command.args(words).arg(file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_is_carried_out_without_a_failed_read() {
    let plain = config(&["secrets"], &[json!({"identity": {}})]);
    let cluster = Cluster::start(2, &plain).await;
    let plugin = Plugin::start(cluster.folder()).await;
    cluster.create_secrets(SECRETS).await;
    cluster
        .client()
        .create(Resource::CONFIG_MAPS, "default", &json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"},
        }))
        .await
        .unwrap();
    assert_eq!(cluster.prefixes("secrets").await, ["plain"]);
    let restarter = Restarter::start(&cluster);
    let load = Load::start(&cluster);

    // Enabling: before it is done there may be plain rows, afterwards there is none.
    let enable = [
        "enable",
        "--resources",
        "secrets",
        "--provider",
        "aescbc",
        "--yes",
    ];
    let report = change(&cluster, &enable, &["aescbc:v1:key1"]).await;
    assert_eq!(report["change"], "enable");
    assert!(
        report["passes"][0]["resources"][0]["rewritten"]
            .as_u64()
            .unwrap()
            >= SECRETS as u64
    );
    assert_eq!(report["passes"][1]["resources"][0]["rewritten"], 0);

    // Another provider.
    let enable = [
        "enable",
        "--resources",
        "secrets",
        "--provider",
        "aesgcm",
        "--yes",
    ];
    change(&cluster, &enable, &["aesgcm:v1:key2"]).await;

    // A new key; the old one stays to be read.
    change(&cluster, &["rotate", "--yes"], &["aesgcm:v1:key3"]).await;
    let status = cluster.run(&["status", "--output", "json"]).await.json();
    assert_eq!(status["resources"][0]["writer"], "aesgcm key `key3`");
    assert_eq!(
        status["resources"][0]["readers"],
        json!(["aesgcm key `key2`", "aescbc key `key1`"])
    );
    assert_eq!(status["change"]["phase"], "Done");

    // A KMS plugin, then more resources behind it.
    let endpoint = plugin.endpoint.as_str();
    let kms = ["--kms-name", "kdc", "--kms-endpoint", endpoint, "--yes"];
    let enable = [&["enable", "--resources", "secrets"], kms.as_slice()].concat();
    change(&cluster, &enable, &["kms:v2:kdc"]).await;
    let enable = [
        &["enable", "--resources", "secrets,configmaps"],
        kms.as_slice(),
    ]
    .concat();
    change(&cluster, &enable, &["kms:v2:kdc"]).await;
    assert_eq!(cluster.prefixes("configmaps").await, ["kms:v2:kdc"]);

    // Another KMS plugin.
    let other = cluster.folder().join("other");
    std::fs::create_dir(&other).unwrap();
    let other = Plugin::start(&other).await;
    let endpoint = other.endpoint.as_str();
    let kms = ["--kms-name", "other", "--kms-endpoint", endpoint, "--yes"];
    let enable = [&["enable", "--resources", "secrets"], kms.as_slice()].concat();
    change(&cluster, &enable, &["kms:v2:other"]).await;

    // An abort after the first file was written, and after the promotion was recorded.
    for patience in ["0s", "4s"] {
        let disable = [
            "disable",
            "--resources",
            "secrets",
            "--timeout",
            patience,
            "--yes",
        ];
        let stopped = cluster.run(&disable).await;
        if stopped.code == Some(0) {
            panic!("it was done within {patience}: {}", stopped.stdout);
        }
        let abort = change(&cluster, &["abort", "--yes"], &["kms:v2:other"]).await;
        assert_eq!(abort["change"], "abort");
    }

    // And back to plain rows.
    let disabled = change(&cluster, &["disable", "--yes"], &["plain"]).await;
    assert_eq!(disabled["change"], "disable");
    restarter.stop(&cluster).await;
    load.stop().await;
    for number in 0..SECRETS {
        let name = format!("s-{number}");
        let read = cluster
            .client()
            .read(Resource::SECRETS, "default", &name)
            .await;
        assert_eq!(read.unwrap()["data"], secret(&name, &name)["data"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_follow_a_new_version_of_the_key_behind_a_kms_plugin() {
    let plain = config(&["secrets"], &[json!({"identity": {}})]);
    let cluster = Cluster::start(1, &plain).await;
    let plugin = Plugin::start(cluster.folder()).await;
    cluster.create_secrets(5).await;
    let restarter = Restarter::start(&cluster);
    let kms = [
        "--kms-name",
        "kdc",
        "--kms-endpoint",
        &plugin.endpoint,
        "--yes",
    ];
    let enable = [&["enable", "--resources", "secrets"], kms.as_slice()].concat();
    change(&cluster, &enable, &["kms:v2:kdc"]).await;
    restarter.stop(&cluster).await;
    kdc(&["keyring", "add"], &plugin.keyring);
    kdc(&["keyring", "promote"], &plugin.keyring);
    // The API server asks its plugin once a minute.
    let start = Instant::now();
    while cluster.verify_rows().await.code == Some(0) {
        assert!(
            start.elapsed() < Duration::from_secs(150),
            "the new key id is not seen"
        );
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let slow = std::env::var_os("KDC_TESTBED_SLOW").is_some();
    let patience = if slow { "10m" } else { "0s" };
    let resumed = cluster
        .run(&["resume", "--timeout", patience, "--output", "json"])
        .await;
    if slow {
        let report = resumed.json();
        assert_eq!(report["passes"][0]["resources"][0]["rewritten"], 5);
        assert_eq!(cluster.verify_rows().await.code, Some(0));
    } else {
        let (code, line) = resumed.refusal();
        assert_eq!(code, 69);
        assert!(
            line.contains("the key id of the KMS provider `kdc` is too new"),
            "{line}"
        );
    }
}

/// Carries a change out and looks at every row of Secrets afterwards.
async fn change(cluster: &Cluster, words: &[&str], prefixes: &[&str]) -> serde_json::Value {
    let words = [words, &["--output", "json"]].concat();
    let report = cluster.run(&words).await.json();
    assert_eq!(report["done"], true);
    assert_eq!(cluster.prefixes("secrets").await, prefixes, "{words:?}");
    let verified = cluster.verify_rows().await;
    assert_eq!(
        verified.code,
        Some(0),
        "{}{}",
        verified.stdout,
        verified.stderr
    );
    report
}
