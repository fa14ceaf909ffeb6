//! An etcd, a kube-apiserver that encrypts with a local key, and Secrets whose rows are plaintext.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use kdc_testbed::{ApiServer, Etcd, Meter, Resource, encryption_config};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// Where the Secrets are; the one that others read is elsewhere.
const PREFIX: &str = "/registry/secrets/rewritten/";
const ENCRYPTED: &[u8] = b"k8s:enc:";
/// Of a transaction; etcd takes 1.5 MiB.
const MOST_AT_ONCE: usize = 1 << 20;
const SETTLE: Duration = Duration::from_secs(5);
/// Of 32 bytes.
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// Secrets of one length.
pub(super) struct Set {
    pub(super) count: u32,
    /// Bytes of data in each.
    pub(super) length: usize,
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.length < 1024 {
            write!(f, "{} of {} B", self.count, self.length)
        } else {
            write!(f, "{} of {} KiB", self.count, self.length >> 10)
        }
    }
}

pub(super) struct Fixture {
    pub(super) server: ApiServer,
    /// Before the server, for the clients that are measured.
    pub(super) meter: Meter,
    etcd: Etcd,
    folder: TempDir,
    /// The meter and the reader have threads of their own, as the clients that are measured keep this one busy.
    beside: Option<Runtime>,
}

impl Fixture {
    pub(super) async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("encryption.yaml");
        let aesgcm = json!({"aesgcm": {"keys": [{"name": "bench", "secret": KEY}]}});
        let providers = [aesgcm, json!({"identity": {}})];
        std::fs::write(
            &config,
            encryption_config::with_providers(&["secrets"], &providers),
        )?;
        let etcd = Etcd::start().await?;
        let server = ApiServer::options()
            .encryption_config(config)
            .start(&etcd)
            .await?;
        let beside = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let url = server.url().to_owned();
        let meter = beside
            .spawn(async move { Meter::start(&url).await })
            .await??;
        let fixture = Self {
            server,
            meter,
            etcd,
            folder,
            beside: Some(beside),
        };
        fixture.write_kubeconfig()?;
        fixture.create_objects().await?;
        Ok(fixture)
    }

    /// Where what runs beside the measured clients runs.
    pub(super) fn beside(&self) -> Result<&Runtime> {
        self.beside.as_ref().context("only dropping takes it")
    }

    /// The kubeconfig of clients that are measured.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    fn write_kubeconfig(&self) -> Result<()> {
        let text = std::fs::read_to_string(self.server.kubeconfig())?;
        let text = text.replace(self.server.url(), &self.meter.https_url());
        write_private(&self.kubeconfig(), &text)
    }

    /// The namespace of the Secrets, and the one Secret that others read.
    async fn create_objects(&self) -> Result<()> {
        let client = self.server.client();
        let namespace = json!({"metadata": {"name": "rewritten"}});
        client.create(Resource::NAMESPACES, "", &namespace).await?;
        let secret = json!({"metadata": {"name": "read"}, "stringData": {"a": "b"}});
        client.create(Resource::SECRETS, "default", &secret).await?;
        Ok(())
    }

    /// Puts the Secrets into etcd as they were stored before there was encryption.
    pub(super) async fn make_stale(&self, set: &Set) -> Result<()> {
        self.compact().await?;
        let data = "QUJD".repeat(set.length.div_ceil(3));
        let mut batch = Vec::new();
        for number in 0..set.count {
            batch.push(row(number, &data));
            if batch.len() * (data.len() + 1000) > MOST_AT_ONCE || batch.len() >= 128 {
                self.etcd.put_all(&batch).await?;
                batch.clear();
            }
        }
        self.etcd.put_all(&batch).await?;
        // The API server learns of them by a watch.
        tokio::time::sleep(SETTLE).await;
        Ok(())
    }

    /// How many of them are not encrypted.
    pub(super) async fn stale(&self) -> Result<usize> {
        let rows = self.etcd.rows(PREFIX).await?;
        let stale = rows.iter().filter(|row| !row.value.starts_with(ENCRYPTED));
        Ok(stale.count())
    }

    /// Removes them.
    pub(super) async fn clear(&self) -> Result<()> {
        let mut etcdctl = self.etcd.etcdctl();
        let output = etcdctl.args(["del", "--prefix", PREFIX]).output()?;
        anyhow::ensure!(output.status.success(), "{output:?}");
        self.compact().await
    }

    /// Older changes would fill etcd's quota.
    async fn compact(&self) -> Result<()> {
        let rows = self.etcd.rows("/registry/").await?;
        let newest = rows.iter().map(|row| row.mod_revision).max();
        // Nothing to compact is no failure.
        let _ = self.etcd.compact(newest.context("no rows")?).await;
        Ok(())
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if let Some(beside) = self.beside.take() {
            beside.shutdown_background();
        }
    }
}

fn row(number: u32, data: &str) -> (String, Vec<u8>) {
    let name = format!("secret-{number:06}");
    let fields = json!({"f:data": {".": {}, "f:value": {}}, "f:type": {}});
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {
            "name": name, "namespace": "rewritten", "creationTimestamp": "2026-01-01T00:00:00Z",
            "uid": format!("0d3a1c1e-0000-4000-8000-{number:012}"),
            "managedFields": [{
                "manager": "kubectl-create", "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
                "fieldsType": "FieldsV1", "fieldsV1": fields,
            }],
        },
        "data": {"value": data},
    });
    (format!("{PREFIX}{name}"), secret.to_string().into_bytes())
}

fn write_private(path: &Path, content: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    Ok(file.write_all(content.as_bytes())?)
}
