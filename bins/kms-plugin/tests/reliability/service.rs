//! Two API servers with a plugin each, behind a Service that follows their readiness, and clients of that Service.
//!
//! kubelet and kube-proxy are played as Kamaji has them: each API server is asked for `/readyz`, leaves the Service after three failures,
//! and is back after one success.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kdc_testbed::bao::{AppRole, Bao};
use kdc_testbed::fixtures::{Plugin, PluginOptions, SOON, put_credential};
use kdc_testbed::proxy::Proxy;
use kdc_testbed::{ApiServer, Client, Etcd, Resource, encryption_config};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::fixture::set_up;

/// As kubelet by default.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
const PROBE_FAILURES: u32 = 3;
const CLIENTS: usize = 2;
const PAUSE: Duration = Duration::from_millis(200);
/// A client gives up then.
const PATIENCE: Duration = Duration::from_secs(10);

/// Everything that a test needs. Tasks end before servers do.
pub(crate) struct Service {
    tasks: Vec<JoinHandle<()>>,
    endpoints: Arc<Endpoints>,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) etcd: Etcd,
    pub(crate) bao: Bao,
}

/// An API server, its plugin, and the plugin's way to OpenBao.
pub(crate) struct Replica {
    pub(crate) server: ApiServer,
    pub(crate) proxy: Proxy,
    pub(crate) plugin: Plugin,
    _folder: TempDir,
}

/// How the calls of one kind went.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) ok: u32,
    pub(crate) failed: u32,
    pub(crate) first_failure: Option<Duration>,
    last_ok: Option<Instant>,
}

/// What clients have seen since [`Service::watch`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) reads: Tally,
    pub(crate) writes: Tally,
    /// When no API server was left.
    pub(crate) emptied: Option<Duration>,
    pub(crate) complaint: Option<String>,
    since: Option<Instant>,
}

struct Endpoints {
    clients: Vec<Client>,
    ready: Vec<AtomicBool>,
    turn: AtomicUsize,
    seen: Mutex<Seen>,
}

impl Service {
    /// Starts it with `flags` for the plugins, and probes every `period`.
    pub(crate) async fn start(flags: &[&str], period: Duration) -> Self {
        let bao = Bao::start().await.unwrap();
        let role = set_up(bao.root()).await;
        let etcd = Etcd::start().await.unwrap();
        let mut replicas = Vec::new();
        for _ in 0..2 {
            replicas.push(Replica::start(&bao, &role, &etcd, flags).await);
        }
        let endpoints = Arc::new(Endpoints {
            clients: replicas
                .iter()
                .map(|replica| replica.server.client().clone())
                .collect(),
            ready: replicas.iter().map(|_| AtomicBool::new(true)).collect(),
            turn: AtomicUsize::new(0),
            seen: Mutex::default(),
        });
        for name in std::iter::once("demo".to_owned()).chain((0..CLIENTS).map(own)) {
            let secret = json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": name, "annotations": {"count": "0"}},
                "data": {"value": "aHVudGVyMg=="},
            });
            let client = replicas[0].server.client();
            client
                .create(Resource::SECRETS, "default", &secret)
                .await
                .unwrap();
        }
        let probes = (0..replicas.len())
            .map(|index| tokio::spawn(probe(Arc::clone(&endpoints), index, period)));
        let clients = (0..CLIENTS).flat_map(|number| {
            [
                tokio::spawn(read(Arc::clone(&endpoints))),
                tokio::spawn(write(Arc::clone(&endpoints), own(number))),
            ]
        });
        let service = Self {
            tasks: probes.chain(clients).collect(),
            endpoints,
            replicas,
            etcd,
            bao,
        };
        service.watch();
        service.well_since(Instant::now()).await;
        service
    }

    /// Counts from now on.
    pub(crate) fn watch(&self) {
        *self.endpoints.seen.lock().unwrap() = Seen {
            since: Some(Instant::now()),
            ..Seen::default()
        };
    }

    /// What was counted.
    pub(crate) fn seen(&self) -> Seen {
        self.endpoints.seen.lock().unwrap().clone()
    }

    pub(crate) fn is_ready(&self, replica: usize) -> bool {
        self.endpoints.ready[replica].load(Ordering::SeqCst)
    }

    /// Waits until calls that began after `moment` went well and every API server is in the Service, and gives how long each took.
    pub(crate) async fn well_since(&self, moment: Instant) -> (Duration, Duration) {
        let is_since = |tally: &Tally| tally.last_ok.is_some_and(|at| at > moment);
        let mut calls = None;
        loop {
            let seen = self.seen();
            if calls.is_none() && is_since(&seen.reads) && is_since(&seen.writes) {
                calls = Some(moment.elapsed());
            }
            if let Some(calls) = calls
                && (0..self.replicas.len()).all(|index| self.is_ready(index))
            {
                return (calls, moment.elapsed());
            }
            assert!(moment.elapsed() < SOON, "not well again: {seen:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Replica {
    async fn start(bao: &Bao, role: &AppRole, etcd: &Etcd, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let proxy = Proxy::start(bao.address()).await.unwrap();
        let secret_id = folder.path().join("secret-id");
        put_credential(&secret_id, &role.secret_id);
        let address = proxy.address();
        let plugin = PluginOptions::new(folder.path(), "kms")
            .arguments(["--bao-address", &address, "--bao-insecure-http"])
            .arguments(["--bao-key", "etcd", "--bao-auth", "approle"])
            .arguments(["--bao-role-id", &role.role_id])
            .arguments(["--bao-secret-id-file", secret_id.to_str().unwrap()])
            .arguments(flags.iter().copied())
            .start()
            .await;
        plugin.healthy().await;
        let config = folder.path().join("encryption.yaml");
        let text = encryption_config::kms_v2(&["secrets"], "kube-dc-kms-plugin", &plugin.socket);
        std::fs::write(&config, text).unwrap();
        let options = ApiServer::options().encryption_config(config);
        Self {
            server: options.start(etcd).await.unwrap(),
            proxy,
            plugin,
            _folder: folder,
        }
    }

    /// Whether the API server finds its plugin well.
    pub(crate) async fn finds_plugin_well(&self) -> bool {
        let answer = self.server.client().raw("/readyz/kms-providers").await;
        answer.unwrap().status == 200
    }
}

fn own(number: usize) -> String {
    format!("writer-{number}")
}

impl Endpoints {
    /// One of the API servers in the Service, in turn.
    fn pick(&self) -> Option<&Client> {
        let turn = self.turn.fetch_add(1, Ordering::SeqCst);
        let count = self.clients.len();
        (0..count)
            .map(|step| (turn + step) % count)
            .find(|index| self.ready[*index].load(Ordering::SeqCst))
            .map(|index| &self.clients[index])
    }

    /// Makes a call to one of them and counts it.
    async fn call<T>(
        &self,
        tally: fn(&mut Seen) -> &mut Tally,
        call: impl AsyncFnOnce(&Client) -> Result<T, String>,
    ) -> Option<T> {
        let begun = Instant::now();
        let result = match self.pick() {
            None => Err("no API server is in the Service".to_owned()),
            Some(client) => match tokio::time::timeout(PATIENCE, call(client)).await {
                Ok(result) => result,
                Err(_) => Err(format!("no answer within {PATIENCE:?}")),
            },
        };
        let mut seen = self.seen.lock().unwrap();
        let since = seen.since.filter(|since| *since <= begun)?;
        let counted = tally(&mut seen);
        match result {
            Ok(value) => {
                counted.ok += 1;
                counted.last_ok = Some(begun);
                Some(value)
            }
            Err(complaint) => {
                counted.failed += 1;
                counted.first_failure.get_or_insert(begun - since);
                seen.complaint.get_or_insert(complaint);
                None
            }
        }
    }
}

/// Asks one API server whether it is ready, as kubelet does.
async fn probe(endpoints: Arc<Endpoints>, index: usize, period: Duration) {
    let mut failures = 0;
    loop {
        tokio::time::sleep(period).await;
        let asked = endpoints.clients[index].raw("/readyz");
        let answer = tokio::time::timeout(PROBE_TIMEOUT, asked).await;
        let is_ready = matches!(answer, Ok(Ok(answer)) if answer.status == 200);
        failures = if is_ready { 0 } else { failures + 1 };
        if is_ready || failures >= PROBE_FAILURES {
            endpoints.ready[index].store(is_ready, Ordering::SeqCst);
        }
        let is_empty = !endpoints
            .ready
            .iter()
            .any(|ready| ready.load(Ordering::SeqCst));
        let mut seen = endpoints.seen.lock().unwrap();
        if let (true, Some(since)) = (is_empty, seen.since) {
            seen.emptied.get_or_insert_with(|| since.elapsed());
        }
    }
}

async fn read(endpoints: Arc<Endpoints>) {
    loop {
        endpoints
            .call(
                |seen| &mut seen.reads,
                async |client| {
                    let secret = client.read(Resource::SECRETS, "default", "demo").await;
                    let secret = secret.map_err(|error| error.to_string())?;
                    assert_eq!(secret["data"]["value"], "aHVudGVyMg==");
                    Ok(())
                },
            )
            .await;
        endpoints
            .call(
                |seen| &mut seen.reads,
                async |client| {
                    let list = client.list(Resource::SECRETS, "default").await;
                    list.map(drop).map_err(|error| error.to_string())
                },
            )
            .await;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Changes a Secret that no other client writes.
async fn write(endpoints: Arc<Endpoints>, name: String) {
    let mut count = 0_u64;
    loop {
        let read = endpoints
            .call(
                |seen| &mut seen.reads,
                async |client| {
                    let secret = client.read(Resource::SECRETS, "default", &name).await;
                    secret.map_err(|error| error.to_string())
                },
            )
            .await;
        if let Some(mut secret) = read {
            count += 1;
            secret["metadata"]["annotations"]["count"] = count.to_string().into();
            endpoints
                .call(
                    |seen| &mut seen.writes,
                    async |client| {
                        let written = client.replace(Resource::SECRETS, "default", &secret).await;
                        written.map(drop).map_err(|error| error.to_string())
                    },
                )
                .await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
