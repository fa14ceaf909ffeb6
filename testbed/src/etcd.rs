//! A real etcd of one node, and its rows as they are stored.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Error;
use crate::pki::{self, TlsFiles};
use crate::ports;
use crate::process::Process;
use crate::servers::{Server, prepare_in_background};

const START_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(25);

/// A running etcd. Ends, and its data with it, when dropped.
#[derive(Debug)]
pub struct Etcd {
    process: Process,
    endpoint: String,
    tls: Option<TlsFiles>,
    http: reqwest::Client,
    etcdctl: PathBuf,
    folder: TempDir,
}

/// A key and its value as etcd stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row {
    /// The key, such as `/registry/secrets/default/name`.
    pub key: String,
    /// The stored bytes.
    pub value: Vec<u8>,
    /// Revision of the last change; Kubernetes shows it as resourceVersion.
    pub mod_revision: i64,
}

impl Etcd {
    /// Starts an etcd that speaks plain HTTP on 127.0.0.1.
    ///
    /// # Errors
    /// When it cannot be built or does not become healthy.
    pub async fn start() -> Result<Self, Error> {
        Self::start_as(false, None, &[]).await
    }

    /// Starts an etcd as [`Self::start`] does, with further flags, such as `--auth-token-ttl=1`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with_flags(flags: &[&str]) -> Result<Self, Error> {
        Self::start_as(false, None, flags).await
    }

    /// Starts an etcd on a data directory that is there, such as a restored one.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_on(data_dir: &Path) -> Result<Self, Error> {
        Self::start_as(false, Some(data_dir), &[]).await
    }

    /// Starts an etcd that speaks TLS and demands client certificates.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with_tls() -> Result<Self, Error> {
        Self::start_as(true, None, &[]).await
    }

    /// Where clients connect: `http://127.0.0.1:PORT`, with TLS `https`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What a client needs for TLS, if this etcd demands it.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsFiles> {
        self.tls.as_ref()
    }

    /// The server process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The row under `key`, if there is one.
    ///
    /// # Errors
    /// When etcd does not answer as it should.
    pub async fn row(&self, key: &str) -> Result<Option<Row>, Error> {
        Ok(self.range(json!({"key": BASE64.encode(key)})).await?.pop())
    }

    /// All rows whose key begins with `prefix`, in order of their keys.
    ///
    /// # Errors
    /// As [`Self::row`].
    pub async fn rows(&self, prefix: &str) -> Result<Vec<Row>, Error> {
        self.range(json!({
            "key": BASE64.encode(prefix),
            "range_end": BASE64.encode(end_of_prefix(prefix.as_bytes())),
        }))
        .await
    }

    /// Writes a row behind the API server's back.
    ///
    /// # Errors
    /// As [`Self::row`].
    pub async fn put(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        let request = json!({"key": BASE64.encode(key), "value": BASE64.encode(value)});
        self.call("put", &request).await.map(|_| ())
    }

    /// Writes many rows, 128 in a transaction, which is what etcd takes. No two of a transaction may have the same key.
    ///
    /// # Errors
    /// As [`Self::row`].
    pub async fn put_all(&self, rows: &[(String, Vec<u8>)]) -> Result<(), Error> {
        for rows in rows.chunks(128) {
            let put = |(key, value): &(String, Vec<u8>)| json!({"requestPut": {"key": BASE64.encode(key), "value": BASE64.encode(value)}});
            let puts: Vec<Value> = rows.iter().map(put).collect();
            self.call("txn", &json!({"success": puts})).await?;
        }
        Ok(())
    }

    /// Drops all changes before `revision` that no row needs, and waits until they are gone from the data file.
    ///
    /// # Errors
    /// As [`Self::row`].
    pub async fn compact(&self, revision: i64) -> Result<(), Error> {
        let request = json!({"revision": revision.to_string(), "physical": true});
        self.call("compaction", &request).await.map(|_| ())
    }

    /// Saves a snapshot to `path`, as administrators do. Blocks.
    ///
    /// # Errors
    /// When etcdctl fails.
    pub fn save_snapshot(&self, path: &Path) -> Result<(), Error> {
        let mut etcdctl = self.etcdctl();
        etcdctl.args(["snapshot", "save"]).arg(path);
        let output = etcdctl.output().map_err(|source| Error::Process {
            action: "run",
            name: "etcdctl".to_owned(),
            source,
        })?;
        if output.status.success() {
            return Ok(());
        }
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(unexpected(format!("snapshot save: {error}")))
    }

    /// Deletes a row behind the API server's back.
    ///
    /// # Errors
    /// As [`Self::row`].
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        self.call("deleterange", &json!({"key": BASE64.encode(key)}))
            .await
            .map(|_| ())
    }

    /// etcd's own client, set up to talk to this etcd: add a subcommand.
    #[must_use]
    pub fn etcdctl(&self) -> Command {
        self.etcdctl_as(self.tls.as_ref())
    }

    /// [`Self::etcdctl`] with another certificate: with authentication on, its common name is the user.
    #[must_use]
    pub fn etcdctl_as(&self, tls: Option<&TlsFiles>) -> Command {
        let mut etcdctl = Command::new(&self.etcdctl);
        etcdctl.arg("--endpoints").arg(&self.endpoint);
        if let Some(tls) = tls {
            etcdctl
                .arg("--cacert")
                .arg(&tls.ca)
                .arg("--cert")
                .arg(&tls.cert)
                .arg("--key")
                .arg(&tls.key);
        }
        etcdctl
    }

    async fn start_as(tls: bool, data_dir: Option<&Path>, flags: &[&str]) -> Result<Self, Error> {
        let program = prepare_in_background(Server::Etcd).await?;
        let etcdctl = prepare_in_background(Server::Etcdctl).await?;
        let mut attempt = 1;
        loop {
            let mut etcd = Self::spawn(&program, etcdctl.clone(), tls, data_dir, flags)?;
            match etcd.wait_until_healthy().await {
                Err(Error::Ended { .. })
                    if attempt < ports::ATTEMPTS && ports::was_taken(&etcd.process) =>
                {
                    attempt += 1;
                }
                Err(error) => return Err(error),
                Ok(()) => return Ok(etcd),
            }
        }
    }

    fn spawn(
        program: &Path,
        etcdctl: PathBuf,
        tls: bool,
        data_dir: Option<&Path>,
        flags: &[&str],
    ) -> Result<Self, Error> {
        let folder = tempfile::tempdir()
            .map_err(Error::file("create a folder in", &std::env::temp_dir()))?;
        let scheme = if tls { "https" } else { "http" };
        let endpoint = format!("{scheme}://127.0.0.1:{}", ports::free()?);
        let peer = format!("http://127.0.0.1:{}", ports::free()?);
        let mut command = Command::new(program);
        command
            .args(["--name", "testbed", "--initial-cluster-state", "new"])
            .arg("--data-dir")
            .arg(data_dir.map_or_else(|| folder.path().join("data"), Path::to_path_buf))
            .args([
                "--listen-client-urls",
                &endpoint,
                "--advertise-client-urls",
                &endpoint,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args(["--initial-cluster", &format!("testbed={peer}")])
            // Nothing here outlives a crash of the machine.
            .arg("--unsafe-no-fsync")
            .args(flags);
        let tls = if tls {
            Some(require_tls(&mut command, folder.path())?)
        } else {
            None
        };
        let http = http_client(tls.as_ref())?;
        let process = Process::start_owning(
            Some(folder.path()),
            "etcd",
            &command,
            &folder.path().join("etcd.log"),
        )?;
        Ok(Self {
            process,
            endpoint,
            tls,
            http,
            etcdctl,
            folder,
        })
    }

    async fn wait_until_healthy(&mut self) -> Result<(), Error> {
        let start = Instant::now();
        let mut last = "no answer yet".to_owned();
        while start.elapsed() < START_LIMIT {
            self.process.ensure_running()?;
            match self
                .http
                .get(format!("{}/health", self.endpoint))
                .send()
                .await
            {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => last = answer.status().to_string(),
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(POLL).await;
        }
        Err(self.process.deadline("healthy", START_LIMIT, &last))
    }

    async fn range(&self, request: Value) -> Result<Vec<Row>, Error> {
        let answer = self.call("range", &request).await?;
        let rows = answer
            .pointer("/kvs")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        rows.iter()
            .map(|row| parse_row(row).ok_or_else(|| unexpected(format!("row {row}"))))
            .collect()
    }

    /// One call of etcd's key-value service through its JSON gateway.
    async fn call(&self, method: &str, request: &Value) -> Result<Value, Error> {
        let answer = self
            .http
            .post(format!("{}/v3/kv/{method}", self.endpoint))
            .json(request)
            .send()
            .await
            .map_err(http_error)?;
        if !answer.status().is_success() {
            return Err(unexpected(format!("{method}: {}", answer.status())));
        }
        answer.json().await.map_err(http_error)
    }

    /// The temporary folder with its data, log and certificates.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn require_tls(command: &mut Command, folder: &Path) -> Result<TlsFiles, Error> {
    let authority = pki::authority()?;
    let server = authority.write_party(folder, "etcd-server")?;
    command
        .arg("--client-cert-auth")
        .arg("--trusted-ca-file")
        .arg(&server.ca);
    command
        .arg("--cert-file")
        .arg(&server.cert)
        .arg("--key-file")
        .arg(&server.key);
    authority.write_party(folder, "etcd-client")
}

fn http_client(tls: Option<&TlsFiles>) -> Result<reqwest::Client, Error> {
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(30));
    if let Some(tls) = tls {
        let read = |path: &Path| std::fs::read(path).map_err(Error::file("read", path));
        let mut identity = read(&tls.cert)?;
        identity.extend(read(&tls.key)?);
        builder = builder
            .tls_certs_only([reqwest::Certificate::from_pem(&read(&tls.ca)?).map_err(http_error)?])
            .identity(reqwest::Identity::from_pem(&identity).map_err(http_error)?);
    }
    builder.build().map_err(http_error)
}

/// The first key after all that begin with `prefix`: the last byte below 0xff,
/// one higher, with nothing after it. For a prefix without such a byte etcd
/// takes a single zero as "to the end".
fn end_of_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return end;
        }
    }
    vec![0]
}

/// Numbers are strings in protobuf's JSON; a field that is empty is left out.
pub(crate) fn parse_row(row: &Value) -> Option<Row> {
    let bytes = |name: &str| match row.get(name) {
        None => Some(Vec::new()),
        Some(text) => BASE64.decode(text.as_str()?).ok(),
    };
    Some(Row {
        key: String::from_utf8(bytes("key")?).ok()?,
        value: bytes("value")?,
        mod_revision: row.get("mod_revision")?.as_str()?.parse().ok()?,
    })
}

fn unexpected(detail: String) -> Error {
    Error::Unexpected {
        name: "etcd",
        detail,
    }
}

fn http_error(source: reqwest::Error) -> Error {
    Error::Http {
        name: "etcd",
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::end_of_prefix;

    #[test]
    fn the_end_of_a_prefix_follows_all_keys_that_begin_with_it() {
        assert_eq!(end_of_prefix(b"/a/"), b"/a0");
        assert_eq!(end_of_prefix(b"a\xff"), b"b");
        assert_eq!(end_of_prefix(b"\xff"), b"\0");
        assert_eq!(end_of_prefix(b""), b"\0");
    }
}
