//! The plugin within the memory that its manifest allows, under the attacks on its socket of `cargo xtask attack`.

#[path = "../attack/socket/attacker.rs"]
mod attacker;
#[path = "../attack/socket/frames.rs"]
mod frames;
#[path = "../attack/socket/kinds.rs"]
#[expect(
    dead_code,
    reason = "shared with the attacks, of which some go to the HTTP port"
)]
mod kinds;

use std::os::unix::net::UnixStream;

use kdc_testbed::Node;

use crate::fixture::{PODS, restarts, status_of};
use crate::observer::connect;
use crate::static_pods::started;
use attacker::Attacker;
use kinds::GRPC;

/// The limit of the manifests.
const LIMIT: u64 = 64 << 20;

/// A value of the program's memory control group, of version 1 or 2.
fn memory(node: &Node, pid: &str, names: [&str; 2]) -> String {
    let script = format!(
        "v1=$(sed -n 's/^[0-9]*:memory:/memory/p' /proc/{pid}/cgroup); v2=$(sed -n 's/^0:://p' /proc/{pid}/cgroup)
         cat \"/sys/fs/cgroup/$v1/{}\" 2>/dev/null || cat \"/sys/fs/cgroup/$v2/{}\"",
        names[0], names[1]
    );
    node.run(&["sh", "-c", &script]).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plugin_withstands_attacks_within_its_limit() {
    let (node, tenant) = started().await;
    let pid = status_of(&node, "kms-plugin", "Pid");
    let limit = memory(&node, &pid, ["memory.limit_in_bytes", "memory.max"]);
    assert_eq!(limit, LIMIT.to_string(), "or this proves nothing below");
    let socket = node.path("/run/kms-plugin/kms.sock");
    UnixStream::connect(&socket).expect("or the attacks below reach nothing");
    let http = "127.0.0.1:1".parse().unwrap();
    for (name, attack) in GRPC {
        let at = socket.clone();
        let attacker = tokio::task::spawn_blocking(move || {
            let mut attacker = Attacker::new(at, http);
            attack(&mut attacker);
            attacker
        });
        let attacker = attacker.await.unwrap();
        // While its connections are open.
        let (_folder, client) = connect(&socket).unwrap();
        let wrapped = client.encrypt(&[7; 32]).await;
        let wrapped = wrapped.unwrap_or_else(|error| panic!("{name}: {error}"));
        let opened = client.decrypt(&wrapped).await;
        let opened = opened.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(opened.expose(), [7; 32], "{name}");
        drop(attacker);
    }
    tenant.encrypts(&node, "after").await;
    let pod = node
        .client()
        .read(PODS, "kube-system", "kms-plugin-node1")
        .await
        .unwrap();
    assert_eq!(restarts(&pod, "containerStatuses", "kms-plugin"), 0);
    let most = memory(&node, &pid, ["memory.max_usage_in_bytes", "memory.peak"]);
    assert!(
        most.parse::<u64>().unwrap() < LIMIT,
        "{most} bytes of memory"
    );
}
