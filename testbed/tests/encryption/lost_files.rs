//! Configuration management takes a configuration away, or puts an earlier version of it in its place. The tool makes no row
//! unreadable by what it writes then, says what is lost, and puts it back.

use std::fs;
use std::time::{Duration, Instant};

use kdc_testbed::Resource;
use serde_json::json;

use crate::fixture::{Cluster, Load, Ran, Restarter, config, secret};
use crate::transitions::Plugin;

const SECRETS: usize = 10;
/// More than API servers need to look at their files.
const RELOAD: Duration = Duration::from_secs(150);
const ENABLE: [&str; 6] = [
    "enable",
    "--resources",
    "secrets",
    "--provider",
    "aesgcm",
    "--yes",
];

async fn plain_cluster() -> Cluster {
    let plain = config(&["secrets"], &[json!({"identity": {}})]);
    let cluster = Cluster::start(1, &plain).await;
    cluster.create_secrets(SECRETS).await;
    cluster
}

/// Carries a change out, with restarts for reloads.
async fn change(cluster: &Cluster, words: &[&str]) -> String {
    let restarter = Restarter::start(cluster);
    let ran = cluster.run(words).await;
    restarter.stop(cluster).await;
    ran.done()
}

fn config_of(cluster: &Cluster) -> String {
    fs::read_to_string(&cluster.members[0].config).unwrap()
}

/// `status`, `plan` and every new change name the file and what it lacks, with 1, and leave everything as it is.
async fn is_told(cluster: &Cluster, lacks: &str, new_change: &[&str]) {
    let path = cluster.members[0].config.display().to_string();
    let names_both = |text: &str| text.contains(lacks) && text.contains(&path);
    let before = fs::read(&cluster.members[0].config).ok();
    for words in [&["status"][..], &["plan", "resume"]] {
        let ran = cluster.run(words).await;
        assert_eq!(ran.code, Some(1), "{words:?}: {ran:?}");
        assert!(names_both(&ran.stdout), "{words:?}: {ran:?}");
    }
    let status = cluster.run(&["status", "--output", "json"]).await;
    assert_eq!(status.code, Some(1), "{status:?}");
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert!(names_both(status["lacking"][0].as_str().unwrap()));
    for words in [new_change, &["rotate", "--yes"], &["disable", "--yes"]] {
        let ran = cluster.run(words).await;
        let (code, line) = ran.refusal();
        assert_eq!(code, 1, "{line}");
        assert!(names_both(line), "{line}");
        assert!(
            line.contains("`kdc encryption resume` puts it back"),
            "{line}"
        );
        assert!(line.contains("nothing was changed"), "{line}");
    }
    assert_eq!(fs::read(&cluster.members[0].config).ok(), before);
}

async fn is_healed(cluster: &Cluster, prefix: &str, secrets: &[String]) {
    assert_eq!(cluster.prefixes("secrets").await, [prefix]);
    for name in secrets {
        let client = cluster.client();
        let read = client.read(Resource::SECRETS, "default", name).await;
        assert_eq!(read.unwrap()["data"], secret(name, name)["data"]);
    }
    let status = cluster.run(&["status"]).await;
    assert_eq!(status.code, Some(0), "{status:?}");
    let verified: Ran = cluster.verify_rows().await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

fn names() -> Vec<String> {
    (0..SECRETS).map(|number| format!("s-{number}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_configuration_comes_back_with_the_key_of_the_rows() {
    let cluster = plain_cluster().await;
    change(&cluster, &ENABLE).await;
    let load = Load::start(&cluster);
    let file = &cluster.members[0].config;
    fs::remove_file(file).unwrap();
    is_told(&cluster, "aesgcm key `key1`", &ENABLE).await;
    change(&cluster, &["resume"]).await;
    is_healed(&cluster, "aesgcm:v1:key1", &names()).await;

    // The same with the state of an earlier release, which noted less, and without a copy of what is in use.
    fs::remove_file(cluster.state().join("row-writers.json")).unwrap();
    fs::remove_dir_all(file.parent().unwrap().join("encryption-provider-bak")).unwrap();
    fs::remove_file(file).unwrap();
    is_told(&cluster, "aesgcm key `key1`", &ENABLE).await;
    change(&cluster, &["resume"]).await;
    is_healed(&cluster, "aesgcm:v1:key1", &names()).await;
    load.stop().await;
    // Then the next change is one like any other.
    change(&cluster, &["rotate", "--yes"]).await;
    is_healed(&cluster, "aesgcm:v1:key2", &names()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_earlier_configuration_gets_back_the_key_of_the_rows() {
    let cluster = plain_cluster().await;
    change(&cluster, &ENABLE).await;
    let earlier = config_of(&cluster);
    change(&cluster, &["rotate", "--yes"]).await;
    fs::write(&cluster.members[0].config, &earlier).unwrap();
    is_told(&cluster, "aesgcm key `key2`", &ENABLE).await;
    // It is loaded within a minute, and then no row can be read. So the earlier file does, and not the tool.
    let client = cluster.client();
    let read = async || client.read(Resource::SECRETS, "default", "s-1").await;
    let start = Instant::now();
    while read().await.is_ok() {
        assert!(start.elapsed() < RELOAD, "it is not loaded");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let late = secret("late", "late");
    let made = client.create(Resource::SECRETS, "default", &late);
    made.await.unwrap();
    let written = ["aesgcm:v1:key1", "aesgcm:v1:key2"];
    assert_eq!(cluster.prefixes("secrets").await, written);
    is_told(&cluster, "aesgcm key `key2`", &ENABLE).await;
    change(&cluster, &["resume"]).await;
    let all = [names(), vec!["late".to_owned()]].concat();
    is_healed(&cluster, "aesgcm:v1:key2", &all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kms_provider_comes_back_with_its_configuration_and_no_row_becomes_plain() {
    let cluster = plain_cluster().await;
    let plugin = Plugin::start(cluster.folder()).await;
    let endpoint = plugin.endpoint.as_str();
    let kms = ["--kms-name", "kdc", "--kms-endpoint", endpoint, "--yes"];
    let enable = [&["enable", "--resources", "secrets"], kms.as_slice()].concat();
    change(&cluster, &enable).await;
    let load = Load::start(&cluster);
    let file = &cluster.members[0].config;
    fs::remove_file(file).unwrap();
    is_told(&cluster, "kms v2 `kdc`", &ENABLE).await;
    change(&cluster, &["resume"]).await;
    is_healed(&cluster, "kms:v2:kdc", &names()).await;

    // In the middle of a change, and then it is turned around.
    let begun = [&ENABLE[..], &["--patience", "0s"]].concat();
    assert_eq!(cluster.run(&begun).await.code, Some(69));
    fs::remove_file(file).unwrap();
    change(&cluster, &["abort", "--yes"]).await;
    is_healed(&cluster, "kms:v2:kdc", &names()).await;
    load.stop().await;
    let nothing = cluster.run(&["abort", "--yes"]).await;
    let (code, line) = nothing.refusal();
    assert_eq!(code, 1);
    assert!(
        line.contains("the last change (abort) is finished"),
        "{line}"
    );
}
