//! Each mistake gets one line that says what, where and what to do, an exit code, and changes nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::fixture::{Cluster, config};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_are_named_and_change_nothing() {
    let plain = config(&["secrets"], &[json!({"identity": {}})]);
    let cluster = Cluster::start(1, &plain).await;
    let enable = ["enable", "--provider", "aesgcm", "--yes"];
    let with = |words: &[&str], more: &[&str]| {
        let mut command = cluster.command(words);
        command.args(more);
        command
    };
    let folder = cluster.folder().to_owned();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let kubeconfig = fs::read_to_string(&cluster.kubeconfig).unwrap();
    let token = kubeconfig
        .split("\"token\":\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let stranger = write("stranger", &kubeconfig.replace(token, "not-this-one"));
    let damaged = write("damaged", "{\"clusters\": [");
    let away = write(
        "away",
        &kubeconfig.replace(&cluster.members[0].url, "https://127.0.0.1:1"),
    );
    let url = &cluster.members[0].url;
    let http = url.replace("https", "http");
    let no_scheme = write("no-scheme", &kubeconfig.replace(url, "127.0.0.1:1"));
    let plain_http = write(
        "plain-http",
        &kubeconfig.replace(url, &http["http://".len()..]),
    );
    // Without an authority in the file, those of the machine count.
    let named = kubeconfig.replace(
        "\"certificate-authority\":",
        "\"not-certificate-authority\":",
    );
    assert_ne!(named, kubeconfig);
    let other_authority = write("other-authority", &named);
    let by_proxy = format!("{url}\",\"proxy-url\":\"http://u:hunter2@127.0.0.1:1");
    let by_proxy = write("by-proxy", &kubeconfig.replace(url, &by_proxy));
    let client = cluster.client();
    client
        .ensure_service_account("default", "nobody")
        .await
        .unwrap();
    let nobody = client
        .service_account_token("default", "nobody", None, Duration::from_secs(600))
        .await
        .unwrap();
    let nobody = write("nobody", &kubeconfig.replace(token, &nobody));
    let nowhere = format!("{}=/nowhere/at/all/config", cluster.members[0].url);
    let twice = format!("{}={away}", cluster.members[0].url);
    let endpoint = cluster.etcd.endpoint();
    let state = cluster.state();

    let of_plain_http = [&http, "HTTP request to an HTTPS server", "write https://"];
    let of_other_authority = [url.as_str(), "certificate-authority-data"];

    let cases: Vec<(Command, i32, &[&str])> = vec![
        (
            only(&cluster, &["status", "--kubeconfig", "/nowhere"]),
            66,
            &["--kubeconfig", "`/nowhere`"],
        ),
        (
            only(&cluster, &["status", "--kubeconfig", &damaged]),
            78,
            &["--kubeconfig", "damaged"],
        ),
        (
            only(&cluster, &["rewrite", "secrets", "--kubeconfig", &stranger]),
            77,
            &["credentials"],
        ),
        (
            only(
                &cluster,
                &[
                    "rewrite",
                    "nonsense",
                    "--kubeconfig",
                    cluster.kubeconfig.to_str().unwrap(),
                ],
            ),
            64,
            &["`nonsense`"],
        ),
        (
            only(
                &cluster,
                &["verify", "--resources", "secrets", "--kubeconfig", &damaged],
            ),
            78,
            &["damaged"],
        ),
        (
            only(&cluster, &["rewrite", "secrets", "--kubeconfig", &nobody]),
            77,
            &["list", "secrets"],
        ),
        (
            only(&cluster, &["rewrite", "secrets", "--kubeconfig", &away]),
            69,
            &[
                "no answer of the API server https://127.0.0.1:1:",
                "is kube-apiserver running there",
            ],
        ),
        (
            only(&cluster, &["status", "--kubeconfig", &no_scheme]),
            69,
            &["no answer of the API server http://127.0.0.1:1: connection refused"],
        ),
        (
            only(&cluster, &["status", "--kubeconfig", &plain_http]),
            69,
            &of_plain_http,
        ),
        (
            only(&cluster, &["status", "--kubeconfig", &other_authority]),
            69,
            &of_other_authority,
        ),
        (
            only(&cluster, &["status", "--kubeconfig", &by_proxy]),
            69,
            &["through the proxy http://127.0.0.1:1)", "proxy-url"],
        ),
        (
            with(&["enable", "--provider", "des", "--yes"], &[]),
            64,
            &["des", "aesgcm"],
        ),
        (
            with(
                &[
                    "enable",
                    "--kms-name",
                    "a:b",
                    "--kms-endpoint",
                    "unix:///x",
                    "--yes",
                ],
                &[],
            ),
            64,
            &["--kms-name"],
        ),
        (
            with(
                &[
                    "enable",
                    "--kms-name",
                    "a",
                    "--kms-endpoint",
                    "tcp://x",
                    "--yes",
                ],
                &[],
            ),
            78,
            &["unix"],
        ),
        (
            with(
                &[
                    "enable",
                    "--kms-name",
                    "a",
                    "--kms-endpoint",
                    "unix://run/kms.sock",
                    "--yes",
                ],
                &[],
            ),
            64,
            &["--kms-endpoint", "a third slash is missing"],
        ),
        (
            with(
                &[
                    "enable",
                    "--resources",
                    "nonsense.example.com",
                    "--provider",
                    "aesgcm",
                    "--yes",
                    "--patience",
                    "0s",
                ],
                &[],
            ),
            64,
            &["`nonsense.example.com`", "nothing was changed"],
        ),
        (
            with(
                &["abort", "--yes"],
                &["--state", folder.join("none").to_str().unwrap()],
            ),
            64,
            &["--state"],
        ),
        (with(&enable, &["--node", "http://x=y"]), 64, &["--node"]),
        (
            with(&enable, &["--node", &twice]),
            64,
            &["--node", "are one process", "nothing was changed"],
        ),
        (
            with(&["status"], &["--html", &away]),
            73,
            &["--html", "exists already"],
        ),
        (
            with(
                &[
                    "verify",
                    "--etcd-endpoints",
                    endpoint,
                    "--etcd-prefix",
                    "/nothing",
                ],
                &[],
            ),
            66,
            &["--etcd-prefix", "/nothing/"],
        ),
        (
            only(
                &cluster,
                &[
                    "enable",
                    "--provider",
                    "aesgcm",
                    "--yes",
                    "--kubeconfig",
                    cluster.kubeconfig.to_str().unwrap(),
                    "--node",
                    &nowhere,
                    "--state",
                    state.to_str().unwrap(),
                ],
            ),
            78,
            &["/nowhere/at/all"],
        ),
    ];
    for (mut command, code, words) in cases {
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let line = stderr.trim_end().lines().last().unwrap_or_default();
        assert_eq!(output.status.code(), Some(code), "{command:?}: {stderr}");
        assert!(line.starts_with("kdc: error: "), "{command:?}: {stderr}");
        assert!(!stderr.contains("hunter2"), "{stderr}");
        for word in words {
            assert!(line.contains(word), "{command:?}: {line}");
        }
    }
    assert_eq!(
        fs::read_to_string(&cluster.members[0].config).unwrap(),
        plain
    );
}

/// `kdc encryption` without the flags of the cluster.
fn only(_cluster: &Cluster, words: &[&str]) -> Command {
    let mut command = Command::new(&kdc_testbed::programs::build().unwrap().kdc);
    command.arg("encryption").args(words);
    command.stdin(std::process::Stdio::null());
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_no_file_stops_the_change_before_anything_is_written() {
    let plain = config(&["secrets"], &[json!({"identity": {}})]);
    let cluster = Cluster::start(1, &plain).await;
    // Permissions do not stop root; a file in the place of a folder does.
    let node = cluster.members[0].config.parent().unwrap().to_owned();
    fs::write(node.join("encryption-provider-bak"), "in the way").unwrap();
    fs::set_permissions(&node, fs::Permissions::from_mode(0o755)).unwrap();
    let enable = [
        "enable",
        "--resources",
        "secrets",
        "--provider",
        "aesgcm",
        "--yes",
    ];
    let refused = cluster.run(&enable).await;
    let (code, line) = refused.refusal();
    assert!(matches!(code, 73 | 74), "{code} {line}");
    assert!(line.contains("encryption-provider-bak"), "{line}");
    assert_eq!(
        fs::read_to_string(&cluster.members[0].config).unwrap(),
        plain
    );
}
