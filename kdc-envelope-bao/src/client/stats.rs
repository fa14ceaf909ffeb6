//! What was asked of OpenBao, counted for metrics.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::error::BaoErrorClass;

/// Kinds of requests, as metrics tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// `transit/encrypt`
    Encrypt,
    /// `transit/decrypt`
    Decrypt,
    /// `transit/rewrap`
    Rewrap,
    /// Reading the Transit key.
    ReadKey,
    /// Logging in.
    Login,
    /// Renewing or looking up the token.
    Token,
    /// Everything that administers.
    Admin,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Encrypt,
        Self::Decrypt,
        Self::Rewrap,
        Self::ReadKey,
        Self::Login,
        Self::Token,
        Self::Admin,
    ];

    /// A short stable word for labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
            Self::Rewrap => "rewrap",
            Self::ReadKey => "read_key",
            Self::Login => "login",
            Self::Token => "token",
            Self::Admin => "admin",
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It did what was asked.
    Ok,
    /// It did not.
    Failed(BaoErrorClass),
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Ok,
        Self::Failed(BaoErrorClass::Transient),
        Self::Failed(BaoErrorClass::Unauthenticated),
        Self::Failed(BaoErrorClass::Denied),
        Self::Failed(BaoErrorClass::Missing),
        Self::Failed(BaoErrorClass::Rejected),
    ];

    /// A short stable word for labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed(class) => class.as_str(),
        }
    }
}

const OPERATIONS: usize = Operation::ALL.len();
const OUTCOMES: usize = Outcome::ALL.len();

/// Counters of one client; they only grow.
#[derive(Debug, Default)]
pub struct Stats {
    requests: [[AtomicU64; OUTCOMES]; OPERATIONS],
    nanoseconds: [AtomicU64; OPERATIONS],
    batched_items: AtomicU64,
    tls_reloads: AtomicU64,
}

impl Stats {
    /// HTTP requests that were sent, every try for itself.
    #[must_use]
    pub fn requests(&self, operation: Operation, outcome: Outcome) -> u64 {
        self.counter(operation, outcome)
            .map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Time that requests of this kind took together, in nanoseconds.
    #[must_use]
    pub fn nanoseconds(&self, operation: Operation) -> u64 {
        let slot = self.nanoseconds.get(position(&Operation::ALL, &operation));
        slot.map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Keys that were wrapped, unwrapped or rewrapped within requests; divided by the requests it is the size of a batch.
    #[must_use]
    pub fn batched_items(&self) -> u64 {
        self.batched_items.load(Ordering::Relaxed)
    }

    /// How often a changed certificate file was taken.
    #[must_use]
    pub fn tls_reloads(&self) -> u64 {
        self.tls_reloads.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self, operation: Operation, outcome: Outcome, took: core::time::Duration) {
        if let Some(counter) = self.counter(operation, outcome) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(sum) = self.nanoseconds.get(position(&Operation::ALL, &operation)) {
            let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            sum.fetch_add(took, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_items(&self, items: usize) {
        self.batched_items
            .fetch_add(items as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_tls_reload(&self) {
        self.tls_reloads.fetch_add(1, Ordering::Relaxed);
    }

    fn counter(&self, operation: Operation, outcome: Outcome) -> Option<&AtomicU64> {
        self.requests
            .get(position(&Operation::ALL, &operation))?
            .get(position(&Outcome::ALL, &outcome))
    }
}

fn position<T: PartialEq>(all: &[T], one: &T) -> usize {
    all.iter()
        .position(|other| other == one)
        .unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_has_a_counter_of_its_own() {
        let stats = Stats::default();
        for operation in Operation::ALL {
            for outcome in Outcome::ALL {
                stats.count(operation, outcome, core::time::Duration::from_nanos(1));
            }
        }
        for operation in Operation::ALL {
            assert_eq!(stats.nanoseconds(operation), OUTCOMES as u64);
            for outcome in Outcome::ALL {
                assert_eq!(
                    stats.requests(operation, outcome),
                    1,
                    "{operation:?} {outcome:?}"
                );
            }
        }
    }
}
