//! A whole Kubernetes cluster of one machine: kubelet, containerd and runc, with etcd, kube-apiserver, controllers, scheduler and kube-proxy.
//!
//! It lives in namespaces of its own, so paths and ports are those of a real machine, several run side by side, and all of it ends with
//! this process. Of the machine it takes control groups under a name of its own, which are removed. It needs root, and the packages of
//! [`PACKAGES`].
//!
//! Tests reach into it by [`Node::path`] and [`Node::command`], and lend it their own servers by [`Node::lend`].

mod images;
mod network;
mod pods;
mod settings;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::apiserver::kubeconfig_text;
use crate::client::Client;
use crate::process::Process;
use crate::servers::{KubeMinor, Server, prepare_in_background};
use crate::{Error, pki};
use network::{Forward, Network};
use settings::Times;

/// Debian's packages that a node needs.
pub const PACKAGES: [&str; 7] = [
    "busybox-static",
    "containerd",
    "containernetworking-plugins",
    "dnsmasq-base",
    "iproute2",
    "iptables",
    "runc",
];
/// Files of [`PACKAGES`] by which it is known whether they are there.
pub const PACKAGE_FILES: [&str; 7] = [
    "/bin/busybox",
    "/usr/bin/containerd",
    "/usr/lib/cni/bridge",
    "/usr/sbin/dnsmasq",
    "/sbin/ip",
    "/usr/sbin/iptables",
    "/usr/sbin/runc",
];

/// Name of the node, and of its machine.
pub const NODE: &str = "node1";
/// Address of the node, by which its pods reach it, too.
pub const ADDRESS: &str = "10.99.0.1";

/// Alone it is ready in 4 s; a machine that compiles beside it needs longer.
const START_LIMIT: Duration = Duration::from_secs(180);
const END_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);
const TAIL_LINES: usize = 12;

/// How to start a node.
#[derive(Debug, Clone)]
#[must_use = "nothing runs before `start`"]
pub struct Options {
    times: Times,
}

impl Options {
    /// kubelet looks at files and volumes as often as upstream lets it, about once a minute, for tests that measure that. Without this
    /// call it does so each second or two.
    pub fn upstream_times(mut self) -> Self {
        self.times = Times::Upstream;
        self
    }

    /// Starts the node, and waits until it is `Ready`.
    ///
    /// # Errors
    /// [`Error::Root`], [`Error::MissingTool`], and when it is not ready within three minutes; the error shows the ends of the logs.
    pub async fn start(self) -> Result<Node, Error> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::Root);
        }
        if PACKAGE_FILES.iter().any(|file| !Path::new(file).exists()) {
            return Err(Error::MissingTool {
                tool: "containerd",
                remedy: "`cargo xtask servers` installs the packages of a node",
            });
        }
        let folder = tempfile::tempdir()
            .map_err(Error::file("create a folder in", &std::env::temp_dir()))?;
        let cgroup = cgroup_name();
        settings::write(folder.path(), &cgroup, self.times)?;
        write_parameters(folder.path()).await?;
        images::write_basic(&folder.path().join("images"))?;
        let mut node = Node::enter(folder, cgroup)?;
        node.wait_until_ready().await?;
        Ok(node)
    }
}

/// A running node with its control plane. Ends when dropped, with all that runs on it.
#[derive(Debug)]
pub struct Node {
    client: Client,
    url: String,
    kubeconfig: PathBuf,
    network: Network,
    forwards: Vec<Forward>,
    process: Process,
    cgroup: String,
    folder: TempDir,
}

impl Node {
    /// Quick to notice changes.
    pub fn options() -> Options {
        Options {
            times: Times::Short,
        }
    }

    /// Starts a node.
    ///
    /// # Errors
    /// As [`Options::start`].
    pub async fn start() -> Result<Self, Error> {
        Self::options().start().await
    }

    /// A client with all rights.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// kube-apiserver's URL on this machine: `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A kubeconfig file with all rights, for use on this machine; goes with the node.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Temporary folder of the node's settings and logs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Name of its control groups, which no other node has.
    #[must_use]
    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// The PEM certificate of the authority of all servers of the node.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("pki/ca.crt")
    }

    /// Where this process finds the file that is `path` on the node.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.process.pid()));
        root.join(path.trim_start_matches('/'))
    }

    /// A program, to be run on the node.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let pid = self.process.pid();
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={pid}"))
            .args(["--mount", "--net", "--uts", "--ipc"])
            // That of the process itself is the machine's.
            .arg(format!("--pid=/proc/{pid}/ns/pid_for_children"))
            .arg("--")
            .arg(program);
        command
    }

    /// Runs a program on the node, and gives what it prints.
    ///
    /// # Errors
    /// [`Error::Unexpected`] with what it printed, if it fails.
    pub fn run(&self, words: &[&str]) -> Result<String, Error> {
        let (program, arguments) = words.split_first().unwrap_or((&"true", &[]));
        let mut command = self.command(program);
        output_of(command.args(arguments))
    }

    /// Lets the node and its pods reach a server of this machine as `name`, under `port`.
    ///
    /// # Errors
    /// [`Error::Process`] when the port is taken on the node.
    pub fn lend(&mut self, name: &str, port: u16, server: SocketAddr) -> Result<(), Error> {
        let address: SocketAddr = SocketAddr::new(address(), port);
        let forward = self.network.inwards(address, server);
        self.forwards.push(forward.map_err(network_error)?);
        self.resolve(name, ADDRESS)
    }

    /// A client with all rights of another API server on the node or in one of its pods, which trusts and is trusted as the node's own is.
    ///
    /// # Errors
    /// As [`Self::reach`].
    pub fn client_of(&mut self, server: SocketAddr) -> Result<Client, Error> {
        let url = format!("https://{}", self.reach(server)?);
        let authority = pki::authority()?;
        Client::new(url, &authority.ca_pem, authority.token.clone())
    }

    /// An address on this machine that leads to a server on the node or in one of its pods.
    ///
    /// # Errors
    /// [`Error::Process`] when no port of this machine can lead there.
    pub fn reach(&mut self, server: SocketAddr) -> Result<SocketAddr, Error> {
        let forward = self.network.outwards(server).map_err(network_error)?;
        let address = forward.address();
        self.forwards.push(forward);
        Ok(address)
    }

    /// The value of a key in the node's etcd; empty, if there is none.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when etcd does not answer.
    pub async fn etcd_value(&self, key: &str) -> Result<Vec<u8>, Error> {
        let etcdctl = prepare_in_background(Server::Etcdctl).await?;
        let pki = "/etc/kubernetes/pki";
        let mut command = self.command(etcdctl);
        command
            .arg("--endpoints=https://127.0.0.1:2379")
            .arg(format!("--cacert={pki}/ca.crt"))
            .arg(format!("--cert={pki}/etcd/healthcheck-client.crt"))
            .arg(format!("--key={pki}/etcd/healthcheck-client.key"))
            .args(["get", "--print-value-only", key]);
        bytes_of(&mut command)
    }

    /// Lets the node and its pods resolve a name.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn resolve(&self, name: &str, address: &str) -> Result<(), Error> {
        // Read by dnsmasq as soon as it is there whole.
        let (written, shown) = (
            self.path(&format!("/run/.{name}")),
            self.path(&format!("/run/names/{name}")),
        );
        fs::write(&written, format!("{address} {name}\n"))
            .and_then(|()| fs::rename(&written, &shown))
            .map_err(Error::file("write", &shown))
    }

    /// Cuts the power, as it were, and boots the node again: all its processes end at once, and what its disk holds stays. Returns when it is
    /// `Ready` again; its pods start meanwhile.
    ///
    /// # Errors
    /// As [`Options::start`].
    pub async fn restart(&mut self) -> Result<(), Error> {
        let before = self.heartbeat().await;
        for name in ["started", "ready"] {
            let file = self.folder.path().join(name);
            fs::remove_file(&file).map_err(Error::file("remove", &file))?;
        }
        // The program that sends the signal may be among those that it ends.
        let _ = self.run(&["kill", "-USR1", "1"]);
        self.wait_until_ready().await?;
        // Until its kubelet has said something, the node is as ready as it was.
        self.wait_until("heard again", async |node| node.heartbeat().await != before)
            .await
    }

    /// When kubelet said the last time that the node is ready.
    async fn heartbeat(&self) -> Option<String> {
        let node = self
            .client
            .raw(&format!("/api/v1/nodes/{NODE}"))
            .await
            .ok()?;
        let node: serde_json::Value = serde_json::from_str(&node.body).ok()?;
        let conditions = node.pointer("/status/conditions")?.as_array()?;
        let ready = conditions.iter().find(|one| one["type"] == "Ready")?;
        ready["lastHeartbeatTime"].as_str().map(str::to_owned)
    }

    /// Fails with the ends of the logs if the node has ended.
    ///
    /// # Errors
    /// [`Error::Ended`].
    pub fn ensure_running(&mut self) -> Result<(), Error> {
        self.process.ensure_running()
    }

    fn enter(folder: TempDir, cgroup: String) -> Result<Self, Error> {
        let path = folder.path();
        let script = path.join("enter.sh");
        fs::write(&script, include_str!("enter.sh")).map_err(Error::file("write", &script))?;
        let mut command = Command::new("sh");
        command.arg(&script).arg(path).arg(&cgroup);
        let log = path.join("node.log");
        let process = Process::start_owning(Some(path), "node", &command, &log)?;
        let network = Network::of_process(process.pid());
        // The port is open, and leads to a server as soon as there is one.
        let forward = network
            .outwards(SocketAddr::new(address(), 6443))
            .map_err(network_error)?;
        let url = format!("https://{}", forward.address());
        let authority = pki::authority()?;
        let client = Client::new(url.clone(), &authority.ca_pem, authority.token.clone())?;
        let kubeconfig = path.join("kubeconfig");
        let text = kubeconfig_text(&url, &path.join("pki/ca.crt"), &authority.token);
        pki::write_private(&kubeconfig, &text)?;
        Ok(Self {
            client,
            url,
            kubeconfig,
            network,
            forwards: vec![forward],
            process,
            cgroup,
            folder,
        })
    }

    async fn wait_until_ready(&mut self) -> Result<(), Error> {
        let started = self.folder.path().join("started");
        self.wait_until("started", async |_| started.exists())
            .await?;
        self.wait_until("served by a ready kube-apiserver", async |node| {
            let answer = node.client.raw("/readyz").await;
            answer.is_ok_and(|answer| answer.status == 200)
        })
        .await?;
        let ready = self.folder.path().join("ready");
        fs::write(&ready, "").map_err(Error::file("write", &ready))?;
        self.wait_until("ready", async |node| {
            let node = node.client.raw(&format!("/api/v1/nodes/{NODE}")).await;
            let node = node
                .ok()
                .and_then(|node| serde_json::from_str(&node.body).ok());
            node.is_some_and(|node| pods::has_condition(&node, "Ready"))
        })
        .await?;
        // The controller that makes it starts last; without it no pod is admitted.
        self.wait_until("of use for pods", async |node| {
            let path = "/api/v1/namespaces/default/serviceaccounts/default";
            let account = node.client.raw(path).await;
            account.is_ok_and(|account| account.status == 200)
        })
        .await
    }

    async fn wait_until(
        &mut self,
        state: &'static str,
        holds: impl AsyncFn(&Self) -> bool,
    ) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            self.process.ensure_running()?;
            if holds(self).await {
                return Ok(());
            }
            if start.elapsed() > START_LIMIT {
                return Err(self.deadline(state, START_LIMIT, "see the logs"));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// With the ends of the logs of all parts.
    fn deadline(&self, state: &'static str, limit: Duration, last: &str) -> Error {
        Error::Deadline {
            name: "node".to_owned(),
            state,
            seconds: limit.as_secs(),
            last: last.to_owned(),
            tail: self.log_tails(),
        }
    }

    /// The last lines of each log of the node.
    #[must_use]
    pub fn log_tails(&self) -> String {
        let mut tails = self.process.log_tail();
        let logs = fs::read_dir(self.folder.path().join("log"));
        for entry in logs.into_iter().flatten().filter_map(Result::ok) {
            let log = fs::read(entry.path()).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<&str> = log.lines().collect();
            let skipped = lines.len().saturating_sub(TAIL_LINES);
            tails.push_str(&format!("\n--- {}", entry.file_name().display()));
            for line in lines.into_iter().skip(skipped) {
                tails.push('\n');
                tails.push_str(line);
            }
        }
        tails
    }
}

impl Drop for Node {
    /// Returns when its control groups are gone.
    fn drop(&mut self) {
        self.forwards.clear();
        let _ = self.process.signal(crate::process::Signal::KILL);
        let start = Instant::now();
        while cgroups(&self.cgroup) && start.elapsed() < END_LIMIT {
            std::thread::sleep(POLL);
        }
    }
}

/// Whether a hierarchy of control groups still has one of this name.
fn cgroups(name: &str) -> bool {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).into_iter().flatten();
    let mut folders = hierarchies
        .filter_map(Result::ok)
        .map(|entry| entry.path().join(name));
    root.join(name).exists() || folders.any(|folder| folder.exists())
}

/// Of this node alone.
fn cgroup_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("kdc-testbed-{}-{number}", std::process::id())
}

/// The programs that `init.sh` starts, as assignments of a shell.
async fn write_parameters(folder: &Path) -> Result<(), Error> {
    let minor = KubeMinor::DEFAULT;
    let mut text = format!("NODE={NODE}\nADDRESS={ADDRESS}\n");
    for (variable, server) in [
        ("ETCD", Server::Etcd),
        ("KUBE_APISERVER", Server::KubeApiserver(minor)),
        (
            "KUBE_CONTROLLER_MANAGER",
            Server::KubeControllerManager(minor),
        ),
        ("KUBE_SCHEDULER", Server::KubeScheduler),
        ("KUBE_PROXY", Server::KubeProxy),
        ("KUBELET", Server::Kubelet),
    ] {
        let program = prepare_in_background(server).await?;
        text.push_str(&format!("{variable}='{}'\n", program.display()));
    }
    let path = folder.join("params");
    fs::write(&path, text).map_err(Error::file("write", &path))
}

fn address() -> std::net::IpAddr {
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 99, 0, 1))
}

fn network_error(source: io::Error) -> Error {
    Error::Process {
        action: "reach",
        name: "node".to_owned(),
        source,
    }
}

/// What a command prints, if it succeeds.
fn output_of(command: &mut Command) -> Result<String, Error> {
    let bytes = bytes_of(command)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn bytes_of(command: &mut Command) -> Result<Vec<u8>, Error> {
    let output = command.output().map_err(|source| Error::Process {
        action: "run",
        name: "a program of the node".to_owned(),
        source,
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Error::Unexpected {
        name: "node",
        detail: format!("{command:?}: {said}"),
    })
}
