//! A bounded cache of unwrapped keys in front of any backend.
//!
//! It saves backend calls, and lets reading go on while the backend is away. Concurrent calls for one wrapped key share a
//! single backend call, also when that fails; but a caller with a later [`deadline`] than the one that asked does not
//! fail with it, and asks again.
//!
//! A time to live alone carries no caller through an outage: a key that was asked for just before the outage lasts as
//! long as the time to live, but one that is nearly that old is gone at once. So a key is kept longer than it is trusted.
//! Within its time to live it is given as it is. After that the backend is asked again, and only if it is *unavailable* is
//! the old secret given, until the [grace](Limits::grace) is over too. With a grace as long as the time to live, which is
//! the default, an outage shorter than that goes unnoticed whatever the age of a trusted key was when it began.
//!
//! Any other error is the backend's answer and passes through: what is denied, retired or unknown is wiped at once and not
//! given again, also not when the backend goes away afterwards. The price that remains: a key that the backend retires or
//! denies stays usable here until its time to live is over, and during an outage until the grace is.
//!
//! The status is the backend's own. One that lets its status outlast an outage ([`KekStatus::degraded`]) should do so for no longer than the
//! time to live: beyond twice that time nothing is given any more, so a good status would promise too much.
//!
//! The cache has no timer. A backend that does not answer must say so with [`KekErrorKind::Unavailable`] before its callers
//! lose patience; a caller that is dropped while it waits gets nothing.

use core::num::NonZeroUsize;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_lock::OnceCell;
use lru::LruCache;
use sha2::{Digest, Sha256};

use crate::clock::Clock;
use crate::{
    Aad, KekError, KekErrorKind, KekStatus, KeyEncryptionKey, SecretBytes, WrappedKey, deadline,
};

/// How many unwrapped keys are kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// At most so many; the least recently used goes first.
    pub entries: NonZeroUsize,
    /// Each is given without asking for so long after it was asked for. Zero switches the cache off: nothing is kept, whatever
    /// the grace, and only calls at the same time share one backend call.
    pub time_to_live: Duration,
    /// Each is given for so much longer if the backend is unavailable. Zero: never.
    pub grace: Duration,
}

impl Limits {
    /// `entries` keys for `time_to_live` each, and as long again while the backend is unavailable.
    #[must_use]
    pub const fn new(entries: NonZeroUsize, time_to_live: Duration) -> Self {
        Self {
            entries,
            time_to_live,
            grace: time_to_live,
        }
    }

    /// Sets another grace.
    #[must_use]
    pub const fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    fn is_fresh(&self, age: Duration) -> bool {
        age < self.time_to_live
    }

    /// Whether a key of this age may still be needed.
    fn is_kept(&self, age: Duration) -> bool {
        !self.time_to_live.is_zero() && age < self.time_to_live.saturating_add(self.grace)
    }
}

impl Default for Limits {
    /// 4,096 keys for five minutes, and five more while the backend is unavailable.
    fn default() -> Self {
        Self::new(
            NonZeroUsize::MIN.saturating_add(4095),
            Duration::from_secs(300),
        )
    }
}

/// What a cache did since it was made. Every call that was not given up is a hit, a miss or shared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Calls answered without the backend.
    pub hits: u64,
    /// Calls made to the backend.
    pub misses: u64,
    /// Calls that waited for the backend call of another.
    pub shared: u64,
    /// Of the misses and the shared: calls answered out of the grace, because the backend was unavailable.
    pub stale: u64,
    /// Secrets that left to make room for others.
    pub evicted: u64,
    /// Secrets that are kept now.
    pub entries: usize,
}

type Fingerprint = [u8; 32];
type Outcome = Result<Answer, Failure>;

/// A [`KeyEncryptionKey`] that remembers what another one unwrapped. Secrets are wiped when they leave.
#[derive(Debug)]
pub struct CachedKek {
    inner: Arc<dyn KeyEncryptionKey>,
    limits: Limits,
    clock: Clock,
    state: Mutex<State>,
    counters: Counters,
}

#[derive(Debug)]
struct State {
    kept: LruCache<Fingerprint, Kept>,
    /// The backend calls that run now.
    flights: HashMap<Fingerprint, Flight>,
}

/// A secret, and when the backend was asked for it.
#[derive(Debug)]
struct Kept {
    asked: Duration,
    secret: Arc<SecretBytes>,
}

/// A backend call that runs, and how many wait for it. The last who leaves takes it away.
#[derive(Debug)]
struct Flight {
    outcome: Arc<OnceCell<Outcome>>,
    callers: usize,
}

/// What every caller gets who waited for one backend call.
#[derive(Debug)]
struct Answer {
    secret: Arc<SecretBytes>,
    stale: bool,
}

/// Why no caller gets a secret who waited for one backend call.
#[derive(Debug)]
struct Failure {
    error: Arc<KekError>,
    /// The deadline of the caller that asked, if nothing but that ended the call.
    deadline: Option<Instant>,
}

impl Failure {
    /// Must be made where the call was.
    fn new(error: KekError) -> Self {
        Self {
            deadline: deadline::current().filter(|_| error.is_deadline()),
            error: Arc::new(error),
        }
    }

    /// Whether the caller that asks here has more time than the one whose deadline ended the call.
    fn ended_too_early(&self) -> bool {
        let own = deadline::current();
        self.deadline
            .is_some_and(|ended| own.is_none_or(|own| own > ended))
    }
}

#[derive(Debug, Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    shared: AtomicU64,
    stale: AtomicU64,
    evicted: AtomicU64,
}

/// Where a caller gets its secret.
enum Source<'a> {
    Kept(Arc<SecretBytes>),
    Flight(Seat<'a>),
}

impl CachedKek {
    /// A cache in front of `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn KeyEncryptionKey>, limits: Limits, clock: impl Into<Clock>) -> Self {
        Self {
            inner,
            limits,
            clock: clock.into(),
            state: Mutex::new(State {
                kept: LruCache::new(limits.entries),
                flights: HashMap::new(),
            }),
            counters: Counters::default(),
        }
    }

    /// Wipes what is older than time to live and grace together. Such keys are never used again even without this; call it now
    /// and then so that they do not wait in memory for their eviction.
    pub fn expire(&self) {
        let now = self.clock.now();
        let limits = self.limits;
        self.state()
            .kept
            .retain(|_, kept| limits.is_kept(kept.age(now)));
    }

    /// How many keys the cache holds now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state().kept.len()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the cache did so far, and how full it is.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let counters = &self.counters;
        Stats {
            hits: counters.hits.load(Relaxed),
            misses: counters.misses.load(Relaxed),
            shared: counters.shared.load(Relaxed),
            stale: counters.stale.load(Relaxed),
            evicted: counters.evicted.load(Relaxed),
            entries: self.len(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The secret if it is fresh, else a seat in the flight that fetches it.
    fn source(&self, fingerprint: Fingerprint) -> Source<'_> {
        let now = self.clock.now();
        let mut state = self.state();
        if let Some(kept) = state.kept.get(&fingerprint) {
            let age = kept.age(now);
            if self.limits.is_fresh(age) {
                return Source::Kept(Arc::clone(&kept.secret));
            }
            if !self.limits.is_kept(age) {
                state.kept.pop(&fingerprint);
            }
        }
        let flight = state.flights.entry(fingerprint).or_insert_with(|| Flight {
            outcome: Arc::default(),
            callers: 0,
        });
        flight.callers += 1;
        Source::Flight(Seat {
            cache: self,
            fingerprint,
            outcome: Arc::clone(&flight.outcome),
        })
    }

    /// Asks the backend and settles what is kept. If this is dropped half-way, nothing has changed.
    async fn ask(&self, fingerprint: Fingerprint, wrapped: &WrappedKey, aad: Aad<'_>) -> Outcome {
        self.counters.misses.fetch_add(1, Relaxed);
        let asked = self.clock.now();
        let result = self.inner.unwrap(wrapped, aad).await;
        let mut state = self.state();
        // Who comes from now on was not there during the call, and does not share it.
        state.flights.remove(&fingerprint);
        match result {
            Ok(secret) => {
                let secret = Arc::new(secret);
                self.keep(&mut state.kept, fingerprint, asked, &secret);
                let stale = false;
                Ok(Answer { secret, stale })
            }
            Err(error) if error.kind() == KekErrorKind::Unavailable => {
                self.old(&state.kept, &fingerprint).ok_or(error)
            }
            Err(error) => {
                state.kept.pop(&fingerprint);
                Err(error)
            }
        }
        .map_err(Failure::new)
    }

    fn keep(
        &self,
        kept: &mut LruCache<Fingerprint, Kept>,
        fingerprint: Fingerprint,
        asked: Duration,
        secret: &Arc<SecretBytes>,
    ) {
        if !self.limits.is_kept(Duration::ZERO) {
            return;
        }
        let secret = Arc::clone(secret);
        let left = kept.push(fingerprint, Kept { asked, secret });
        if left.is_some_and(|(other, _)| other != fingerprint) {
            self.counters.evicted.fetch_add(1, Relaxed);
        }
    }

    /// What can be given although the backend is unavailable.
    fn old(&self, kept: &LruCache<Fingerprint, Kept>, fingerprint: &Fingerprint) -> Option<Answer> {
        let kept = kept.peek(fingerprint)?;
        let age = kept.age(self.clock.now());
        self.limits.is_kept(age).then(|| Answer {
            secret: Arc::clone(&kept.secret),
            stale: true,
        })
    }
}

impl Kept {
    const fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.asked)
    }
}

/// A caller's place in a flight. A flight whose callers have all gone away is over, so that a call which no caller waits for
/// leaves nothing behind.
struct Seat<'a> {
    cache: &'a CachedKek,
    fingerprint: Fingerprint,
    outcome: Arc<OnceCell<Outcome>>,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let flights = &mut self.cache.state().flights;
        let Some(flight) = flights.get_mut(&self.fingerprint) else {
            return;
        };
        if !Arc::ptr_eq(&flight.outcome, &self.outcome) {
            return;
        }
        flight.callers -= 1;
        if flight.callers == 0 {
            flights.remove(&self.fingerprint);
        }
    }
}

#[async_trait::async_trait]
impl KeyEncryptionKey for CachedKek {
    async fn wrap(&self, plaintext: &[u8], aad: Aad<'_>) -> Result<WrappedKey, KekError> {
        self.inner.wrap(plaintext, aad).await
    }

    async fn unwrap(&self, wrapped: &WrappedKey, aad: Aad<'_>) -> Result<SecretBytes, KekError> {
        let fingerprint = fingerprint(wrapped, aad);
        loop {
            let seat = match self.source(fingerprint) {
                Source::Kept(secret) => {
                    self.counters.hits.fetch_add(1, Relaxed);
                    return Ok(copy(&secret));
                }
                Source::Flight(seat) => seat,
            };
            let mut asked = false;
            // If the caller that asks the backend goes away, the next one waiting asks in its place.
            let ask = async || {
                asked = true;
                self.ask(fingerprint, wrapped, aad).await
            };
            let outcome = seat.outcome.get_or_init(ask).await;
            // So it does if that caller had less time. Each round takes as long as a deadline, so there are few.
            if let Err(failure) = outcome
                && !asked
                && failure.ended_too_early()
            {
                continue;
            }
            if !asked {
                self.counters.shared.fetch_add(1, Relaxed);
            }
            return match outcome {
                Ok(answer) => {
                    if answer.stale {
                        self.counters.stale.fetch_add(1, Relaxed);
                    }
                    Ok(copy(&answer.secret))
                }
                Err(failure) => Err(KekError::Shared(Arc::clone(&failure.error))),
            };
        }
    }

    async fn rewrap(
        &self,
        wrapped: &WrappedKey,
        aad: Aad<'_>,
    ) -> Result<Option<WrappedKey>, KekError> {
        self.inner.rewrap(wrapped, aad).await
    }

    fn status(&self) -> Result<KekStatus, KekError> {
        self.inner.status()
    }
}

fn copy(secret: &SecretBytes) -> SecretBytes {
    SecretBytes::new(secret.expose().to_vec())
}

/// Covers everything that decides what unwraps; every part tells its length.
fn fingerprint(wrapped: &WrappedKey, aad: Aad<'_>) -> Fingerprint {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(wrapped.key_id.as_str().as_bytes());
    part(&wrapped.ciphertext);
    part(aad.as_bytes());
    for (key, value) in wrapped.annotations.iter() {
        part(key.as_bytes());
        part(value);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests;
