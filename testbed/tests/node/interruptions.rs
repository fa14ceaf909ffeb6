//! What clients of an API server see when its plugin, the API server itself or the whole node ends and comes back.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kdc_testbed::{Client, Node, Resource};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::fixture::{LATER, LIMIT, PODS, Tenant, deploy, kill, restarted, socket_of, status_of};
use crate::observer::{Observed, Observer};
use crate::sidecar::{self, prepared};
use crate::static_pods::{place, started};
use crate::table::Table;

const DEPLOYMENTS: Resource = Resource::new("apps/v1", "deployments");
/// Before and after what happens, so that calls surround it.
const CALM: Duration = Duration::from_secs(1);
/// How long a part stays away that is taken away.
const AWAY: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// What clients see while something happens.
async fn during(
    client: &Client,
    socket: Option<PathBuf>,
    happens: impl Future<Output = ()>,
) -> Observed {
    let observer = Observer::start(client, socket).await;
    sleep(CALM).await;
    happens.await;
    sleep(CALM).await;
    observer.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_notices_that_the_sidecar_ends_and_comes_back() {
    let (mut node, _, _) = prepared().await;
    let mut pod = sidecar::pod();
    let tenant = Tenant::start(&mut node, &pod).await;
    let socket = node.path(&socket_of(&tenant.pod));
    let mut table = Table::new("1-sidecar");

    let seen = during(&tenant.client, Some(socket.clone()), async {
        kill(&node, "kms-plugin");
        restarted(&mut node, "default", "kube-apiserver", "kms-plugin", 1).await;
    })
    .await;
    seen.nothing_failed();
    table.line("sidecar killed with SIGKILL", &seen);

    let seen = during(&tenant.client, Some(socket.clone()), async {
        pod["spec"]["initContainers"][1]["image"] = json!(LATER);
        node.apply(&pod.to_string()).await.unwrap();
        restarted(&mut node, "default", "kube-apiserver", "kms-plugin", 2).await;
    })
    .await;
    seen.nothing_failed();
    table.line("image of the sidecar changed in the running pod", &seen);

    let seen = during(&tenant.client, Some(socket), async {
        fill_memory(&node, "kms-plugin");
        let pod = restarted(&mut node, "default", "kube-apiserver", "kms-plugin", 3).await;
        let status = &pod["status"]["initContainerStatuses"][1];
        assert_eq!(
            status["lastState"]["terminated"]["reason"], "OOMKilled",
            "{status:#}"
        );
    })
    .await;
    seen.nothing_failed();
    table.line("sidecar killed for want of memory", &seen);
    tenant.encrypts(&node, "after").await;

    // The other way round: with the pod, kube-apiserver ends first.
    let server = server_pid(&node);
    let plugin = status_of(&node, "kms-plugin", "Pid");
    let client = node.client();
    client
        .delete(PODS, "default", "kube-apiserver")
        .await
        .unwrap();
    let start = Instant::now();
    while runs(&node, &server) {
        assert!(runs(&node, &plugin), "it ended before its kube-apiserver");
        assert!(start.elapsed() < LIMIT);
        sleep(POLL).await;
    }
    while runs(&node, &plugin) {
        assert!(start.elapsed() < LIMIT);
        sleep(POLL).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn static_pods_come_back_in_any_order_and_after_a_reboot() {
    let (mut node, tenant) = started().await;
    let socket = node.path("/run/kms-plugin/kms.sock");
    let name = "kms-plugin-node1";
    let mut table = Table::new("2-static-pods");

    let seen = during(&tenant.client, Some(socket.clone()), async {
        let manifest = deploy("static-pod.yaml").replace("kms-plugin:0.1.0", LATER);
        place(&node, "kms-plugin.yaml", &manifest);
        let upgraded = |pod: &Value| {
            let is_later = pod["spec"]["containers"][0]["image"] == LATER;
            let status = &pod["status"]["containerStatuses"][0];
            (is_later && status["ready"] == true).then_some(())
        };
        node.wait("kube-system", name, LIMIT, upgraded)
            .await
            .unwrap();
    })
    .await;
    seen.nothing_failed();
    table.line(
        "static pod of the plugin replaced by one of a later image",
        &seen,
    );

    let seen = during(&tenant.client, Some(socket.clone()), away(&mut node, false)).await;
    seen.nothing_failed();
    table.line("plugin away for 10 s", &seen);

    let seen = during(&tenant.client, Some(socket.clone()), away(&mut node, true)).await;
    table.line(
        "kube-apiserver restarted while the plugin is away for 10 s",
        &seen,
    );
    tenant.encrypts(&node, "after-a-restart").await;

    let seen = during(&tenant.client, Some(socket), async {
        node.restart().await.unwrap();
        for (pod, container) in [
            (name, "kms-plugin"),
            ("kube-apiserver-node1", "kube-apiserver"),
        ] {
            let count = if container == "kms-plugin" { 1 } else { 2 };
            restarted(&mut node, "kube-system", pod, container, count).await;
        }
    })
    .await;
    table.line("node rebooted", &seen);
    tenant.encrypts(&node, "after-a-reboot").await;
}

/// Takes the plugin's static pod away for a while, in which kube-apiserver may be killed.
async fn away(node: &mut Node, restart_server: bool) {
    let manifest = node.path("/etc/kubernetes/manifests/kms-plugin.yaml");
    let elsewhere = node.path("/etc/kubernetes/kms-plugin.yaml");
    let plugin = status_of(node, "kms-plugin", "Pid");
    std::fs::rename(&manifest, &elsewhere).unwrap();
    let start = Instant::now();
    while runs(node, &plugin) {
        assert!(start.elapsed() < LIMIT);
        sleep(POLL).await;
    }
    if restart_server {
        let server = server_pid(node);
        node.run(&["kill", "-KILL", &server]).unwrap();
    }
    sleep(AWAY).await;
    std::fs::rename(&elsewhere, &manifest).unwrap();
    let ready = node.wait_until_pod_ready("kube-system", "kms-plugin-node1", LIMIT);
    ready.await.unwrap();
    let ready = node.wait_until_pod_ready("kube-system", "kube-apiserver-node1", LIMIT);
    ready.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_of_two_replicas_notices_an_eviction_or_an_upgrade() {
    let (mut node, _, _) = prepared().await;
    let mut objects = replicas();
    for object in &objects {
        node.apply(&object.to_string()).await.unwrap();
    }
    available(&mut node).await;
    let services = Resource::new("v1", "services");
    let service = node
        .client()
        .read(services, "default", "tenant")
        .await
        .unwrap();
    let address = service["spec"]["clusterIP"].as_str().unwrap();
    let client = node
        .client_of(SocketAddr::new(address.parse().unwrap(), 443))
        .unwrap();
    let mut table = Table::new("3-replicas");

    let seen = during(&client, None, async {
        let pods = node.client().list(PODS, "default").await.unwrap();
        let pod = pods["items"][0]["metadata"]["name"].as_str().unwrap();
        node.client().evict("default", pod).await.unwrap();
        gone(&mut node, pod).await;
        available(&mut node).await;
    })
    .await;
    seen.nothing_failed();
    table.line("one of two pods evicted", &seen);

    let seen = during(&client, None, async {
        let pods = node.client().list(PODS, "default").await.unwrap();
        objects[0]["spec"]["template"]["spec"]["initContainers"][1]["image"] = json!(LATER);
        node.apply(&objects[0].to_string()).await.unwrap();
        for pod in pods["items"].as_array().unwrap() {
            gone(&mut node, pod["metadata"]["name"].as_str().unwrap()).await;
        }
        available(&mut node).await;
    })
    .await;
    seen.nothing_failed();
    table.line(
        "image of the sidecar changed in a Deployment of two pods",
        &seen,
    );
}

/// The sample as a Deployment of two, which serve for 5 s after they are told to end, so that clients go elsewhere first.
fn replicas() -> [Value; 3] {
    let mut pod = sidecar::pod();
    let flags = pod["spec"]["containers"][0]["command"]
        .as_array_mut()
        .unwrap();
    flags.push(json!("--shutdown-delay-duration=5s"));
    // It waits that long for watches to end.
    pod["spec"]["terminationGracePeriodSeconds"] = json!(15);
    let labels = json!({"app.kubernetes.io/name": "kube-apiserver"});
    let metadata = json!({"name": "tenant"});
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {"metadata": {"labels": labels}, "spec": pod["spec"]},
        },
    });
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"selector": labels, "ports": [{"port": 443, "targetPort": 7443}]},
    });
    let budget = json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata,
        "spec": {"minAvailable": 1, "selector": {"matchLabels": labels}},
    });
    [deployment, service, budget]
}

/// Waits until both pods of the Deployment serve.
async fn available(node: &mut Node) {
    let start = Instant::now();
    loop {
        node.ensure_running().unwrap();
        let deployment = node
            .client()
            .read(DEPLOYMENTS, "default", "tenant")
            .await
            .unwrap();
        let status = &deployment["status"];
        let is_seen = status["observedGeneration"] == deployment["metadata"]["generation"];
        let counts = ["replicas", "updatedReplicas", "availableReplicas"];
        if is_seen && counts.iter().all(|count| status[count] == 2) {
            return;
        }
        assert!(start.elapsed() < LIMIT, "{status:#}\n{}", node.log_tails());
        sleep(POLL).await;
    }
}

/// Waits until a pod is gone.
async fn gone(node: &mut Node, pod: &str) {
    let is_gone = |pod: &Value| pod.is_null().then_some(());
    node.wait("default", pod, LIMIT, is_gone).await.unwrap();
}

/// Process id, on the node, of the tenant's kube-apiserver.
fn server_pid(node: &Node) -> String {
    let script =
        "grep -l -e --etcd-prefix=/tenant /proc/[0-9]*/cmdline 2>/dev/null | cut -d / -f 3";
    let found = node.run(&["sh", "-c", script]).unwrap();
    // The shell and grep name the prefix as well.
    let server = found.lines().find(|pid| {
        let name = std::fs::read_to_string(node.path(&format!("/proc/{pid}/comm")));
        name.is_ok_and(|name| name.trim() == "kube-apiserver")
    });
    server.unwrap().to_owned()
}

fn runs(node: &Node, pid: &str) -> bool {
    node.path(&format!("/proc/{pid}")).exists()
}

/// Fills the memory of a program's control group with a file, until the kernel kills the program.
fn fill_memory(node: &Node, program: &str) {
    let pid = status_of(node, program, "Pid");
    let script = format!(
        "group=$(sed -n 's/^[0-9]*:memory:/memory/p; s/^0:://p' /proc/{pid}/cgroup | head -n 1)
         echo $$ >\"/sys/fs/cgroup/$group/cgroup.procs\"
         exec dd if=/dev/zero of=/run/filled bs=64k count=2000"
    );
    // Killed as well, once the program no longer is the larger one.
    let _ = node.run(&["sh", "-c", &script]);
    std::fs::remove_file(node.path("/run/filled")).unwrap();
    assert!(!runs(node, &pid), "{program} has memory left");
}
