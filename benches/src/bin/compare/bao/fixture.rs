//! A real OpenBao with a key and a role, and plugins on it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use kdc_envelope_kms::client::KmsClient;
use kdc_envelope_kms::server::SocketAddress;
use kdc_testbed::Process;
use kdc_testbed::bao::{AppRole, Bao, Caller, Grant, kms_plugin_policy};
use kdc_testbed::proxy::Proxy;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::write_private;

const START_LIMIT: Duration = Duration::from_secs(30);

pub(super) struct Fixture {
    bao: Bao,
    role: AppRole,
    kms_plugin: PathBuf,
    folder: TempDir,
    /// Proxies run on a thread of their own, as load generators block this one.
    proxies: Option<Runtime>,
}

/// A running plugin; its socket is named after it.
pub(super) struct Plugin {
    pub(super) process: Process,
    pub(super) socket: SocketAddress,
}

impl Fixture {
    pub(super) async fn start(kms_plugin: &Path) -> Result<Self> {
        let bao = Bao::start().await?;
        let root = bao.root();
        root.enable_transit("transit").await?;
        root.create_key("transit", "etcd").await?;
        root.write_policy("kms", &kms_plugin_policy("etcd")).await?;
        root.enable_auth("approle", "approle").await?;
        let grant = Grant::of(["kms"]).without_default_policy();
        let role = root.create_approle("approle", "kms", &grant).await?;
        let proxies = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        Ok(Self {
            role,
            kms_plugin: kms_plugin.to_owned(),
            folder: tempfile::tempdir()?,
            proxies: Some(proxies),
            bao,
        })
    }

    pub(super) fn version(&self) -> String {
        self.bao.version().to_string()
    }

    pub(super) fn address(&self) -> &str {
        self.bao.address()
    }

    pub(super) fn root(&self) -> &Caller {
        self.bao.root()
    }

    /// The login of the documented role, which plugin and bare client use.
    pub(super) const fn role(&self) -> &AppRole {
        &self.role
    }

    /// A proxy that counts what passes.
    pub(super) async fn proxy(&self) -> Result<Proxy> {
        let runtime = self.proxies.as_ref().context("only dropping takes it")?;
        let upstream = self.address().to_owned();
        let started = runtime.spawn(async move { Proxy::start(&upstream).await });
        Ok(started.await??)
    }

    /// Starts a plugin, or starts it again, and waits until it is well.
    pub(super) async fn plugin(
        &self,
        name: &str,
        address: &str,
        settings: &[&str],
    ) -> Result<Plugin> {
        let socket = self.folder.path().join(name);
        let secret_id = self.folder.path().join("secret-id");
        write_private(&secret_id, &self.role.secret_id)?;
        let mut command = Command::new(&self.kms_plugin);
        command.arg("--socket").arg(&socket);
        command.args(["--bao-address", address, "--bao-insecure-http"]);
        command.args(["--bao-key", "etcd", "--bao-auth", "approle"]);
        command.args(["--bao-role-id", &self.role.role_id]);
        command.arg("--bao-secret-id-file").arg(&secret_id);
        command.args(["--bao-hold", "1s"]).args(settings);
        let log = self.folder.path().join(format!("{name}.log"));
        let mut process = Process::start(name, &command, &log)?;
        let socket: SocketAddress = socket.to_string_lossy().parse()?;
        let client = KmsClient::new(&socket);
        let begin = Instant::now();
        while let Err(error) = client.status().await {
            process.ensure_running()?;
            if begin.elapsed() > START_LIMIT {
                bail!("{name} is not well: {error}\n{}", process.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Plugin { process, socket })
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if let Some(proxies) = self.proxies.take() {
            proxies.shutdown_background();
        }
    }
}
