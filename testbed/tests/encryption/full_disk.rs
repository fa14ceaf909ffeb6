//! A disk that is full at one write after the other.
//!
//! Every file is synced before and its folder after it gets its name, so a sync that fails stands for both a write that the
//! disk did not take and a name that may not last.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use serde_json::json;

use crate::fixture::{Cluster, Ran, config, run};

const CHANGE: [&str; 8] = [
    "enable",
    "--resources",
    "secrets",
    "--provider",
    "aesgcm",
    "--patience",
    "0s",
    "--yes",
];
/// Exit codes: it waits for the API server; the disk takes nothing.
const WAITS: i32 = 69;
const DISK: [i32; 2] = [73, 74];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_at_any_write_costs_no_key() {
    let plain = config(&["secrets"], &[json!({"identity": {}})]);
    let cluster = Cluster::start(1, &plain).await;
    let library = full_disk(cluster.folder());
    let loaded = fs::metadata(&cluster.members[0].config).unwrap().modified();
    let loaded = loaded.unwrap();
    let mut writes = 0;
    loop {
        begin_anew(&cluster, &plain, loaded);
        let full = run_with(&cluster, &library, writes + 1).await;
        let (code, line) = full.refusal();
        if code == WAITS {
            break;
        }
        writes += 1;
        assert!(DISK.contains(&code), "at write {writes}: {code} {line}");
        assert!(line.contains("No space left"), "at write {writes}: {line}");
        assert_keys_are_kept(&cluster, &plain);
        // With room again the same command goes on.
        let again = cluster.run(&CHANGE).await;
        let (code, line) = again.refusal();
        assert_eq!(code, WAITS, "after write {writes}: {line}");
        assert_keys_are_kept(&cluster, &plain);
        let text = fs::read_to_string(&cluster.members[0].config).unwrap();
        assert!(text.contains("aesgcm"), "after write {writes}: {text}");
    }
    assert!(writes >= 8, "only {writes} writes");
}

/// Every key of the configuration is in the history of the node and in the keyring.
fn assert_keys_are_kept(cluster: &Cluster, plain: &str) {
    let config = &cluster.members[0].config;
    let text = fs::read_to_string(config).unwrap();
    if text == plain {
        return;
    }
    let history = fs::read_to_string(node(cluster).join("encryption-provider-history.bak"));
    let keyring = fs::read_to_string(cluster.state().join("keyring")).unwrap();
    let history = history.unwrap();
    let secrets: Vec<_> = text
        .split("secret")
        .skip(1)
        .filter_map(|rest| {
            rest.split(['"', ' ', '\n', ':', ',', '}'])
                .find(|word| word.len() == 44)
        })
        .collect();
    assert!(!secrets.is_empty(), "{text}");
    for secret in secrets {
        assert!(history.contains(secret) && keyring.contains(secret));
    }
}

/// The file is as old as before: up to 1.33 an API server shows what it has loaded by its age alone.
fn begin_anew(cluster: &Cluster, plain: &str, loaded: SystemTime) {
    for place in ["encryption-provider-bak", "encryption-provider-history.bak"] {
        remove(&node(cluster).join(place));
    }
    remove(&cluster.state());
    let config = &cluster.members[0].config;
    fs::write(config, plain).unwrap();
    let file = fs::File::options().write(true).open(config).unwrap();
    file.set_modified(loaded).unwrap();
}

fn remove(path: &Path) {
    match path.is_dir() {
        true => fs::remove_dir_all(path).unwrap(),
        false => drop(fs::remove_file(path)),
    }
}

fn node(cluster: &Cluster) -> PathBuf {
    cluster.members[0].config.parent().unwrap().to_owned()
}

async fn run_with(cluster: &Cluster, library: &Path, full_at: u32) -> Ran {
    let mut command = cluster.command(&CHANGE);
    command.env("LD_PRELOAD", library);
    command.env("KDC_TESTBED_FULL_AT", full_at.to_string());
    run(command).await
}

/// Builds the library that is loaded into the program.
fn full_disk(folder: &Path) -> PathBuf {
    let source = folder.join("full_disk.c");
    fs::write(&source, include_str!("full_disk.c")).unwrap();
    let library = folder.join("full_disk.so");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source);
    let built = cc.output().unwrap();
    assert!(built.status.success(), "{built:?}");
    library
}
