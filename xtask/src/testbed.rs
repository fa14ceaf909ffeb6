//! A running control plane for a person: real etcd and kube-apiserver, and our
//! plugin with a fresh keyring between them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kdc_testbed::programs::{self, Programs};
use kdc_testbed::{ApiServer, Etcd, Node, Process, Resource, encryption_config};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};

use crate::servers::WithNode;
use crate::{say, servers};

const PLUGIN_LIMIT: Duration = Duration::from_secs(30);
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// Starts all, and returns after Ctrl-C or when a part ends.
pub(crate) fn up() -> Result<()> {
    servers::prepare_all(false, WithNode::No)?;
    until_interrupted(async |programs| run(programs).await)
}

/// As [`up`], but a whole cluster of one machine, without encryption at first.
pub(crate) fn up_with_node() -> Result<()> {
    servers::prepare_all(false, WithNode::Yes)?;
    until_interrupted(async |programs| run_node(programs).await)
}

fn until_interrupted(run: impl AsyncFnOnce(&Programs) -> Result<()>) -> Result<()> {
    say("building kdc and kms-plugin");
    let programs = programs::build()?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?
        .block_on(async {
            let interrupted = interrupted()?;
            tokio::select! {
                ended = run(programs) => ended,
                () = interrupted => Ok(()),
            }
        })
}

async fn run_node(programs: &Programs) -> Result<()> {
    say("starting the node");
    let mut node = Node::start().await?;
    node.image("kms-plugin:0.1.0", &programs.kms_plugin)?;
    node.image("kdc:0.1.0", &programs.kdc)?;
    say(&format!(
        "\nA cluster of one node runs at {url}, with the images busybox:1.37, kms-plugin:0.1.0 and kdc:0.1.0.\n\
         \x20 export KUBECONFIG={kubeconfig}\n\
         \x20 kubectl get nodes\n\
         Static pods go into\n\
         \x20 {manifests}\n\
         Watch its parts:\n\
         \x20 tail -f {folder}/log/*.log\n\
         Ctrl-C ends all of it and leaves nothing behind.",
        url = node.url(),
        kubeconfig = node.kubeconfig().display(),
        manifests = node.path("/etc/kubernetes/manifests").display(),
        folder = node.folder().display(),
    ));
    loop {
        sleep(WATCH_INTERVAL).await;
        node.ensure_running()?;
    }
}

async fn run(programs: &Programs) -> Result<()> {
    let mut control_plane = ControlPlane::start(programs).await?;
    say(&control_plane.instructions(programs));
    loop {
        sleep(WATCH_INTERVAL).await;
        control_plane.plugin.ensure_running()?;
        control_plane.server.process().ensure_running()?;
        control_plane.etcd.process().ensure_running()?;
    }
}

/// Ends with Ctrl-C or SIGTERM, for which it listens as soon as this returns.
fn interrupted() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// The running parts. They end in this order: the API server needs the others.
struct ControlPlane {
    server: ApiServer,
    plugin: Process,
    etcd: Etcd,
    keyring: PathBuf,
    _folder: TempDir,
}

impl ControlPlane {
    async fn start(programs: &Programs) -> Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let keyring = folder.path().join("keyring");
        let socket = folder.path().join("kms.sock");
        let config = folder.path().join("encryption-config.yaml");

        say("making a keyring and starting the plugin");
        let made = Command::new(&programs.kdc)
            .args(["keyring", "init"])
            .arg(&keyring)
            .output();
        let made = made.context("cannot run kdc")?;
        ensure!(
            made.status.success(),
            "kdc keyring init: {}",
            String::from_utf8_lossy(&made.stderr).trim()
        );
        let plugin = start_plugin(&programs.kms_plugin, &socket, &keyring, folder.path()).await?;

        say("starting etcd and kube-apiserver");
        let etcd = Etcd::start().await?;
        fs::write(
            &config,
            encryption_config::kms_v2(&["secrets", "configmaps"], "kdc", &socket),
        )
        .context("cannot write the EncryptionConfiguration")?;
        let server = ApiServer::options()
            .encryption_config(config)
            .automatic_reload()
            .start(&etcd)
            .await?;
        store_demo_secret(&server).await?;
        Ok(Self {
            server,
            plugin,
            etcd,
            keyring,
            _folder: folder,
        })
    }

    fn instructions(&self, programs: &Programs) -> String {
        let kdc = programs.kdc.display();
        let keyring = self.keyring.display();
        let row = format!(
            "--etcd-endpoints {} --etcd-key /registry/secrets/default/demo",
            self.etcd.endpoint()
        );
        format!(
            "\nA kube-apiserver whose Secrets and ConfigMaps go through kms-plugin runs at {url}.\n\
             The Secret `demo` is stored. Change it, or make others:\n\
             \x20 export KUBECONFIG={kubeconfig}\n\
             \x20 kubectl create secret generic other --from-literal=password=opensesame\n\
             See its row as etcd holds it, and open it:\n\
             \x20 {kdc} value inspect {row}\n\
             \x20 {kdc} value open {row} --keyring {keyring} --decode\n\
             Rotate the key; new writes take it within a minute:\n\
             \x20 {kdc} keyring add {keyring}\n\
             \x20 {kdc} keyring promote {keyring}\n\
             Watch the plugin:\n\
             \x20 tail -f {log}\n\
             Ctrl-C ends all of it and leaves nothing behind.",
            url = self.server.url(),
            kubeconfig = self.server.kubeconfig().display(),
            log = self.plugin.log_path().display(),
        )
    }
}

/// Something to look at, also for those without kubectl.
async fn store_demo_secret(server: &ApiServer) -> Result<()> {
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "demo"},
        "stringData": {"password": "opensesame"},
    });
    server
        .client()
        .create(Resource::SECRETS, "default", &secret)
        .await
        .context("cannot store a Secret")?;
    Ok(())
}

async fn start_plugin(
    program: &Path,
    socket: &Path,
    keyring: &Path,
    folder: &Path,
) -> Result<Process> {
    let mut command = Command::new(program);
    command
        .arg("--socket")
        .arg(socket)
        .arg("--keyring")
        .arg(keyring);
    let mut plugin = Process::start("kms-plugin", &command, &folder.join("kms-plugin.log"))?;
    let start = Instant::now();
    while UnixStream::connect(socket).await.is_err() {
        plugin.ensure_running()?;
        ensure!(
            start.elapsed() < PLUGIN_LIMIT,
            "kms-plugin does not listen:\n{}",
            plugin.log_tail()
        );
        sleep(Duration::from_millis(20)).await;
    }
    Ok(plugin)
}
