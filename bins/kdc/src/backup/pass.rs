//! One pass over a bucket that looks at every entry, several at once, in bounded memory.

use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::bucket::{Bucket, Entry};
use super::state::{self, Known};
use crate::failure::Failure;
use crate::progress;

/// Items that are worked on at a time: reads and writes that wait for a disk or a server.
const WORKERS: usize = 16;
/// Items that wait for a worker.
const WAITING: usize = 256;

/// What a pass cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) entries: u64,
    /// Of `metadata.json`.
    pub(super) reads: u64,
}

/// Hands every entry of the bucket, or of one cluster, to `each`, in no order. The first failure ends it.
pub(super) fn examine(
    bucket: &Bucket,
    cluster: Option<&str>,
    mut each: impl FnMut(Known) + Send,
) -> Result<Cost, Failure> {
    let progress = progress::looked_at();
    let mut cost = Cost::default();
    let look = |entry: Entry| {
        let reads = u64::from(entry.metadata.is_some());
        state::look(bucket, entry).map(|known| (known, reads))
    };
    let outcome = in_parallel(bucket.entries(cluster), look, |(known, reads)| {
        cost.entries += 1;
        cost.reads += reads;
        progress.inc(1);
        known.map(&mut each);
        Ok(())
    });
    progress.finish_and_clear();
    outcome.map(|()| cost)
}

/// Does `work` with every item, several at once, and hands each result to `each`, one at a time and in no order. The first failure, also
/// one of `items`, ends it; of the items that wait then nothing is done.
pub(super) fn in_parallel<T: Send, R>(
    items: impl Iterator<Item = Result<T, Failure>>,
    work: impl Fn(T) -> Result<R, Failure> + Sync,
    each: impl FnMut(R) -> Result<(), Failure> + Send,
) -> Result<(), Failure> {
    let (sender, receiver) = sync_channel::<T>(WAITING);
    let receiver = Mutex::new(receiver);
    let end = Mutex::new(End {
        each,
        failure: None,
    });
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| work_on(&receiver, &work, &end));
        }
        for item in items {
            let is_sent = match item {
                Ok(item) => sender.send(item).is_ok(),
                Err(failure) => {
                    lock(&end).fail(failure);
                    false
                }
            };
            if !is_sent || lock(&end).failure.is_some() {
                break;
            }
        }
        drop(sender);
    });
    let end = end.into_inner().unwrap_or_else(PoisonError::into_inner);
    end.failure.map_or(Ok(()), Err)
}

/// What the workers share.
struct End<F> {
    each: F,
    failure: Option<Failure>,
}

impl<F> End<F> {
    fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }
}

fn work_on<T, R, F: FnMut(R) -> Result<(), Failure>>(
    receiver: &Mutex<Receiver<T>>,
    work: &impl Fn(T) -> Result<R, Failure>,
    end: &Mutex<End<F>>,
) {
    loop {
        let next = lock(receiver).recv();
        let Ok(item) = next else {
            return;
        };
        if lock(end).failure.is_some() {
            continue; // empties the queue, so that nobody waits for room in it
        }
        let result = work(item);
        let mut end = lock(end);
        let outcome = result.and_then(|result| (end.each)(result));
        if let Err(failure) = outcome {
            end.fail(failure);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
