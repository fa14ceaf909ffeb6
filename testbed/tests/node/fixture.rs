//! A tenant's kube-apiserver in a pod of the node: what our manifests leave out, as they say what to add to a pod that is there.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kdc_testbed::programs::{self, Programs};
use kdc_testbed::{Client, Node, Resource, encryption_config};
use serde_json::{Value, json};

/// Generous: other tests compile and wait beside these.
pub const LIMIT: Duration = Duration::from_secs(180);
/// The image that the plugin is upgraded to.
pub const LATER: &str = "kms-plugin:0.2.0";
pub const PODS: Resource = Resource::new("v1", "pods");
/// Name of the provider in the EncryptionConfiguration.
const PROVIDER: &str = "kdc";
/// Where the tenant's rows lie in the node's etcd.
const PREFIX: &str = "/tenant";

/// The text of a file that is shipped.
pub fn deploy(name: &str) -> String {
    fs::read_to_string(deploy_path(name)).unwrap()
}

pub fn deploy_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(name)
}

/// A node with the images of the samples, and a later one of the plugin.
pub async fn node() -> (Node, &'static Programs) {
    let programs = tokio::task::spawn_blocking(programs::build);
    let programs = programs.await.unwrap().unwrap();
    let node = Node::start().await.unwrap();
    for name in ["kms-plugin:0.1.0", LATER] {
        node.image(name, &programs.kms_plugin).unwrap();
    }
    node.image_of_kube_apiserver("kube-apiserver:v1.36.3")
        .await
        .unwrap();
    (node, programs)
}

/// Runs `kdc`, and gives what it prints.
pub fn kdc(programs: &Programs, words: &[&str]) -> String {
    let output = Command::new(&programs.kdc).args(words).output().unwrap();
    assert!(output.status.success(), "kdc {words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Writes the configuration that the tenant's kube-apiserver is started with.
pub fn write_encryption_config(node: &Node, socket: &str) {
    let folder = node.path("/etc/kubernetes/encryption");
    fs::create_dir_all(&folder).unwrap();
    let config = encryption_config::kms_v2(&["secrets"], PROVIDER, Path::new(socket));
    fs::write(folder.join("config.yaml"), config).unwrap();
}

/// "All that it has already": adds to the kube-apiserver of a sample what its administrator has.
pub fn complete(pod: &mut Value) {
    let server = &mut pod["spec"]["containers"][0];
    assert_eq!(server["name"], "kube-apiserver");
    let pki = "/etc/kubernetes/pki";
    let flags = [
        "--etcd-servers=https://10.99.0.1:2379".to_owned(),
        format!("--etcd-prefix={PREFIX}"),
        format!("--etcd-cafile={pki}/ca.crt"),
        format!("--etcd-certfile={pki}/etcd/healthcheck-client.crt"),
        format!("--etcd-keyfile={pki}/etcd/healthcheck-client.key"),
        "--secure-port=7443".to_owned(),
        format!("--tls-cert-file={pki}/kube-apiserver.crt"),
        format!("--tls-private-key-file={pki}/kube-apiserver.key"),
        format!("--token-auth-file={pki}/tokens.csv"),
        format!("--service-account-key-file={pki}/service-account.pub"),
        format!("--service-account-signing-key-file={pki}/service-account.key"),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        "--service-cluster-ip-range=10.97.0.0/16".to_owned(),
        "--disable-admission-plugins=ServiceAccount".to_owned(),
    ];
    let command = server["command"].as_array_mut().unwrap();
    command.extend(flags.map(Value::from));
    let mounts = server["volumeMounts"].as_array_mut().unwrap();
    let volumes = [("pki", pki), ("encryption", "/etc/kubernetes/encryption")];
    for (name, path) in volumes {
        mounts.push(json!({"name": name, "mountPath": path, "readOnly": true}));
    }
    server["readinessProbe"] = json!({
        "httpGet": {"scheme": "HTTPS", "port": 7443, "path": "/readyz"},
        "periodSeconds": 1,
    });
    let all = pod["spec"]["volumes"].as_array_mut().unwrap();
    for (name, path) in volumes {
        all.push(json!({"name": name, "hostPath": {"path": path}}));
    }
}

/// [`complete`] for a namespace with Pod Security `restricted`: kube-apiserver is the user that the plugin is, with as little power, and takes its
/// files from Secrets, which this makes.
pub async fn complete_restricted(node: &Node, pod: &mut Value) {
    complete(pod);
    let pki = node.path("/etc/kubernetes/pki");
    let read = |path: &Path| json!(STANDARD.encode(fs::read(path).unwrap()));
    // Names of a Secret's entries are no paths.
    let etcd = ["etcd/healthcheck-client.crt", "etcd/healthcheck-client.key"];
    let names = [
        "ca.crt",
        "kube-apiserver.crt",
        "kube-apiserver.key",
        "tokens.csv",
        "service-account.pub",
        "service-account.key",
    ];
    let entries = names.iter().chain(&etcd);
    let entries = entries.map(|name| (name.replace('/', "-"), read(&pki.join(name))));
    let config = read(&node.path("/etc/kubernetes/encryption/config.yaml"));
    for (name, data) in [
        ("pki", Value::Object(entries.collect())),
        ("encryption", json!({"config.yaml": config})),
    ] {
        let namespace = pod["metadata"]["namespace"].as_str();
        let metadata = json!({"name": name, "namespace": namespace.unwrap_or("default")});
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data});
        node.apply(&secret.to_string()).await.unwrap();
    }
    let items = names.iter().chain(&etcd);
    let items: Vec<Value> = items
        .map(|name| json!({"key": name.replace('/', "-"), "path": name}))
        .collect();
    let volumes = pod["spec"]["volumes"].as_array_mut().unwrap();
    for volume in volumes.iter_mut() {
        if volume["name"] == "pki" {
            *volume = json!({"name": "pki", "secret": {"secretName": "pki", "defaultMode": 0o440, "items": items}});
        } else if volume["name"] == "encryption" {
            *volume = json!({"name": "encryption", "secret": {"secretName": "encryption", "defaultMode": 0o440}});
        }
    }
    let restricted = pod["spec"]["initContainers"][0]["securityContext"].clone();
    pod["spec"]["containers"][0]["securityContext"] = restricted;
}

/// A kube-apiserver of a sample, running.
pub struct Tenant {
    pub client: Client,
    pub pod: Value,
}

impl Tenant {
    /// Applies the pod, and waits until its kube-apiserver is ready.
    pub async fn start(node: &mut Node, pod: &Value) -> Self {
        node.apply(&pod.to_string()).await.unwrap();
        let name = pod["metadata"]["name"].as_str().unwrap();
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or("default");
        let ready = node.wait_until_pod_ready(namespace, name, LIMIT).await;
        let pod = ready.unwrap();
        let address = pod["status"]["podIP"].as_str().unwrap();
        let address = SocketAddr::new(address.parse().unwrap(), 7443);
        Self {
            client: node.client_of(address).unwrap(),
            pod,
        }
    }

    /// Stores a Secret, once that works, and gives its row.
    pub async fn row(&self, node: &Node, name: &str) -> Vec<u8> {
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name},
            "stringData": {"password": "opensesame"},
        });
        let start = Instant::now();
        loop {
            let made = self
                .client
                .ensure(Resource::SECRETS, "default", &secret)
                .await;
            match made {
                Ok(()) => break,
                Err(error) if start.elapsed() > LIMIT => panic!("{error:?}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
        let key = format!("{PREFIX}/secrets/default/{name}");
        node.etcd_value(&key).await.unwrap()
    }

    /// Stores a Secret and checks that its row went through the plugin.
    pub async fn encrypts(&self, node: &Node, name: &str) {
        let row = self.row(node, name).await;
        let expected = format!("k8s:enc:kms:v2:{PROVIDER}:");
        let text = String::from_utf8_lossy(&row);
        assert!(text.starts_with(&expected), "{text}");
        assert!(!text.contains("opensesame"));
    }
}

/// The plugin's socket in the memory volume of a pod, as a path of the node.
pub fn socket_of(pod: &Value) -> String {
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    format!(
        "/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/kms-socket/plugin/kms.sock"
    )
}

/// Waits until a container was started again so often, and is ready.
pub async fn restarted(
    node: &mut Node,
    namespace: &str,
    name: &str,
    container: &str,
    count: u64,
) -> Value {
    let again = |pod: &Value| {
        let lists = ["initContainerStatuses", "containerStatuses"];
        let mut statuses = lists
            .iter()
            .filter_map(|list| pod["status"][list].as_array())
            .flatten();
        let status = statuses.find(|status| status["name"] == container)?;
        let is_running = !status["state"]["running"].is_null() && status["ready"] == true;
        let is_again = status["restartCount"].as_u64()? >= count;
        (is_again && is_running).then(|| pod.clone())
    };
    node.wait(namespace, name, LIMIT, again).await.unwrap()
}

/// A field of `/proc/PID/status` of the program on the node, which runs once.
pub fn status_of(node: &Node, program: &str, field: &str) -> String {
    let script = format!(
        "for it in /proc/[0-9]*; do [ \"$(cat $it/comm 2>/dev/null)\" != {program} ] || sed -n 's/^{field}:\\t//p' $it/status; done"
    );
    node.run(&["sh", "-c", &script]).unwrap().trim().to_owned()
}

/// Ends the program on the node with SIGKILL.
pub fn kill(node: &Node, program: &str) {
    let pid = status_of(node, program, "Pid");
    node.run(&["kill", "-KILL", &pid]).unwrap();
}

/// How often a container was started again.
pub fn restarts(pod: &Value, list: &str, container: &str) -> u64 {
    let statuses = pod["status"][list].as_array().unwrap();
    let status = statuses.iter().find(|status| status["name"] == container);
    status.unwrap()["restartCount"].as_u64().unwrap()
}
