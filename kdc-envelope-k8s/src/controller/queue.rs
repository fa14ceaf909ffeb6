//! The keys that are due: each once, and none while it is being worked on.

use core::time::Duration;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::ObjectKey;

#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    by_time: BTreeSet<(Instant, ObjectKey)>,
    due: HashMap<ObjectKey, Instant>,
    running: HashSet<ObjectKey>,
}

impl State {
    fn set(&mut self, key: ObjectKey, at: Instant) {
        if let Some(before) = self.due.insert(key.clone(), at) {
            self.by_time.remove(&(before, key.clone()));
        }
        self.by_time.insert((at, key));
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `key` due now; if it is being worked on, then again afterwards.
    pub(super) fn add(&self, key: ObjectKey) {
        self.add_after(key, Duration::ZERO);
    }

    /// Makes `key` due after `wait`, unless it is due earlier.
    pub(super) fn add_after(&self, key: ObjectKey, wait: Duration) {
        let now = Instant::now();
        let at = now.checked_add(wait).unwrap_or(now);
        let mut state = self.lock();
        if state.due.get(&key).is_none_or(|due| at < *due) {
            state.set(key, at);
            drop(state);
            self.changed.notify_one();
        }
    }

    /// The next key that is due and not being worked on. It counts as being worked on until [`done`](Self::done).
    pub(super) async fn next(&self) -> ObjectKey {
        loop {
            let wait_until = {
                let mut state = self.lock();
                let now = Instant::now();
                let free = state.by_time.iter();
                let next = free
                    .into_iter()
                    .find(|(_, key)| !state.running.contains(key));
                match next.cloned() {
                    Some((at, key)) if at <= now => {
                        state.by_time.remove(&(at, key.clone()));
                        state.due.remove(&key);
                        state.running.insert(key.clone());
                        return key;
                    }
                    next => next.map(|(at, _)| at),
                }
            };
            match wait_until {
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = self.changed.notified() => {}
                },
                None => self.changed.notified().await,
            }
        }
    }

    /// The work on `key` has ended.
    pub(super) fn done(&self, key: &ObjectKey) {
        self.lock().running.remove(key);
        self.changed.notify_one();
    }

    /// How many keys are due now and wait.
    pub(super) fn waiting(&self) -> usize {
        let now = Instant::now();
        let state = self.lock();
        state
            .by_time
            .iter()
            .take_while(|(at, _)| *at <= now)
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("n", name)
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_worked_on_once_at_a_time_and_again_if_it_changed_meanwhile() {
        let queue = Queue::default();
        queue.add(key("a"));
        queue.add(key("a"));
        assert_eq!(queue.next().await, key("a"));
        queue.add(key("a"));
        queue.add(key("b"));
        assert_eq!(queue.next().await, key("b"), "a is being worked on");
        let second = async { tokio::time::timeout(Duration::from_secs(9), queue.next()).await };
        assert!(second.await.is_err(), "nothing else is free");
        queue.done(&key("a"));
        assert_eq!(queue.next().await, key("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_of_two_times_counts() {
        let queue = Queue::default();
        let start = Instant::now();
        queue.add_after(key("a"), Duration::from_secs(60));
        queue.add_after(key("a"), Duration::from_secs(5));
        queue.add_after(key("a"), Duration::from_secs(30));
        assert_eq!(queue.waiting(), 0);
        assert_eq!(queue.next().await, key("a"));
        assert_eq!(start.elapsed(), Duration::from_secs(5));
    }
}
