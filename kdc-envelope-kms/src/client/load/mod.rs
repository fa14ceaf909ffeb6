//! How fast is a plugin?
//!
//! [`run`] keeps a number of calls in flight for a time or a count. [`cold_start`] does what an API server does after a
//! restart: it asks for every wrapped seed at once, several times each, because upstream does not merge equal
//! requests.
//!
//! The generator shares the machine with the plugin, so it is frugal: workers count for themselves and meet only
//! at the end. Run it on a current-thread runtime: on two cores that takes a third less processor time per call than a
//! multi-thread one, which competes with the plugin.

mod cold_start;
mod report;
mod worker;

use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use kdc_envelope::kmsv2::SEED_LEN;
use kdc_envelope::random;
use serde::Serialize;
use tokio::task::JoinSet;

use super::{CallError, EncryptAnswer, KmsClient};
use crate::server::SocketAddress;
pub use cold_start::{ColdStartOptions, ColdStartReport, cold_start};
pub use report::{Latency, LoadReport, Measured};
use worker::{Tally, Worker};

/// Time between two calls of a progress callback.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// Encrypt calls in flight while seeds are prepared.
const PREPARING: usize = 32;

/// What to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Rpc {
    /// Status only.
    Status,
    /// Encrypt only.
    Encrypt,
    /// Decrypt only, of the prepared seeds in turn.
    Decrypt,
    /// Status, Encrypt and Decrypt in turn.
    Mixed,
}

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// After a time; calls in flight are waited for.
    After(Duration),
    /// After so many calls.
    Calls(u64),
}

/// What load to make.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoadOptions {
    /// What to call.
    pub rpc: Rpc,
    /// When to stop.
    pub stop: Stop,
    /// Calls in flight; at least 1.
    pub concurrency: usize,
    /// Connections that share them; at least 1. kube-apiserver has one.
    pub connections: usize,
    /// Distinct wrapped seeds that Decrypt asks for; at least 1.
    pub seeds: usize,
    /// Time allowed for each call.
    pub timeout: Duration,
}

impl LoadOptions {
    /// One call in flight over one connection, for one seed.
    #[must_use]
    pub const fn new(rpc: Rpc, stop: Stop) -> Self {
        Self {
            rpc,
            stop,
            concurrency: 1,
            connections: 1,
            seeds: 1,
            timeout: KmsClient::DEFAULT_TIMEOUT,
        }
    }
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Time since its start.
    pub elapsed: Duration,
    /// Calls that have ended.
    pub calls: u64,
}

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The options ask for nothing.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
    /// The plugin did not do what has to be done before.
    #[error("the plugin cannot be measured: {0}")]
    Prepare(CallError),
    /// No random bytes for seeds.
    #[error(transparent)]
    Random(#[from] random::RandomError),
}

/// Makes the load at `socket`; `on_progress` is called about five times a second.
///
/// # Errors
/// [`LoadError`] if the load cannot begin. Calls that fail later are counted in the report.
pub async fn run(
    socket: &SocketAddress,
    options: &LoadOptions,
    on_progress: impl FnMut(Progress),
) -> Result<LoadReport, LoadError> {
    for (count, name) in [
        (options.concurrency, "concurrency"),
        (options.connections, "connections"),
        (options.seeds, "seeds"),
    ] {
        at_least_one(count, name)?;
    }
    let clients = connect(socket, options.connections, options.timeout).await?;
    let seeds = match options.rpc {
        Rpc::Decrypt | Rpc::Mixed => options.seeds,
        Rpc::Status | Rpc::Encrypt => 0,
    };
    let seeds = Arc::new(wrap_seeds(&clients, seeds).await?);
    let begin = Instant::now();
    let (until, calls) = match options.stop {
        Stop::After(duration) => (Some(begin + duration), u64::MAX),
        Stop::Calls(calls) => (None, calls),
    };
    let (tickets, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut workers = JoinSet::new();
    for client in clients.iter().cycle().take(options.concurrency) {
        let mut worker = Worker::new(client.clone(), Arc::clone(&seeds), Arc::clone(&done));
        let (rpc, tickets) = (options.rpc, Arc::clone(&tickets));
        workers.spawn(async move {
            while until.is_none_or(|until| Instant::now() < until) {
                let ticket = tickets.fetch_add(1, Ordering::Relaxed);
                if ticket >= calls {
                    break;
                }
                worker.call(rpc, ticket).await;
            }
            worker.into_tally()
        });
    }
    let tally = collect(workers, begin, &done, on_progress).await;
    Ok(LoadReport::new(options, tally, begin.elapsed()))
}

/// The distinct wrapped seeds that a cold start or a Decrypt load asks for, with what is in them.
#[derive(Debug)]
pub struct WrappedSeeds(Vec<Wrapped>);

#[derive(Debug)]
struct Wrapped {
    plaintext: [u8; SEED_LEN],
    answer: EncryptAnswer,
}

impl WrappedSeeds {
    /// Has `count` fresh seeds wrapped by the plugin at `socket`.
    ///
    /// # Errors
    /// [`LoadError`] if `count` is 0 or the plugin does not wrap them.
    pub async fn prepare(
        socket: &SocketAddress,
        count: usize,
        timeout: Duration,
    ) -> Result<Self, LoadError> {
        at_least_one(count, "seeds")?;
        wrap_seeds(&connect(socket, 1, timeout).await?, count).await
    }

    /// The number of seeds.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The seed number `index`, counted round and round.
    fn at(&self, index: u64) -> Option<&Wrapped> {
        let len = u64::try_from(self.0.len()).ok()?;
        let index = usize::try_from(index.checked_rem(len)?).ok()?;
        self.0.get(index)
    }
}

const fn at_least_one(count: usize, name: &'static str) -> Result<(), LoadError> {
    if count == 0 {
        return Err(LoadError::Zero(name));
    }
    Ok(())
}

/// Connections that have answered once, so that connecting is not measured.
async fn connect(
    socket: &SocketAddress,
    connections: usize,
    timeout: Duration,
) -> Result<Vec<KmsClient>, LoadError> {
    let mut clients = Vec::with_capacity(connections);
    for _ in 0..connections {
        let client = KmsClient::new(socket).with_timeout(timeout);
        client.status().await.map_err(LoadError::Prepare)?;
        clients.push(client);
    }
    Ok(clients)
}

async fn wrap_seeds(clients: &[KmsClient], count: usize) -> Result<WrappedSeeds, LoadError> {
    let mut wrapped = Vec::with_capacity(count);
    let mut wrapping = JoinSet::new();
    for client in clients.iter().cycle().take(count) {
        if wrapping.len() == PREPARING {
            wrapped.extend(next(&mut wrapping).await.transpose()?);
        }
        wrapping.spawn(wrap_one(client.clone()));
    }
    while let Some(one) = next(&mut wrapping).await {
        wrapped.push(one?);
    }
    Ok(WrappedSeeds(wrapped))
}

async fn wrap_one(client: KmsClient) -> Result<Wrapped, LoadError> {
    let mut plaintext = [0; SEED_LEN];
    random::fill(&mut plaintext)?;
    let answer = client.encrypt(&plaintext).await;
    let answer = answer.map_err(LoadError::Prepare)?;
    Ok(Wrapped { plaintext, answer })
}

/// Waits for all workers, adds up what they counted, and reports progress meanwhile.
async fn collect(
    mut workers: JoinSet<Tally>,
    begin: Instant,
    done: &AtomicU64,
    mut on_progress: impl FnMut(Progress),
) -> Tally {
    let mut total = Tally::new();
    let mut interval = tokio::time::interval(PROGRESS_INTERVAL);
    loop {
        tokio::select! {
            tally = next(&mut workers) => match tally {
                Some(tally) => total.add(&tally),
                None => return total,
            },
            _ = interval.tick() => on_progress(Progress {
                elapsed: begin.elapsed(),
                calls: done.load(Ordering::Relaxed),
            }),
        }
    }
}

/// The next result; a panic in a task goes on here.
async fn next<T: 'static>(tasks: &mut JoinSet<T>) -> Option<T> {
    match tasks.join_next().await? {
        Ok(result) => Some(result),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
