//! The testbed itself: real servers start, answer, and leave nothing behind.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kdc_testbed::process::Signal;
use kdc_testbed::{ApiServer, Error, Etcd, KubeMinor, Process, Resource};
use serde_json::json;

#[tokio::test]
async fn etcd_stores_rows_and_tells_their_revision() {
    let etcd = Etcd::start().await.unwrap();
    etcd.put("/a/1", b"\x00first\xff").await.unwrap();
    etcd.put("/a/2", b"").await.unwrap();
    etcd.put("/b", b"other").await.unwrap();
    let rows = etcd.rows("/a/").await.unwrap();
    assert_eq!(
        rows.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(),
        ["/a/1", "/a/2"]
    );
    assert_eq!(rows[0].value, b"\x00first\xff");
    assert!(rows[1].value.is_empty());
    assert!(rows[0].mod_revision < rows[1].mod_revision);
    etcd.delete("/b").await.unwrap();
    assert_eq!(etcd.row("/b").await.unwrap(), None);
}

#[tokio::test]
async fn etcd_with_tls_refuses_a_client_without_a_certificate() {
    let etcd = Etcd::start_with_tls().await.unwrap();
    etcd.put("/a", b"value").await.unwrap();
    assert_eq!(etcd.row("/a").await.unwrap().unwrap().value, b"value");

    let with = etcd
        .etcdctl()
        .args(["get", "/a", "--print-value-only"])
        .output()
        .unwrap();
    assert_eq!(with.stdout, b"value\n");
    let program = etcd.etcdctl().get_program().to_owned();
    let without = Command::new(program)
        .args(["--endpoints", etcd.endpoint(), "--cacert"])
        .arg(&etcd.tls().unwrap().ca)
        .args(["--dial-timeout=1s", "--command-timeout=1s", "get", "/a"])
        .output()
        .unwrap();
    assert!(!without.status.success());
}

#[tokio::test]
async fn a_secret_goes_through_each_selected_api_server() {
    for minor in KubeMinor::selected().unwrap() {
        let etcd = Etcd::start().await.unwrap();
        let server = ApiServer::options()
            .minor(minor)
            .start(&etcd)
            .await
            .unwrap();
        let client = server.client();
        let version = client.raw("/version").await.unwrap();
        assert!(
            version.body.contains(&format!("\"v{minor}.")),
            "{}",
            version.body
        );

        let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "one"},
            "stringData": {"password": "correct horse"}});
        client
            .create(Resource::SECRETS, "default", &secret)
            .await
            .unwrap();
        let row = etcd
            .row("/registry/secrets/default/one")
            .await
            .unwrap()
            .unwrap();
        assert!(
            row.value.starts_with(b"k8s\0"),
            "stored as plaintext protobuf"
        );
        let read = client
            .read(Resource::SECRETS, "default", "one")
            .await
            .unwrap();
        assert_eq!(
            read["metadata"]["resourceVersion"],
            row.mod_revision.to_string()
        );

        secret["stringData"]["password"] = json!("battery staple");
        client
            .replace(Resource::SECRETS, "default", &secret)
            .await
            .unwrap();
        let list = client.list(Resource::SECRETS, "").await.unwrap();
        assert_eq!(list["items"][0]["data"]["password"], "YmF0dGVyeSBzdGFwbGU=");
        client
            .delete(Resource::SECRETS, "default", "one")
            .await
            .unwrap();
        let gone = client
            .read(Resource::SECRETS, "default", "one")
            .await
            .unwrap_err();
        assert_eq!(gone.status(), Some(404));
    }
}

#[tokio::test]
async fn two_api_servers_share_an_etcd_with_tls() {
    let etcd = Etcd::start_with_tls().await.unwrap();
    let first = ApiServer::options().start(&etcd).await.unwrap();
    let second = ApiServer::options().start(&etcd).await.unwrap();
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared"}, "data": {"a": "b"}});
    first
        .client()
        .create(Resource::CONFIG_MAPS, "default", &map)
        .await
        .unwrap();
    let read = second
        .client()
        .read(Resource::CONFIG_MAPS, "default", "shared")
        .await
        .unwrap();
    assert_eq!(read["data"]["a"], "b");
}

#[tokio::test]
async fn an_api_server_that_cannot_start_shows_its_log() {
    let etcd = Etcd::start().await.unwrap();
    let error = ApiServer::options()
        .encryption_config("/nonexistent/file")
        .start(&etcd)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Ended { .. }), "{error:?}");
    assert!(error.to_string().contains("/nonexistent/file"), "{error}");
}

#[tokio::test]
async fn a_process_is_stopped_continued_and_ended() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "echo $GREETING; trap 'exit 7' TERM; while :; do sleep 0.05; done",
        ])
        .env("GREETING", "hello");
    let mut process = Process::start("loop", &command, &log).unwrap();
    wait_until("the greeting is logged", || process.log().contains("hello"));
    process.signal(Signal::STOP).unwrap();
    wait_until("the process stands still", || {
        state_of(process.pid()) == Some('T')
    });
    process.signal(Signal::CONT).unwrap();
    assert_eq!(process.terminate(Duration::from_secs(10)).await.unwrap(), 7);
    assert!(matches!(
        process.signal(Signal::TERM),
        Err(Error::Ended { code: 7, .. })
    ));

    let mut process = Process::start("sleep", Command::new("sleep").arg("600"), &log).unwrap();
    let pid = process.pid();
    process.kill().await.unwrap();
    assert_eq!(process.exit_code().unwrap(), Some(128 + 9));
    assert_eq!(state_of(pid), None);

    let mut missing =
        Process::start("missing", &Command::new("/nonexistent/program"), &log).unwrap();
    assert_eq!(missing.wait(Duration::from_secs(10)).await.unwrap(), 127);
}

#[tokio::test]
async fn a_dropped_process_is_gone_even_when_it_stands_still() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(
        "sleep",
        Command::new("sleep").arg("600"),
        &folder.path().join("log"),
    )
    .unwrap();
    let pid = process.pid();
    process.signal(Signal::STOP).unwrap();
    drop(process);
    assert_eq!(state_of(pid), None);
}

#[tokio::test]
async fn what_a_process_started_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "sleep 600 & echo $!; wait"]);
    let mut process = Process::start("parent", &command, &folder.path().join("log")).unwrap();
    wait_until("the grandchild is logged", || process.log().ends_with('\n'));
    let grandchild = process.log().trim().parse().unwrap();
    assert!(state_of(grandchild).is_some());
    process.kill().await.unwrap();
    wait_until("the grandchild is gone", || state_of(grandchild).is_none());
}

#[test]
fn an_etcd_ends_when_the_process_that_started_it_is_killed() {
    let mut owner = Command::new(env!("CARGO_BIN_EXE_etcd-until-killed"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(owner.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let (pid, folder) = line.trim().split_once(' ').unwrap();
    let (etcd, folder): (u32, _) = (pid.parse().unwrap(), Path::new(folder));
    assert!(state_of(etcd).is_some() && folder.exists());
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until("etcd is gone", || state_of(etcd).is_none());
    wait_until("its folder is gone", || !folder.exists());
}

/// The state letter of a process in /proc; none when there is no such process
/// or only its exit code is left.
fn state_of(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let state = stat.rsplit_once(") ")?.1.chars().next()?;
    (state != 'Z').then_some(state)
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "waited in vain: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
