//! moto, a Python program that imitates AWS.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::Process;
use crate::servers::Progress;
use crate::{Error, ports, python};

const START_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// A running moto. It takes any credentials. Ends, and its data with it, when
/// dropped.
#[derive(Debug)]
pub struct Moto {
    endpoint: String,
    process: Process,
    http: reqwest::Client,
    _folder: TempDir,
}

impl Moto {
    /// Starts a server. The first time, its packages are installed into the
    /// cache of the servers.
    ///
    /// # Errors
    /// As [`python::interpreter`], and when it does not answer in time.
    pub async fn start() -> Result<Self, Error> {
        let python = tokio::task::spawn_blocking(|| interpreter(&mut |_| {}))
            .await
            .map_err(|error| Error::Build {
                what: "moto".to_owned(),
                tail: error.to_string(),
            })??;
        let mut attempt = 1;
        loop {
            let mut moto = Self::spawn(&python)?;
            match moto.wait_until_it_answers().await {
                Err(Error::Ended { .. })
                    if attempt < ports::ATTEMPTS
                        && moto.process.log().contains("Address already in use") =>
                {
                    attempt += 1;
                }
                Err(error) => return Err(error),
                Ok(()) => return Ok(moto),
            }
        }
    }

    /// Where clients connect: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Makes an empty bucket.
    ///
    /// # Errors
    /// [`Error::Http`].
    pub async fn create_bucket(&self, name: &str) -> Result<(), Error> {
        self.put(name, "").await
    }

    /// Makes an empty bucket with versions, in which an object may not be deleted
    /// for a day after it was stored (object lock).
    ///
    /// # Errors
    /// [`Error::Http`].
    pub async fn create_locked_bucket(&self, name: &str) -> Result<(), Error> {
        let url = format!("{}/{name}", self.endpoint);
        let lock = self.http.put(&url);
        let lock = lock.header("x-amz-bucket-object-lock-enabled", "true");
        expect_success(lock.send().await)?;
        let rule = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>\
                    <DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention>\
                    </Rule></ObjectLockConfiguration>";
        let rule = self.http.put(format!("{url}?object-lock")).body(rule);
        expect_success(rule.send().await)
    }

    /// Puts an object there under any key, including `a//b`.
    ///
    /// # Errors
    /// [`Error::Http`].
    pub async fn put_object(&self, bucket: &str, key: &str, content: &str) -> Result<(), Error> {
        self.put(&format!("{bucket}/{key}"), content).await
    }

    async fn put(&self, path: &str, body: &str) -> Result<(), Error> {
        let url = format!("{}/{path}", self.endpoint);
        expect_success(self.http.put(url).body(body.to_owned()).send().await)
    }

    /// The uploads in parts that were begun and neither completed nor aborted,
    /// as the server lists them in XML.
    ///
    /// # Errors
    /// [`Error::Http`].
    pub async fn unfinished_uploads(&self, bucket: &str) -> Result<usize, Error> {
        let http_error = |source| Error::Http {
            name: "moto",
            source,
        };
        let url = format!("{}/{bucket}?uploads", self.endpoint);
        let answer = self.http.get(url).send().await.map_err(http_error)?;
        let xml = answer.text().await.map_err(http_error)?;
        Ok(xml.matches("<UploadId>").count())
    }

    fn spawn(python: &Path) -> Result<Self, Error> {
        let folder = tempfile::tempdir()
            .map_err(Error::file("create a folder in", &std::env::temp_dir()))?;
        let port = ports::free()?.to_string();
        let mut command = Command::new(python);
        // Run as a module: scripts in the environment hold the path that it was made at.
        command
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port])
            .current_dir(folder.path());
        let log = folder.path().join("moto.log");
        let process = Process::start_owning(Some(folder.path()), "moto", &command, &log)?;
        let http = reqwest::Client::builder().no_proxy().build();
        Ok(Self {
            endpoint: format!("http://127.0.0.1:{port}"),
            process,
            http: http.map_err(|source| Error::Http {
                name: "moto",
                source,
            })?,
            _folder: folder,
        })
    }

    async fn wait_until_it_answers(&mut self) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            self.process.ensure_running()?;
            let last = match self.http.get(&self.endpoint).send().await {
                Ok(_) => return Ok(()),
                Err(error) => error.to_string(),
            };
            if start.elapsed() > START_LIMIT {
                return Err(self.process.deadline("answering", START_LIMIT, &last));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

fn expect_success(answer: reqwest::Result<reqwest::Response>) -> Result<(), Error> {
    let answer = answer.and_then(reqwest::Response::error_for_status);
    answer.map(|_| ()).map_err(|source| Error::Http {
        name: "moto",
        source,
    })
}

/// The path of a Python 3 that has moto.
fn interpreter(progress: &mut dyn FnMut(Progress)) -> Result<std::path::PathBuf, Error> {
    python::environment("moto", "python/moto.txt", progress)
}
