//! One call after the other, and what came of them.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use hdrhistogram::Histogram;

use super::{Rpc, WrappedSeeds};
use crate::client::{CallError, KmsClient};

/// Latencies are kept from here to [`LONGEST_NANOS`], to 0.1 % or half a microsecond, whichever is more.
const SHORTEST_NANOS: u64 = 1_000;
const LONGEST_NANOS: u64 = 100_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// What the report calls an answer to Decrypt that is not the seed.
const WRONG_PLAINTEXT: &str = "WrongPlaintext";

pub(super) struct Worker {
    client: KmsClient,
    seeds: Arc<WrappedSeeds>,
    done: Arc<AtomicU64>,
    tally: Tally,
}

/// Latencies of good answers, and the others by gRPC code.
pub(super) struct Tally {
    pub(super) latencies: Histogram<u64>,
    pub(super) errors: BTreeMap<String, u64>,
}

impl Worker {
    pub(super) fn new(client: KmsClient, seeds: Arc<WrappedSeeds>, done: Arc<AtomicU64>) -> Self {
        Self {
            client,
            seeds,
            done,
            tally: Tally::new(),
        }
    }

    /// Makes the call number `ticket` of the run.
    pub(super) async fn call(&mut self, rpc: Rpc, ticket: u64) {
        match rpc {
            Rpc::Status => self.status().await,
            Rpc::Encrypt => self.encrypt(ticket).await,
            Rpc::Decrypt => self.decrypt(ticket).await,
            Rpc::Mixed => match ticket % 3 {
                0 => self.status().await,
                1 => self.encrypt(ticket).await,
                _ => self.decrypt(ticket / 3).await,
            },
        }
    }

    pub(super) fn into_tally(self) -> Tally {
        self.tally
    }

    async fn status(&mut self) {
        let begin = Instant::now();
        let answer = self.client.status().await;
        self.count(begin, answer.map(drop).map_err(|error| code_name(&error)));
    }

    async fn encrypt(&mut self, ticket: u64) {
        // What is in the seed makes no difference to the plugin.
        let mut plaintext = [0x5a; 32];
        plaintext
            .iter_mut()
            .zip(ticket.to_le_bytes())
            .for_each(|(byte, number)| *byte = number);
        let begin = Instant::now();
        let answer = self.client.encrypt(&plaintext).await;
        self.count(begin, answer.map(drop).map_err(|error| code_name(&error)));
    }

    pub(super) async fn decrypt(&mut self, seed: u64) {
        let seeds = Arc::clone(&self.seeds);
        let Some(wrapped) = seeds.at(seed) else {
            return;
        };
        let begin = Instant::now();
        let outcome = match self.client.decrypt(&wrapped.answer).await {
            Ok(unwrapped) if unwrapped.expose() == wrapped.plaintext => Ok(()),
            Ok(_) => Err(WRONG_PLAINTEXT.to_owned()),
            Err(error) => Err(code_name(&error)),
        };
        self.count(begin, outcome);
    }

    fn count(&mut self, begin: Instant, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.tally.record(begin.elapsed()),
            Err(code) => *self.tally.errors.entry(code).or_default() += 1,
        }
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

impl Tally {
    pub(super) fn new() -> Self {
        let latencies =
            Histogram::new_with_bounds(SHORTEST_NANOS, LONGEST_NANOS, SIGNIFICANT_DIGITS);
        Self {
            latencies: latencies.expect("the bounds are constants that it takes"),
            errors: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        let added = self.latencies.add(&other.latencies);
        debug_assert!(added.is_ok(), "equal bounds");
        for (code, count) in &other.errors {
            *self.errors.entry(code.clone()).or_default() += count;
        }
    }

    fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(LONGEST_NANOS);
        self.latencies.saturating_record(nanos);
    }
}

fn code_name(error: &CallError) -> String {
    format!("{:?}", error.code())
}
