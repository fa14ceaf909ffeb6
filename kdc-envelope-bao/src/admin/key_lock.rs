//! One change of a Transit key at a time.
//!
//! OpenBao works on a copy of the key in memory. When two changes of one key overlap, one of them is not stored, and the copy keeps
//! what it did all the same (seen with 2.6.2 and 2.7.2 for rotation, configuration, trimming and soft deletion). This keeps the changes
//! of one [`Admin`](super::Admin) and its clones apart; different ones, and different processes, have to agree on one of them.

use core::future::Future;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Mutex as AsyncMutex;

use crate::client::Namespace;
use crate::transit::TransitKeyName;

/// Namespace and name.
type Place = (Option<Namespace>, TransitKeyName);
type Locks = HashMap<Place, Weak<AsyncMutex<()>>>;

/// The keys of one server that are being changed.
#[derive(Debug, Default)]
pub(super) struct KeyLocks(Mutex<Locks>);

impl KeyLocks {
    /// Runs `change` when no other change of the key is running.
    pub(super) async fn alone<T>(
        &self,
        namespace: Option<&Namespace>,
        key: &TransitKeyName,
        change: impl Future<Output = T> + Send,
    ) -> T {
        let lock = self.lock_of((namespace.cloned(), key.clone()));
        let _turn = lock.lock().await;
        change.await
    }

    fn lock_of(&self, place: Place) -> Arc<AsyncMutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(&place).and_then(Weak::upgrade) {
            return lock;
        }
        // Each new lock clears away those that are no longer held.
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(AsyncMutex::new(()));
        locks.insert(place, Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn changes_of_one_key_take_turns_and_leave_nothing_behind() {
        let locks = KeyLocks::default();
        let key = TransitKeyName::new("transit", "lock-test").unwrap();
        let other = TransitKeyName::new("transit", "lock-test-other").unwrap();
        let inside = AtomicU32::new(0);
        let change = || async {
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
            tokio::task::yield_now().await;
            // Another key does not wait: it would wait for ever, as this is its turn.
            locks.alone(None, &other, async {}).await;
            inside.fetch_sub(1, Ordering::SeqCst);
        };
        tokio::join!(
            locks.alone(None, &key, change()),
            locks.alone(None, &key, change()),
            locks.alone(None, &key, change()),
        );
        let place = (None, key);
        let held = locks.0.lock().unwrap().get(&place).and_then(Weak::upgrade);
        assert!(held.is_none());
    }
}
