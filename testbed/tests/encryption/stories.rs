//! How clusters were lost elsewhere, and what happens here.

use std::fs;
use std::time::Duration;

use kdc_testbed::Resource;
use serde_json::json;

use crate::fixture::{Cluster, Restarter, config, secret};

const OLD: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
const OLDER: &str = "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWY=";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_stops_the_change_until_it_is_back() {
    let plain = config(&["secrets"], &[json!({"identity": {}})]);
    let cluster = Cluster::start(2, &plain).await;
    cluster.create_secrets(3).await;
    let before = fs::read(&cluster.members[1].config).unwrap();
    cluster.members[1].kill().await;
    let enable = [
        "enable",
        "--resources",
        "secrets",
        "--provider",
        "aesgcm",
        "--yes",
        "--patience",
        "3s",
    ];
    let stopped = cluster.run(&enable).await;
    let (code, line) = stopped.refusal();
    assert_eq!(code, 69, "{line}");
    assert!(
        line.contains(&cluster.members[1].url["https://".len()..]),
        "{line}"
    );
    assert!(
        line.contains("bring it back, or remove it from the cluster"),
        "{line}"
    );
    // Not even the server that is there was touched.
    assert_eq!(fs::read(&cluster.members[0].config).unwrap(), before);
    cluster.members[1].start().await;
    let restarter = Restarter::start(&cluster);
    let resumed = cluster.run(&["resume", "--output", "json"]).await.json();
    assert_eq!(resumed["change"], "enable");
    restarter.stop(&cluster).await;
    assert_eq!(cluster.prefixes("secrets").await, ["aesgcm:v1:key1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_change_waits_for_the_first() {
    let plain = config(&["secrets"], &[json!({"identity": {}})]);
    let cluster = Cluster::start(1, &plain).await;
    cluster.create_secrets(3).await;
    let enable = [
        "enable",
        "--resources",
        "secrets",
        "--provider",
        "aesgcm",
        "--yes",
        "--patience",
        "0s",
    ];
    assert_eq!(cluster.run(&enable).await.code, Some(69));
    let other = cluster.run(&["rotate", "--yes"]).await;
    let (code, line) = other.refusal();
    assert_eq!(code, 1);
    assert!(line.contains("a change is under way (enable)"), "{line}");
    // The same again is no second one: it makes no second key.
    assert_eq!(cluster.run(&enable).await.code, Some(69));
    let restarter = Restarter::start(&cluster);
    // The file was written before the restarter came; a start in the same second would prove nothing.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    cluster.members[0].restart().await;
    cluster.run(&["resume"]).await.done();
    cluster.run(&["rotate", "--yes"]).await.done();
    restarter.stop(&cluster).await;
    assert_eq!(cluster.prefixes("secrets").await, ["aesgcm:v1:key2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_file_is_adopted_with_all_its_keys() {
    let keys = json!({"aescbc": {"keys": [{"name": "new", "secret": OLD}, {"name": "old", "secret": OLDER}]}});
    let foreign = config(&["secrets"], &[keys, json!({"identity": {}})]);
    let cluster = Cluster::start(1, &foreign).await;
    cluster.create_secrets(3).await;
    let plan = cluster
        .run(&["plan", "rotate", "--output", "json"])
        .await
        .json();
    assert_eq!(plan["complete"], true);
    assert_eq!(plan["reloads"], 3);
    assert_eq!(
        fs::read_to_string(&cluster.members[0].config).unwrap(),
        foreign,
        "a plan changes nothing"
    );
    assert!(!cluster.state().exists());

    let restarter = Restarter::start(&cluster);
    cluster.run(&["rotate", "--yes"]).await.done();
    restarter.stop(&cluster).await;
    assert_eq!(cluster.prefixes("secrets").await, ["aescbc:v1:key1"]);
    let after = fs::read_to_string(&cluster.members[0].config).unwrap();
    let places = [after.find("key1"), after.find("new"), after.find("old")];
    assert!(places.is_sorted() && places[0].is_some(), "{after}");
    assert!(!after.contains("identity"), "no plain row is left: {after}");
    // The node keeps all keys and the earlier files for a recovery by hand.
    let node = cluster.members[0].config.parent().unwrap();
    let history = fs::read_to_string(node.join("encryption-provider-history.bak")).unwrap();
    assert!(history.contains(OLD) && history.contains(OLDER));
    let earlier = fs::read_dir(node.join("encryption-provider-bak"))
        .unwrap()
        .count();
    assert!(earlier >= 2, "{earlier} earlier files");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_be_understood_is_left_alone() {
    let plain = config(&["secrets"], &[json!({"identity": {}})]);
    let cluster = Cluster::start(1, &plain).await;
    let broken = plain.replace("\"providers\"", "\"provider\"");
    fs::write(&cluster.members[0].config, &broken).unwrap();
    let refused = cluster
        .run(&["enable", "--provider", "aesgcm", "--yes"])
        .await;
    let (code, line) = refused.refusal();
    assert_eq!(code, 78, "{line}");
    assert!(line.contains("is left alone"), "{line}");
    assert!(line.contains("provider"), "{line}");
    assert_eq!(
        fs::read_to_string(&cluster.members[0].config).unwrap(),
        broken
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_mounted_alone_is_never_taken_for_loaded() {
    let plain = config(&["secrets"], &[json!({"identity": {}})]);
    let cluster = Cluster::start_split(&plain).await;
    cluster.create_secrets(3).await;
    // Even a restart does not help: the name in the mount still leads to the old inode.
    let restarter = Restarter::start(&cluster);
    let enable = [
        "enable",
        "--resources",
        "secrets",
        "--provider",
        "aesgcm",
        "--yes",
        "--patience",
        "20s",
    ];
    let stopped = cluster.run(&enable).await;
    restarter.stop(&cluster).await;
    let (code, line) = stopped.refusal();
    assert_eq!(code, 69, "{line}");
    assert!(line.contains("mount its folder"), "{line}");
    assert_eq!(cluster.prefixes("secrets").await, ["plain"]);
    // Nothing was lost, so it can be turned around.
    let abort = cluster.run(&["abort", "--yes", "--patience", "1s"]).await;
    assert!(matches!(abort.code, Some(0 | 69)), "{abort:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_an_interrupted_rewrite_are_done_by_the_next_one() {
    let old = json!({"aesgcm": {"keys": [{"name": "old", "secret": OLD}]}});
    let cluster = Cluster::start(1, &config(&["secrets"], &[old])).await;
    cluster.create_secrets(300).await;
    let both = json!({"aesgcm": {"keys": [{"name": "new", "secret": OLDER}, {"name": "old", "secret": OLD}]}});
    fs::write(&cluster.members[0].config, config(&["secrets"], &[both])).unwrap();
    cluster.members[0].restart().await;
    // Ten rows a second, killed after two seconds.
    let mut slow = cluster.command(&["rewrite", "secrets", "--rate", "10", "--in-flight", "1"]);
    let mut child = slow.spawn().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(
        cluster.prefixes("secrets").await,
        ["aesgcm:v1:new", "aesgcm:v1:old"]
    );
    let report = cluster
        .run(&["rewrite", "secrets", "--output", "json"])
        .await
        .json();
    let resource = &report["resources"][0];
    assert!(resource["current"].as_u64().unwrap() >= 5, "{report}");
    assert!(resource["rewritten"].as_u64().unwrap() >= 200, "{report}");
    let verified = cluster.run(&["verify", "--resources", "secrets"]).await;
    assert!(verified.done().contains("every row is on the newest key"));
    // A stale row, such as one restored from a backup.
    let stale = cluster
        .etcd
        .row("/registry/secrets/default/s-1")
        .await
        .unwrap()
        .unwrap();
    cluster
        .etcd
        .put("/registry/secrets/default/s-1", &stale.value)
        .await
        .unwrap();
    let read = cluster
        .client()
        .read(Resource::SECRETS, "default", "s-1")
        .await
        .unwrap();
    assert_eq!(read["data"], secret("s-1", "s-1")["data"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_names_what_is_not_installed_is_worked_with_and_the_name_is_told() {
    const AWAY: &str = "widgets.not-installed.example";
    const TOLD: &str = "widgets.not-installed.example: nothing is served under this name";
    let keys = json!({"aescbc": {"keys": [{"name": "old", "secret": OLD}]}});
    let file = config(&["secrets", AWAY], &[keys, json!({"identity": {}})]);
    let cluster = Cluster::start(1, &file).await;
    cluster.create_secrets(3).await;

    let status = cluster.run(&["status", "--output", "json"]).await.json();
    let resources = status["resources"].as_array().unwrap();
    let skipped = |name: &str| {
        let mut resources = resources.iter();
        let found = resources.find(|resource| resource["resource"] == name);
        found.unwrap()["skipped"].clone()
    };
    assert_eq!(skipped(AWAY), "not-served");
    assert!(skipped("secrets").is_null());
    let status = cluster.run(&["status"]).await;
    assert!(status.stdout.contains(TOLD), "{}", status.stdout);

    let etcd = ["--etcd-endpoints", cluster.etcd.endpoint()];
    for flags in [&[][..], &etcd] {
        let verify = [&["verify", "--output", "json"], flags].concat();
        let verified = cluster.run(&verify).await.json();
        assert_eq!(verified["verified"], true, "{verified}");
        let skipped = match flags.is_empty() {
            true => &verified["pass"]["skipped"],
            false => &verified["skipped"],
        };
        assert_eq!(skipped[0]["resource"], AWAY, "{verified}");
        assert_eq!(skipped[0]["reason"], "not-served", "{verified}");
    }

    let plan = cluster.run(&["plan", "rotate", "--output", "json"]).await;
    let plan = plan.json();
    assert_eq!(plan["complete"], true);
    assert_eq!(plan["skipped"][0]["resource"], AWAY);

    let restarter = Restarter::start(&cluster);
    let rotated = cluster.run(&["rotate", "--yes"]).await;
    assert!(rotated.stderr.contains(TOLD), "{}", rotated.stderr);
    rotated.done();
    let enable = ["enable", "--provider", "secretbox", "--yes", "--resources"];
    let both = [&enable[..], &["secrets,widgets.not-installed.example"]].concat();
    cluster.run(&both).await.done();
    // A name that is new is a mistake.
    let refused = cluster.run(&[&enable[..], &["secret"]].concat()).await;
    let (code, line) = refused.refusal();
    assert_eq!(code, 64, "{line}");
    assert!(
        line.contains("nothing is served under the name `secret`"),
        "{line}"
    );
    restarter.stop(&cluster).await;
    assert_eq!(cluster.prefixes("secrets").await, ["secretbox:v1:key2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_of_the_environment_is_not_in_the_way_of_what_needs_none() {
    let plain = config(&["secrets"], &[json!({"identity": {}})]);
    let cluster = Cluster::start(1, &plain).await;
    for (name, value) in [
        ("HTTPS_PROXY", "http://127.0.0.1:1"),
        ("https_proxy", "127.0.0.1:1"),
    ] {
        let mut command = cluster.command(&["status"]);
        let output = command.env(name, value).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{name}: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_files_that_kubeconfig_names_are_merged() {
    let plain = config(&["secrets"], &[json!({"identity": {}})]);
    let cluster = Cluster::start(1, &plain).await;
    let text = fs::read_to_string(&cluster.kubeconfig).unwrap();
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    let only = |fields: &[&str]| {
        let fields = fields
            .iter()
            .map(|field| ((*field).to_owned(), all[field].clone()));
        serde_json::Value::Object(fields.collect()).to_string()
    };
    let path = |name: &str| cluster.folder().join(name);
    fs::write(path("users"), only(&["users"])).unwrap();
    fs::write(
        path("others"),
        only(&["clusters", "contexts", "current-context"]),
    )
    .unwrap();
    let paths = [path("away"), path("users"), path("others")];
    let paths = std::env::join_paths(paths).unwrap();
    let mut command = std::process::Command::new(&kdc_testbed::programs::build().unwrap().kdc);
    command.args(["encryption", "verify", "--resources", "configmaps"]);
    let output = command.env("KUBECONFIG", paths).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("configmaps"), "{shown}{stderr}");
}
