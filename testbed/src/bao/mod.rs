//! A real OpenBao: one server in memory or on disk, or three that are a
//! cluster, and the calls that set them up.
//!
//! Each server is initialised with a single Shamir key that [`Bao`] keeps, so
//! a test can seal and unseal it, and kill and restart it.

mod caller;
mod cluster;
mod grant;
mod login;
mod options;
mod policy;
mod version;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

pub use caller::Caller;
use caller::text;
pub use cluster::BaoCluster;
pub use grant::Grant;
pub use login::{AppRole, JwtIssuer};
pub use options::Options;
pub use policy::kms_plugin_policy;
pub use version::{BAO_VERSIONS, BaoVersion, UnknownVersion};

use crate::Error;
use crate::pki::{self, TlsFiles};
use crate::ports;
use crate::process::{Process, Signal};
use crate::servers::{Server, prepare_in_background};

/// Alone it is active in a second; a machine that compiles beside it needs longer.
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// Statuses of `sys/health`.
const ACTIVE: u16 = 200;
const STANDBY: u16 = 429;

/// A running OpenBao. Ends, and its data with it, when dropped.
pub struct Bao {
    process: Process,
    root: Caller,
    /// Base64, as `sys/unseal` takes it.
    unseal_key: String,
    tls: Option<TlsFiles>,
    command: Command,
    version: BaoVersion,
    persistent: bool,
    /// Statuses of `sys/health` that a healthy server answers.
    healthy: &'static [u16],
    folder: TempDir,
}

impl Bao {
    /// The newest version, in memory, without TLS.
    pub fn options() -> Options {
        Options::default()
    }

    /// Starts the newest version, in memory, without TLS.
    ///
    /// # Errors
    /// As [`Options::start`].
    pub async fn start() -> Result<Self, Error> {
        Self::options().start().await
    }

    /// Where clients connect: `http://127.0.0.1:PORT`, with TLS `https`. Stays
    /// the same over restarts.
    #[must_use]
    pub fn address(&self) -> &str {
        self.root.address()
    }

    /// The token that may do everything.
    #[must_use]
    pub fn root_token(&self) -> &str {
        self.root.token()
    }

    /// API calls with all rights; the way to all that sets the server up.
    #[must_use]
    pub fn root(&self) -> &Caller {
        &self.root
    }

    /// With TLS, the PEM file of the authority that signed the certificate the
    /// server was started with.
    #[must_use]
    pub fn ca_file(&self) -> Option<&Path> {
        self.tls.as_ref().map(|tls| tls.ca.as_path())
    }

    /// The version that runs.
    #[must_use]
    pub fn version(&self) -> BaoVersion {
        self.version
    }

    /// The server process, to kill it, and to let it hang with
    /// [`Process::pause`] and go on with SIGCONT.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The temporary folder with its data, log and certificates.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends the server with SIGTERM, unless it has ended already, starts it
    /// again on the same port and data, and unseals it. Tokens stay valid.
    ///
    /// # Errors
    /// [`Error::Unexpected`] for a server in memory, whose data is gone; else
    /// as [`Options::start`].
    pub async fn restart(&mut self) -> Result<(), Error> {
        if !self.persistent {
            return Err(unexpected(
                "a server in memory cannot restart; start it with `persistent`".to_owned(),
            ));
        }
        if self.process.exit_code()?.is_none() {
            self.process.terminate(STOP_LIMIT).await?;
        }
        let mut attempt = 1;
        loop {
            self.process = launch(&self.command, self.version, self.folder.path())?;
            match self.wait_until_answering().await {
                Err(Error::Ended { .. })
                    if attempt < ports::ATTEMPTS && ports::was_taken(&self.process) =>
                {
                    attempt += 1;
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                Err(error) => return Err(error),
                Ok(()) => return self.unseal().await,
            }
        }
    }

    /// Seals the server: all but its status answers 503 afterwards.
    ///
    /// # Errors
    /// When the server does not answer as it should.
    pub async fn seal(&self) -> Result<(), Error> {
        self.root.call("PUT", "sys/seal", None).await.map(|_| ())
    }

    /// Unseals the server and waits until it is healthy.
    ///
    /// # Errors
    /// As [`Self::wait_until_healthy`].
    pub async fn unseal(&mut self) -> Result<(), Error> {
        let body = json!({"key": self.unseal_key});
        self.root.call("PUT", "sys/unseal", Some(body)).await?;
        self.wait_until_healthy().await
    }

    /// Waits until the server is unsealed and active; in a cluster a standby
    /// is healthy too.
    ///
    /// # Errors
    /// [`Error::Ended`], or [`Error::Deadline`] after a minute.
    pub async fn wait_until_healthy(&mut self) -> Result<(), Error> {
        let (root, healthy) = (self.root.clone(), self.healthy);
        self.wait_for(&root, "healthy", |status| healthy.contains(&status))
            .await
    }

    /// Writes a certificate and key for a client, signed by the authority that
    /// [`Caller::create_cert_role`] trusts; `name` is the common name.
    ///
    /// # Errors
    /// [`Error::Certificate`] or [`Error::File`].
    pub fn client_certificate(&self, name: &str) -> Result<TlsFiles, Error> {
        pki::authority()?.write_party(self.folder.path(), name)
    }

    /// Gives the listener a certificate of another authority, makes the server
    /// reload it, and gives the PEM file of that authority. [`Self::ca_file`]
    /// stays what it was, and so do connections that are open.
    ///
    /// # Errors
    /// [`Error::Unexpected`] for a server without TLS, [`Error::Deadline`] when
    /// the new certificate is not served.
    pub async fn swap_certificate(&mut self) -> Result<PathBuf, Error> {
        let Some(tls) = &self.tls else {
            return Err(unexpected(
                "a server without TLS has no certificate; start it with `tls`".to_owned(),
            ));
        };
        let folder = tempfile::tempdir_in(self.folder.path())
            .map_err(Error::file("create a folder in", self.folder.path()))?
            .keep();
        let other = pki::other_authority()?;
        let files = other.write_party(&folder, "openbao")?;
        for (from, to) in [(&files.cert, &tls.cert), (&files.key, &tls.key)] {
            fs::copy(from, to).map_err(Error::file("copy", from))?;
        }
        let newly_served = Caller::new(self.address().to_owned(), other.ca_pem.clone())?;
        self.root.trust(other.ca_pem)?;
        self.process.signal(Signal::HUP)?;
        self.wait_for(&newly_served, "serving the new certificate", |_| true)
            .await?;
        Ok(files.ca)
    }

    /// Starts a server that is not initialised yet.
    async fn start_blank(options: &Options) -> Result<Self, Error> {
        let program = prepare_in_background(Server::Bao(options.version)).await?;
        let mut attempt = 1;
        loop {
            let mut bao = Self::spawn(&program, options)?;
            match bao.wait_until_answering().await {
                Err(Error::Ended { .. })
                    if attempt < ports::ATTEMPTS && ports::was_taken(&bao.process) =>
                {
                    attempt += 1;
                }
                Err(error) => return Err(error),
                Ok(()) => return Ok(bao),
            }
        }
    }

    fn spawn(program: &Path, options: &Options) -> Result<Self, Error> {
        let folder = tempfile::tempdir()
            .map_err(Error::file("create a folder in", &std::env::temp_dir()))?;
        let authority = pki::authority()?;
        let tls = options
            .tls
            .then(|| authority.write_party_of(folder.path(), "openbao", None, &options.names))
            .transpose()?;
        let (scheme, port) = (
            if options.tls { "https" } else { "http" },
            ports::lasting()?,
        );
        let address = format!("{scheme}://127.0.0.1:{port}");
        let data = folder.path().join("data");
        fs::create_dir(&data).map_err(Error::file("create", &data))?;
        let config = folder.path().join("openbao.hcl");
        pki::write_private(
            &config,
            &options.config(&data, &address, port, ports::lasting()?, tls.as_ref()),
        )?;
        let mut command = Command::new(program);
        command
            .arg("server")
            .arg("-config")
            .arg(&config)
            .env("HOME", folder.path());
        Ok(Self {
            process: launch(&command, options.version, folder.path())?,
            root: Caller::new(address, authority.ca_pem.clone())?,
            unseal_key: String::new(),
            tls,
            command,
            version: options.version,
            persistent: options.persistent,
            healthy: &[ACTIVE],
            folder,
        })
    }

    /// Makes the root token and the key, and unseals.
    async fn initialise(&mut self) -> Result<(), Error> {
        let shares = json!({"secret_shares": 1, "secret_threshold": 1});
        let answer = self.root.call("PUT", "sys/init", Some(shares)).await?;
        self.unseal_key = text(&answer, "/keys_base64/0")?;
        self.root = self.root.with_token(&text(&answer, "/root_token")?);
        self.unseal().await
    }

    async fn wait_until_answering(&mut self) -> Result<(), Error> {
        let root = self.root.clone();
        self.wait_for(&root, "answering", |_| true).await
    }

    /// Asks for the health of the server until its status is one that counts.
    async fn wait_for(
        &mut self,
        caller: &Caller,
        state: &'static str,
        reached: impl Fn(u16) -> bool,
    ) -> Result<(), Error> {
        let start = Instant::now();
        let mut last = "no answer yet".to_owned();
        while start.elapsed() < START_LIMIT {
            self.process.ensure_running()?;
            match caller.request("GET", "sys/health", None).await {
                Ok((status, _)) if reached(status) => return Ok(()),
                Ok((status, _)) => last = format!("health is {status}"),
                Err(error) => last = format!("{error:?}"),
            }
            tokio::time::sleep(POLL).await;
        }
        Err(self.process.deadline(state, START_LIMIT, &last))
    }
}

impl fmt::Debug for Bao {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bao")
            .field("version", &self.version)
            .field("root", &self.root)
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

fn launch(command: &Command, version: BaoVersion, folder: &Path) -> Result<Process, Error> {
    Process::start_owning(
        Some(folder),
        &format!("openbao {version}"),
        command,
        &folder.join("openbao.log"),
    )
}

fn unexpected(detail: String) -> Error {
    Error::Unexpected {
        name: "openbao",
        detail,
    }
}
