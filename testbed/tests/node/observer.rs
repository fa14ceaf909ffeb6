//! What clients of an API server see while something happens to it or to its plugin.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kdc_envelope_kms::client::KmsClient;
use kdc_testbed::{ApiError, Client, Resource};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// How long a client waits for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
const RETRY_AFTER: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(50);
const NAMES: [&str; 2] = ["read", "written"];

/// Two clients, of which one reads a Secret and one writes another, again and again, and a third that asks the plugin for its status. Each read
/// is decrypted: kube-apiserver takes a Secret that is read by its name from etcd.
pub struct Observer {
    stop: Arc<AtomicBool>,
    reads: JoinHandle<Tally>,
    writes: JoinHandle<Tally>,
    plugin: Option<JoinHandle<Tally>>,
}

/// How the calls of one client went.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    pub calls: u64,
    pub failed: u64,
    /// The longest time between two successes with a failure between them.
    pub interrupted: Duration,
    /// What the last failure said.
    pub last: String,
}

/// How the calls of all went.
#[derive(Debug)]
pub struct Observed {
    pub reads: Tally,
    pub writes: Tally,
    /// Where there is one plugin alone.
    pub plugin: Option<Tally>,
}

impl Observer {
    /// `socket` is that of the plugin, as a path of this machine.
    pub async fn start(client: &Client, socket: Option<PathBuf>) -> Self {
        for name in NAMES {
            client
                .ensure(Resource::SECRETS, "default", &secret(name, "0"))
                .await
                .unwrap();
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (reader, writer) = (client.clone(), client.clone());
        let reads = repeat(Arc::clone(&stop), move |_| read(reader.clone()));
        let writes = repeat(Arc::clone(&stop), move |number| {
            write(writer.clone(), number)
        });
        let plugin = socket.map(|socket| {
            let ask = repeat(Arc::clone(&stop), move |_| ask(socket.clone()));
            tokio::spawn(ask)
        });
        Self {
            stop,
            reads: tokio::spawn(reads),
            writes: tokio::spawn(writes),
            plugin,
        }
    }

    /// Ends all clients, each after a success.
    pub async fn finish(self) -> Observed {
        self.stop.store(true, Ordering::Relaxed);
        let plugin = match self.plugin {
            Some(plugin) => Some(plugin.await.unwrap()),
            None => None,
        };
        Observed {
            reads: self.reads.await.unwrap(),
            writes: self.writes.await.unwrap(),
            plugin,
        }
    }
}

async fn read(client: Client) -> Result<(), String> {
    let read = || client.read(Resource::SECRETS, "default", NAMES[0]);
    let secret = again_if_told(read).await?;
    // `MA==` is `0`.
    assert_eq!(secret["data"]["password"], "MA==", "a wrong answer");
    Ok(())
}

async fn write(client: Client, number: u64) -> Result<(), String> {
    let secret = secret(NAMES[1], &number.to_string());
    let written = || client.replace(Resource::SECRETS, "default", &secret);
    again_if_told(written).await.map(|_| ())
}

/// An API server that ends answers 503 with `Retry-After: 1` on connections that it still has. Clients of client-go do that, so users see none.
async fn again_if_told<Answer: Future<Output = Result<Value, ApiError>>>(
    call: impl Fn() -> Answer,
) -> Result<Value, String> {
    let answer = match call().await {
        Err(error)
            if error.status() == Some(503) && error.to_string().contains("shutting down") =>
        {
            sleep(RETRY_AFTER).await;
            call().await
        }
        answer => answer,
    };
    answer.map_err(|error| format!("{error:?}"))
}

/// Asks the plugin for its status on a connection of its own, for which it waits as kube-apiserver does.
async fn ask(socket: PathBuf) -> Result<(), String> {
    let (_folder, client) = connect(&socket).map_err(|error| error.to_string())?;
    let status = client.status().await.map_err(|error| error.to_string())?;
    match status.healthz.as_str() {
        "ok" => Ok(()),
        other => Err(other.to_owned()),
    }
}

/// A client of the plugin, and the folder that its address names: the path itself is longer than an address may be.
pub fn connect(socket: &Path) -> io::Result<(File, KmsClient)> {
    let folder = File::open(socket.parent().unwrap())?;
    let name = socket.file_name().unwrap().display();
    let address = format!("/proc/self/fd/{}/{name}", folder.as_raw_fd());
    let client = KmsClient::new(&address.parse().map_err(io::Error::other)?);
    Ok((folder, client.with_timeout(ANSWER_LIMIT)))
}

fn secret(name: &str, password: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": {"password": password},
    })
}

async fn repeat<Call: Future<Output = Result<(), String>>>(
    stop: Arc<AtomicBool>,
    call: impl Fn(u64) -> Call,
) -> Tally {
    let mut tally = Tally::default();
    let mut succeeded = Instant::now();
    let mut failing = false;
    while failing || !stop.load(Ordering::Relaxed) {
        let answer = timeout(ANSWER_LIMIT, call(tally.calls)).await;
        tally.calls += 1;
        match answer.unwrap_or_else(|_| Err(format!("no answer within {ANSWER_LIMIT:?}"))) {
            Ok(()) => {
                if failing {
                    tally.interrupted = tally.interrupted.max(succeeded.elapsed());
                }
                succeeded = Instant::now();
                failing = false;
            }
            Err(error) => {
                tally.failed += 1;
                tally.last = error;
                failing = true;
            }
        }
        sleep(PAUSE).await;
    }
    tally
}

impl Observed {
    /// Fails if a call failed, or if there were none.
    pub fn nothing_failed(&self) {
        for (what, tally) in [("reads", &self.reads), ("writes", &self.writes)] {
            assert!(tally.calls > 10, "{what}: {tally:?}");
            assert_eq!(tally.failed, 0, "{what}: {tally:?}");
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.failed == 0 {
            f.write_str("go on")
        } else {
            let seconds = self.interrupted.as_secs_f32();
            write!(f, "interrupted for {seconds:.1} s")
        }
    }
}
