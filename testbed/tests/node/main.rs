//! What is shipped for clusters, run by a real kubelet. Needs root; `cargo xtask test --without-node` leaves it out.
//!
//! | file of `deploy/` | test |
//! |---|---|
//! | `native-sidecar.yaml` | `sidecar` |
//! | `native-sidecar-openbao.yaml`, `openbao/setup.sh kubernetes` | `openbao` |
//! | `static-pod.yaml`, `static-pod-openbao.yaml`, `kms-plugin-openbao.yaml`, `openbao/setup.sh approle` | `static_pods` |
//! | `backup/cronjob.yaml`, `openbao/setup.sh backup` | `backup` |
//! | `native-sidecar-doctor.yaml` | `openbao` |
//!
//! `interruptions` measures what clients see when parts end and come back; `cargo xtask reliability --node` writes it into `docs/reliability.md`.
//! `memory` attacks the plugin within the limit of its manifest.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    reason = "the fixture is part of the tests"
)]

mod backup;
mod fixture;
mod interruptions;
mod memory;
mod observer;
mod openbao;
mod sidecar;
mod static_pods;
mod table;

use std::fs;

use fixture::LIMIT;
use kdc_testbed::Node;

#[tokio::test]
async fn a_node_runs_pods_and_leaves_nothing_behind() {
    let mut node = Node::start().await.unwrap();
    let manifest = r#"
apiVersion: v1
kind: Pod
metadata: {name: greeter, namespace: default}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: greeter
      image: busybox:1.37
      command: [sh, -c, "echo hello; exec sleep 1000"]
"#;
    fs::write(
        node.path("/etc/kubernetes/manifests/greeter.yaml"),
        manifest,
    )
    .unwrap();
    let pod = node
        .wait_until_pod_ready("default", "greeter-node1", LIMIT)
        .await
        .unwrap();
    assert_eq!(pod["spec"]["nodeName"], "node1");
    let said = node
        .logs("default", "greeter-node1", "greeter")
        .await
        .unwrap();
    assert_eq!(said, "hello\n");
    let said = node
        .exec("default", "greeter-node1", "greeter", &["id", "-u"])
        .await
        .unwrap();
    assert_eq!(said, "0\n");

    // Of this node: others run beside it.
    let name = node.cgroup().to_owned();
    let cgroups = || {
        let found = std::process::Command::new("find")
            .args(["/sys/fs/cgroup", "-maxdepth", "2", "-name", &name])
            .output()
            .unwrap();
        String::from_utf8(found.stdout).unwrap()
    };
    assert_ne!(cgroups(), "", "or this proves nothing below");
    let folder = node.folder().to_owned();
    drop(node);
    assert_eq!(cgroups(), "");
    assert!(!folder.exists());
}
