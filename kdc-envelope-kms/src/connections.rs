//! Bounds what clients can make the program hold, and never locks a newcomer out.
//!
//! There is a limit on open connections, on calls that run, and on bytes of their messages. Whatever would go beyond one of them
//! is let in, and who takes most has to make room: of the party that has most, the connection that has most. So a client that
//! holds everything it can get loses its own connections, and others notice nothing.

mod served;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use prometheus_client::metrics::counter::Counter;
use rustix::process::Resource;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

pub(crate) use served::Served;

use crate::throttle::Throttle;

/// For listeners, the runtime, logs, key files and OpenBao.
const OWN_DESCRIPTORS: u64 = 64;

/// Also where there are hardly any file descriptors: one that is in use, and a newcomer.
const FEWEST_CONNECTIONS: usize = 2;

/// Calls that a connection always gets, however many there are: connections that had to make room still hold theirs until they end.
const CALLS_OF_ONE: usize = 8;

/// Who is behind a connection: those of one party share their fate, as far as that is fair.
pub(crate) trait Party: Clone + Eq + Hash + Display + Send + 'static {}

impl<P: Clone + Eq + Hash + Display + Send + 'static> Party for P {}

/// How much there may be at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) connections: usize,
    /// Calls whose answer was not yet taken by the client.
    pub(crate) calls: usize,
    /// Bytes of messages in them.
    pub(crate) bytes: usize,
}

impl Bounds {
    /// The same with so few connections that at most one of `share` file descriptors is theirs, of those that the program does not
    /// need itself: keys and credentials must be readable however many clients there are.
    pub(crate) fn within_descriptors(self, share: u64) -> Self {
        let limit = rustix::process::getrlimit(Resource::Nofile).current;
        let connections = limit.map_or(self.connections, |limit| {
            let free = limit.saturating_sub(OWN_DESCRIPTORS);
            let most = usize::try_from(free / share).unwrap_or(usize::MAX);
            self.connections.min(most.max(FEWEST_CONNECTIONS))
        });
        Self {
            connections,
            ..self
        }
    }
}

/// All connections of one kind; clones share them.
#[derive(Debug)]
pub(crate) struct Connections<P>(Arc<Inner<P>>);

#[derive(Debug)]
struct Inner<P> {
    bounds: Bounds,
    table: Mutex<Table<P>>,
    evicted: Counter,
    warnings: Throttle,
}

impl<P> Clone for Connections<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P: Party> Connections<P> {
    /// None yet. `evicted` counts those that had to make room.
    pub(crate) fn new(bounds: Bounds, evicted: Counter) -> Self {
        Self(Arc::new(Inner {
            bounds,
            table: Mutex::new(Table::new()),
            evicted,
            warnings: Throttle::default(),
        }))
    }

    /// Takes a connection in; another makes room if that is one too many.
    pub(crate) fn admit(&self, party: P) -> Seat<P> {
        let mut table = self.0.table();
        if table.open.len() >= self.0.bounds.connections {
            let victim = table.heaviest(Some(&party), |_| 1);
            self.0.evict(&mut table, victim, "connections");
        }
        let gone = CancellationToken::new();
        let number = table.insert(party, gone.clone());
        drop(table);
        Seat {
            inner: Arc::clone(&self.0),
            number,
            gone,
        }
    }
}

impl<P: Party> Inner<P> {
    fn table(&self) -> MutexGuard<'_, Table<P>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn evict(&self, table: &mut Table<P>, victim: Option<u64>, limit: &'static str) {
        let Some(victim) = victim.and_then(|number| table.remove(number)) else {
            return;
        };
        victim.gone.cancel();
        self.evicted.inc();
        if let Some(more_before) = self.warnings.pass() {
            tracing::warn!(
                limit,
                of = %victim.party,
                more_before,
                "too many connections or calls; one connection was closed to make room"
            );
        }
    }

    /// Whether the connection gets another call. One that has to make room gets none, and only few do while those that had to, and have
    /// not ended yet, hold as many calls as there may be.
    fn begin_call(&self, number: u64) -> bool {
        let mut table = self.table();
        let is_crowded = table.unfinished >= 2 * self.bounds.calls;
        let has_room = table
            .open
            .get(&number)
            .is_some_and(|open| !is_crowded || open.calls < CALLS_OF_ONE);
        if !has_room {
            return false;
        }
        table.begin_call(number);
        if table.calls > self.bounds.calls {
            let victim = table.heaviest(None, |open| open.calls);
            self.evict(&mut table, victim, "calls");
        }
        true
    }

    fn take_bytes(&self, number: u64, bytes: usize) {
        let mut table = self.table();
        table.take_bytes(number, bytes);
        if table.bytes > self.bounds.bytes {
            let victim = table.heaviest(None, |open| open.bytes);
            self.evict(&mut table, victim, "bytes of messages");
        }
    }
}

/// The place of one connection; dropped, it is free.
#[derive(Debug)]
pub(crate) struct Seat<P: Party> {
    inner: Arc<Inner<P>>,
    number: u64,
    gone: CancellationToken,
}

impl<P: Party> Seat<P> {
    /// Waits until the connection has to make room for others.
    pub(crate) fn evicted(&self) -> WaitForCancellationFuture<'_> {
        self.gone.cancelled()
    }

    /// Whether a call was ever begun.
    pub(crate) fn was_used(&self) -> bool {
        let table = self.inner.table();
        let open = table.open.get(&self.number);
        open.is_some_and(|open| open.calls > 0 || open.used.is_some())
    }

    /// `None` if it must be refused.
    fn begin_call(self: &Arc<Self>) -> Option<Call<P>> {
        self.inner.begin_call(self.number).then(|| Call {
            seat: Arc::clone(self),
            bytes: AtomicUsize::new(0),
        })
    }
}

impl<P: Party> Drop for Seat<P> {
    fn drop(&mut self) {
        self.inner.table().remove(self.number);
    }
}

/// A call from its head until its answer was taken.
#[derive(Debug)]
struct Call<P: Party> {
    seat: Arc<Seat<P>>,
    bytes: AtomicUsize,
}

impl<P: Party> Call<P> {
    fn take_bytes(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.seat.inner.take_bytes(self.seat.number, bytes);
    }

    fn answered(&self) {
        let mut table = self.seat.inner.table();
        if let Some(open) = table.open.get_mut(&self.seat.number) {
            open.used = Some(Instant::now());
        }
    }
}

impl<P: Party> Drop for Call<P> {
    fn drop(&mut self) {
        let mut table = self.seat.inner.table();
        table.end_call(self.seat.number, self.bytes.load(Ordering::Relaxed));
    }
}

/// The open connections by number, which is their order of arrival, and what they have in sum.
#[derive(Debug)]
struct Table<P> {
    open: BTreeMap<u64, Open<P>>,
    next: u64,
    calls: usize,
    bytes: usize,
    /// Calls that have not ended, those of connections included that had to go.
    unfinished: usize,
}

#[derive(Debug)]
struct Open<P> {
    party: P,
    gone: CancellationToken,
    calls: usize,
    bytes: usize,
    /// When a call was answered last.
    used: Option<Instant>,
}

impl<P: Party> Table<P> {
    const fn new() -> Self {
        Self {
            open: BTreeMap::new(),
            next: 0,
            calls: 0,
            bytes: 0,
            unfinished: 0,
        }
    }

    fn insert(&mut self, party: P, gone: CancellationToken) -> u64 {
        let number = self.next;
        self.next += 1;
        let open = Open {
            party,
            gone,
            calls: 0,
            bytes: 0,
            used: None,
        };
        self.open.insert(number, open);
        number
    }

    fn remove(&mut self, number: u64) -> Option<Open<P>> {
        let open = self.open.remove(&number)?;
        self.calls -= open.calls;
        self.bytes -= open.bytes;
        Some(open)
    }

    /// A connection that had to go has nothing any more, so what it does in its last moments is not counted.
    fn begin_call(&mut self, number: u64) {
        if let Some(open) = self.open.get_mut(&number) {
            open.calls += 1;
            self.calls += 1;
            self.unfinished += 1;
        }
    }

    fn take_bytes(&mut self, number: u64, bytes: usize) {
        if let Some(open) = self.open.get_mut(&number) {
            open.bytes += bytes;
            self.bytes += bytes;
        }
    }

    fn end_call(&mut self, number: u64, bytes: usize) {
        self.unfinished -= 1;
        if let Some(open) = self.open.get_mut(&number) {
            open.calls -= 1;
            open.bytes -= bytes;
            self.calls -= 1;
            self.bytes -= bytes;
        }
    }

    /// Of the party that weighs most the connection that weighs most; of equal ones one that never had an answer before one that
    /// had, and then the one whose last answer, or whose arrival, is longest ago. A newcomer weighs for its party.
    fn heaviest(&self, newcomer: Option<&P>, weight: impl Fn(&Open<P>) -> usize) -> Option<u64> {
        let mut parties: HashMap<&P, usize> = HashMap::new();
        for open in self.open.values() {
            *parties.entry(&open.party).or_default() += weight(open);
        }
        if let Some(newcomer) = newcomer {
            *parties.entry(newcomer).or_default() += 1;
        }
        let burden = |(number, open): &(&u64, &Open<P>)| {
            let of_party = parties.get(&open.party).copied();
            let order = (Reverse(open.used), Reverse(**number));
            (of_party, weight(open), open.used.is_none(), order)
        };
        let heaviest = self.open.iter().max_by_key(burden);
        heaviest.map(|(number, _)| *number)
    }
}

#[cfg(test)]
mod tests;
