//! The burst after a restart of an API server.

use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::Serialize;
use tokio::task::JoinSet;

use super::report::Measured;
use super::worker::Worker;
use super::{LoadError, Progress, WrappedSeeds, at_least_one, collect, connect};
use crate::client::KmsClient;
use crate::server::SocketAddress;

/// What burst to make.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ColdStartOptions {
    /// How often each seed is asked for, one right after the other; at least 1.
    pub duplicates: usize,
    /// Calls in flight; at least 1.
    pub concurrency: usize,
    /// Connections that share them; at least 1.
    pub connections: usize,
    /// Time allowed for each call.
    pub timeout: Duration,
}

impl Default for ColdStartOptions {
    /// Each seed four times, 32 calls in flight over one connection.
    fn default() -> Self {
        Self {
            duplicates: 4,
            concurrency: 32,
            connections: 1,
            timeout: KmsClient::DEFAULT_TIMEOUT,
        }
    }
}

/// The result of [`cold_start`].
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ColdStartReport {
    /// Distinct wrapped seeds.
    pub seeds: usize,
    /// How often each was asked for.
    pub duplicates: usize,
    /// Calls in flight.
    pub concurrency: usize,
    /// Connections that shared them.
    pub connections: usize,
    /// The figures.
    #[serde(flatten)]
    pub measured: Measured,
}

/// Asks the plugin at `socket` for every seed, each `duplicates` times at once, as fast as it answers.
///
/// Prepare the seeds before, and restart the plugin in between to see it without anything it may have kept.
///
/// # Errors
/// [`LoadError`] if the burst cannot begin. Calls that fail later are counted in the report.
pub async fn cold_start(
    socket: &SocketAddress,
    seeds: WrappedSeeds,
    options: &ColdStartOptions,
    on_progress: impl FnMut(Progress),
) -> Result<ColdStartReport, LoadError> {
    at_least_one(options.duplicates, "duplicates")?;
    at_least_one(options.concurrency, "concurrency")?;
    at_least_one(options.connections, "connections")?;
    let clients = connect(socket, options.connections, options.timeout).await?;
    let count = seeds.len();
    let duplicates = u64::try_from(options.duplicates).unwrap_or(u64::MAX);
    let calls = u64::try_from(count)
        .unwrap_or(u64::MAX)
        .saturating_mul(duplicates);
    let seeds = Arc::new(seeds);
    let (tickets, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let begin = Instant::now();
    let mut workers = JoinSet::new();
    for client in clients.iter().cycle().take(options.concurrency) {
        let mut worker = Worker::new(client.clone(), Arc::clone(&seeds), Arc::clone(&done));
        let tickets = Arc::clone(&tickets);
        workers.spawn(async move {
            loop {
                let ticket = tickets.fetch_add(1, Ordering::Relaxed);
                if ticket >= calls {
                    break worker.into_tally();
                }
                worker.decrypt(ticket / duplicates).await;
            }
        });
    }
    let tally = collect(workers, begin, &done, on_progress).await;
    Ok(ColdStartReport {
        seeds: count,
        duplicates: options.duplicates,
        concurrency: options.concurrency,
        connections: options.connections,
        measured: Measured::new(tally, begin.elapsed()),
    })
}
