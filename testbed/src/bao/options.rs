//! How to start an OpenBao, and the configuration file that this becomes.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::pki::TlsFiles;

use super::{Bao, BaoVersion};

/// How to start an OpenBao.
#[derive(Debug, Clone)]
#[must_use = "nothing runs before `start`"]
pub struct Options {
    pub(super) version: BaoVersion,
    pub(super) tls: bool,
    pub(super) persistent: bool,
    pub(super) node: usize,
    pub(super) names: Vec<String>,
    audit: Option<PathBuf>,
    settings: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            version: BaoVersion::DEFAULT,
            tls: false,
            persistent: false,
            node: 0,
            names: Vec::new(),
            audit: None,
            settings: String::new(),
        }
    }
}

impl Options {
    /// The version; without this call the newest.
    pub fn version(mut self, version: BaoVersion) -> Self {
        self.version = version;
        self
    }

    /// Speaks TLS with a certificate for 127.0.0.1 and localhost, and takes
    /// client certificates.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// With TLS, one more name in its certificate.
    pub fn name(mut self, name: &str) -> Self {
        self.names.push(name.to_owned());
        self
    }

    /// Keeps its data in a raft log on disk, which costs 2 s at the start, so
    /// that it can be killed and restarted.
    pub fn persistent(mut self) -> Self {
        self.persistent = true;
        self
    }

    /// Logs each request and answer to `file`, one JSON object a line.
    pub fn audit(mut self, file: impl Into<PathBuf>) -> Self {
        self.audit = Some(file.into());
        self
    }

    /// One more line of the configuration file, such as
    /// `disable_standby_reads = true`.
    pub fn setting(mut self, line: &str) -> Self {
        self.settings.push_str(line);
        self.settings.push('\n');
        self
    }

    /// Starts the server, initialises and unseals it, and waits until it is
    /// active.
    ///
    /// # Errors
    /// When it cannot be installed, ends, or is not active within a minute;
    /// the error shows the end of its log.
    pub async fn start(self) -> Result<Bao, Error> {
        let mut bao = Bao::start_blank(&self).await?;
        bao.initialise().await?;
        Ok(bao)
    }

    /// The configuration file of a server that keeps its data in `folder`.
    pub(super) fn config(
        &self,
        folder: &Path,
        address: &str,
        port: u16,
        cluster_port: u16,
        tls: Option<&TlsFiles>,
    ) -> String {
        let storage = if self.persistent {
            // The autopilot looks often, as a test waits for what it does.
            format!(
                "storage \"raft\" {{\n  path = {}\n  node_id = \"node-{}\"\n  performance_multiplier = 1\n  \
                 autopilot_reconcile_interval = \"250ms\"\n  autopilot_update_interval = \"250ms\"\n}}\n",
                quoted(folder),
                self.node
            )
        } else {
            "storage \"inmem\" {}\n".to_owned()
        };
        let certificate = match tls {
            None => "  tls_disable = true\n".to_owned(),
            Some(tls) => format!(
                "  tls_cert_file = {}\n  tls_key_file = {}\n",
                quoted(&tls.cert),
                quoted(&tls.key)
            ),
        };
        let mut config = format!(
            "{storage}listener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  \
             cluster_address = \"127.0.0.1:{cluster_port}\"\n{certificate}}}\n\
             api_addr = \"{address}\"\ncluster_addr = \"https://127.0.0.1:{cluster_port}\"\n\
             disable_mlock = true\n{}",
            self.settings
        );
        if let Some(file) = &self.audit {
            // Writing to a `String` cannot fail.
            let _ = writeln!(
                config,
                "audit \"file\" \"main\" {{\n  options {{ file_path = {} }}\n}}",
                quoted(file)
            );
        }
        config
    }
}

/// HCL quotes as JSON does.
fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string()
}
