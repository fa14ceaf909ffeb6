//! A real kube-apiserver on a real etcd. Two or more on one etcd are a real
//! highly available control plane. There is no kubelet, scheduler or
//! controller manager.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::client::{ApiError, Client};
use crate::pki;
use crate::ports;
use crate::process::Process;
use crate::servers::{KubeMinor, Server, prepare_in_background};
use crate::{Error, Etcd};

/// Alone it is ready in 4 s; a machine that compiles beside it needs longer.
const START_LIMIT: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(100);

/// How to start a kube-apiserver.
#[derive(Debug, Clone)]
#[must_use = "nothing runs before `start`"]
pub struct Options {
    minor: Option<KubeMinor>,
    encryption_config: Option<PathBuf>,
    automatic_reload: bool,
    flags: Vec<String>,
    names: Vec<String>,
    until: Health,
}

/// What a started server is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Answering,
    Live,
    Ready,
}

impl Options {
    /// The minor version; without this call the [usual](KubeMinor::usual) one.
    pub fn minor(mut self, minor: KubeMinor) -> Self {
        self.minor = Some(minor);
        self
    }

    /// The EncryptionConfiguration file to use. Without this call, Secrets are
    /// stored as plaintext.
    pub fn encryption_config(mut self, file: impl Into<PathBuf>) -> Self {
        self.encryption_config = Some(file.into());
        self
    }

    /// Reloads that file when it changes; the server looks once a minute.
    pub fn automatic_reload(mut self) -> Self {
        self.automatic_reload = true;
        self
    }

    /// One more flag, such as `--feature-gates=KMSv1=true`.
    pub fn flag(mut self, flag: impl Into<String>) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// One more name in its certificate, such as that of a Service.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.names.push(name.into());
        self
    }

    /// Returns from [`Self::start`] when `/livez` is well, as `/readyz` never
    /// is while a KMS plugin is away.
    pub fn until_live(mut self) -> Self {
        self.until = Health::Live;
        self
    }

    /// Returns from [`Self::start`] when the server answers at all: rows that
    /// it cannot read keep even `/livez` from being well.
    pub fn until_answering(mut self) -> Self {
        self.until = Health::Answering;
        self
    }

    /// Starts the server on `etcd` and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be built, ends, or is not ready within three minutes;
    /// the error shows the end of its log.
    pub async fn start(self, etcd: &Etcd) -> Result<ApiServer, Error> {
        let minor = self.minor.map_or_else(KubeMinor::usual, Ok)?;
        let program = prepare_in_background(Server::KubeApiserver(minor)).await?;
        let mut attempt = 1;
        loop {
            let mut server = ApiServer::spawn(&program, minor, &self, etcd)?;
            match server.wait_for(self.until, START_LIMIT).await {
                Err(Error::Ended { .. })
                    if attempt < ports::ATTEMPTS && ports::was_taken(&server.process) =>
                {
                    attempt += 1;
                }
                Err(error) => return Err(error),
                Ok(()) => return Ok(server),
            }
        }
    }

    fn command(
        &self,
        program: &Path,
        minor: KubeMinor,
        etcd: &Etcd,
        port: u16,
        folder: &Path,
    ) -> Result<Command, Error> {
        let authority = pki::authority()?;
        let serving = authority.write_party_of(folder, "kube-apiserver", None, &self.names)?;
        let (signing_key, verifying_key) = authority.write_service_account(folder)?;
        let tokens = folder.join("tokens.csv");
        pki::write_private(
            &tokens,
            &format!("{},admin,admin,\"system:masters\"\n", authority.token),
        )?;
        let mut command = Command::new(program);
        command
            .args(["--etcd-servers", etcd.endpoint(), "--etcd-prefix=/registry"])
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
            .arg(format!("--secure-port={port}"))
            .arg("--cert-dir")
            .arg(folder.join("certificates"))
            .arg("--tls-cert-file")
            .arg(&serving.cert)
            .arg("--tls-private-key-file")
            .arg(&serving.key)
            .arg("--token-auth-file")
            .arg(&tokens)
            .arg("--service-account-signing-key-file")
            .arg(&signing_key)
            .arg("--service-account-key-file")
            .arg(&verifying_key)
            .args([
                "--service-account-issuer=https://kubernetes.default.svc",
                "--authorization-mode=RBAC",
            ])
            .args([
                "--service-cluster-ip-range=10.0.0.0/24",
                "--disable-admission-plugins=ServiceAccount",
            ]);
        // Newer ones refuse to tell the cluster that they are to be found at a loopback address.
        if minor >= KubeMinor::V1_37 {
            command.arg("--endpoint-reconciler-type=none");
        }
        if let Some(tls) = etcd.tls() {
            command.arg("--etcd-cafile").arg(&tls.ca);
            command
                .arg("--etcd-certfile")
                .arg(&tls.cert)
                .arg("--etcd-keyfile")
                .arg(&tls.key);
        }
        if let Some(file) = &self.encryption_config {
            command.arg("--encryption-provider-config").arg(file);
            command.arg(format!(
                "--encryption-provider-config-automatic-reload={}",
                self.automatic_reload
            ));
        }
        command.args(&self.flags);
        Ok(command)
    }
}

/// A running kube-apiserver. Ends when dropped; what it stored stays in etcd.
#[derive(Debug)]
pub struct ApiServer {
    process: Process,
    client: Client,
    url: String,
    kubeconfig: PathBuf,
    command: Command,
    until: Health,
    folder: TempDir,
}

impl ApiServer {
    /// The usual version, without encryption.
    pub fn options() -> Options {
        Options {
            minor: None,
            encryption_config: None,
            automatic_reload: false,
            flags: Vec::new(),
            names: Vec::new(),
            until: Health::Ready,
        }
    }

    /// A client with all rights.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A kubeconfig file with all rights; goes with the server.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The server process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Starts it again after it was killed, on the same port and with the same
    /// flags, and waits as [`Options::start`] did.
    ///
    /// # Errors
    /// As [`Options::start`].
    pub async fn start_again(&mut self) -> Result<(), Error> {
        let name = self.process.name().to_owned();
        let log = self.process.log_path().to_owned();
        self.process = Process::start_owning(None, &name, &self.command, &log)?;
        self.wait_for(self.until, START_LIMIT).await
    }

    /// Its temporary folder, which goes with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until `/readyz` is well.
    ///
    /// # Errors
    /// [`Error::Ended`], or [`Error::Deadline`] with the checks that fail.
    pub async fn wait_until_ready(&mut self, limit: Duration) -> Result<(), Error> {
        self.wait_for(Health::Ready, limit).await
    }

    fn spawn(
        program: &Path,
        minor: KubeMinor,
        options: &Options,
        etcd: &Etcd,
    ) -> Result<Self, Error> {
        let folder = tempfile::tempdir()
            .map_err(Error::file("create a folder in", &std::env::temp_dir()))?;
        let authority = pki::authority()?;
        let port = ports::free()?;
        let url = format!("https://127.0.0.1:{port}");
        let client = Client::new(url.clone(), &authority.ca_pem, authority.token.clone())?;
        let kubeconfig = folder.path().join("kubeconfig");
        pki::write_private(
            &kubeconfig,
            &kubeconfig_text(&url, &folder.path().join("ca.crt"), &authority.token),
        )?;
        let command = options.command(program, minor, etcd, port, folder.path())?;
        let name = format!("kube-apiserver {minor}");
        let process = Process::start_owning(
            Some(folder.path()),
            &name,
            &command,
            &folder.path().join("kube-apiserver.log"),
        )?;
        Ok(Self {
            process,
            client,
            url,
            kubeconfig,
            command,
            until: options.until,
            folder,
        })
    }

    async fn wait_for(&mut self, health: Health, limit: Duration) -> Result<(), Error> {
        let (path, state) = match health {
            Health::Answering => ("/livez?verbose", "answering"),
            Health::Live => ("/livez?verbose", "live"),
            Health::Ready => ("/readyz?verbose", "ready"),
        };
        let start = Instant::now();
        let mut last = "no answer yet".to_owned();
        while start.elapsed() < limit {
            self.process.ensure_running()?;
            match self.client.raw(path).await {
                Ok(answer) if answer.status == 200 || health == Health::Answering => return Ok(()),
                Ok(answer) => {
                    last = format!("status {}{}", answer.status, failed_checks(&answer.body))
                }
                Err(ApiError::Unreachable(_)) => "connection refused".clone_into(&mut last),
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(POLL).await;
        }
        Err(self.process.deadline(state, limit, &last))
    }
}

/// The lines of a verbose health answer that begin with `[-]`.
fn failed_checks(body: &str) -> String {
    body.lines()
        .filter_map(|line| line.strip_prefix("[-]"))
        .map(|check| format!(", {check}"))
        .collect()
}

/// JSON is YAML, which is what kubectl reads.
pub(crate) fn kubeconfig_text(url: &str, ca: &Path, token: &str) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "testbed", "cluster": {"server": url, "certificate-authority": ca}}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": "admin"}}],
        "current-context": "testbed",
    })
    .to_string()
}
