//! One change of a Transit key at a time.
//!
//! OpenBao works on a copy of the key in memory. When two changes of one key overlap, one of them is not stored, and the copy keeps
//! what it did all the same (seen with 2.6.2 and 2.7.2 for rotation, configuration, trimming and soft deletion). This keeps the changes
//! of one process apart; different processes have to agree on one of them.

use core::future::Future;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use tokio::sync::Mutex as AsyncMutex;

use crate::client::Namespace;
use crate::transit::TransitKeyName;

/// Namespace and name. Keys of different servers that share both wait for each other, which costs little.
type Place = (Option<Namespace>, TransitKeyName);
type Locks = HashMap<Place, Weak<AsyncMutex<()>>>;

static LOCKS: LazyLock<Mutex<Locks>> = LazyLock::new(Mutex::default);

/// Runs `change` when no other change of the key is running in this process.
pub(super) async fn alone<T>(
    namespace: Option<&Namespace>,
    key: &TransitKeyName,
    change: impl Future<Output = T> + Send,
) -> T {
    let lock = lock_of((namespace.cloned(), key.clone()));
    let _turn = lock.lock().await;
    change.await
}

fn lock_of(place: Place) -> Arc<AsyncMutex<()>> {
    let mut locks = LOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(lock) = locks.get(&place).and_then(Weak::upgrade) {
        return lock;
    }
    // Whoever makes one clears away those that nobody holds.
    locks.retain(|_, lock| lock.strong_count() > 0);
    let lock = Arc::new(AsyncMutex::new(()));
    locks.insert(place, Arc::downgrade(&lock));
    lock
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn changes_of_one_key_take_turns_and_leave_nothing_behind() {
        let key = TransitKeyName::new("transit", "lock-test").unwrap();
        let other = TransitKeyName::new("transit", "lock-test-other").unwrap();
        let inside = AtomicU32::new(0);
        let change = || async {
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
            tokio::task::yield_now().await;
            // Another key does not wait: it would wait for ever, as this is its turn.
            alone(None, &other, async {}).await;
            inside.fetch_sub(1, Ordering::SeqCst);
        };
        tokio::join!(
            alone(None, &key, change()),
            alone(None, &key, change()),
            alone(None, &key, change()),
        );
        let place = (None, key);
        let held = LOCKS.lock().unwrap().get(&place).and_then(Weak::upgrade);
        assert!(held.is_none());
    }
}
