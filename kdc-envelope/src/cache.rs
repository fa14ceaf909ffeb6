//! A bounded cache of unwrapped keys in front of any backend.
//!
//! It saves backend calls, and lets reading go on through an outage that is shorter than the time to live. Concurrent
//! calls for one wrapped key share a single backend call, also when that fails. The price: a key that the backend
//! retires or denies stays usable here until its time is over.

use core::num::NonZeroUsize;
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_lock::OnceCell;
use lru::LruCache;
use sha2::{Digest, Sha256};

use crate::clock::Clock;
use crate::{Aad, KekError, KekStatus, KeyEncryptionKey, SecretBytes, WrappedKey};

/// How many unwrapped keys are kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// At most so many; the least recently used goes first.
    pub entries: NonZeroUsize,
    /// Each at most so long after it was asked for.
    pub time_to_live: Duration,
}

impl Limits {
    /// `entries` keys for `time_to_live` each.
    #[must_use]
    pub const fn new(entries: NonZeroUsize, time_to_live: Duration) -> Self {
        Self {
            entries,
            time_to_live,
        }
    }
}

impl Default for Limits {
    /// 4,096 keys for five minutes.
    fn default() -> Self {
        Self::new(
            NonZeroUsize::MIN.saturating_add(4095),
            Duration::from_secs(300),
        )
    }
}

type Fingerprint = [u8; 32];
type Outcome = Result<SecretBytes, Arc<KekError>>;

/// A [`KeyEncryptionKey`] that remembers what another one unwrapped. Secrets are wiped when they leave.
#[derive(Debug)]
pub struct CachedKek {
    inner: Arc<dyn KeyEncryptionKey>,
    limits: Limits,
    clock: Clock,
    slots: Mutex<LruCache<Fingerprint, Arc<Slot>>>,
}

#[derive(Debug)]
struct Slot {
    asked: Duration,
    outcome: OnceCell<Outcome>,
}

impl CachedKek {
    /// A cache in front of `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn KeyEncryptionKey>, limits: Limits, clock: impl Into<Clock>) -> Self {
        Self {
            inner,
            limits,
            clock: clock.into(),
            slots: Mutex::new(LruCache::new(limits.entries)),
        }
    }

    pub(crate) fn with_limits(self, limits: Limits) -> Self {
        Self::new(self.inner, limits, self.clock)
    }

    /// Wipes what is older than the time to live. Such keys are never used again even without this; call it now and then
    /// so that they do not wait in memory for their eviction.
    pub fn expire(&self) {
        let now = self.clock.now();
        let mut slots = self.slots();
        let expired: Vec<_> = slots
            .iter()
            .filter(|(_, slot)| self.is_expired(slot, now))
            .map(|(fingerprint, _)| *fingerprint)
            .collect();
        for fingerprint in expired {
            slots.pop(&fingerprint);
        }
    }

    /// How many keys are kept now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots().len()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn slots(&self) -> MutexGuard<'_, LruCache<Fingerprint, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_expired(&self, slot: &Slot, now: Duration) -> bool {
        slot.outcome.is_initialized() && now.saturating_sub(slot.asked) >= self.limits.time_to_live
    }

    /// The slot of this key: the present one, or a fresh one in its place.
    fn slot(&self, fingerprint: Fingerprint) -> Arc<Slot> {
        let now = self.clock.now();
        let mut slots = self.slots();
        if let Some(slot) = slots.get(&fingerprint)
            && !self.is_expired(slot, now)
        {
            return Arc::clone(slot);
        }
        let slot = Arc::new(Slot {
            asked: now,
            outcome: OnceCell::new(),
        });
        slots.put(fingerprint, Arc::clone(&slot));
        slot
    }

    /// Makes room for a new try. Another caller's newer slot stays.
    fn forget(&self, fingerprint: &Fingerprint, slot: &Arc<Slot>) {
        let mut slots = self.slots();
        if slots
            .peek(fingerprint)
            .is_some_and(|other| Arc::ptr_eq(other, slot))
        {
            slots.pop(fingerprint);
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
        let slot = self.slot(fingerprint);
        // If the caller that asks the backend goes away, the next one waiting asks in its place.
        let ask = || async { self.inner.unwrap(wrapped, aad).await.map_err(Arc::new) };
        match slot.outcome.get_or_init(ask).await {
            Ok(secret) => Ok(SecretBytes::new(secret.expose().to_vec())),
            Err(error) => {
                self.forget(&fingerprint, &slot);
                Err(KekError::Shared(Arc::clone(error)))
            }
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
