//! One pass over a bucket that looks at every entry: at most one read each, several at once, in bounded memory.

use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::bucket::{Bucket, Entry};
use super::state::{self, Known};
use crate::failure::Failure;

/// Reads under way.
const READERS: usize = 16;
/// Entries that wait for one.
const WAITING: usize = 256;
/// How often the count on the terminal is drawn.
const REDRAW: Duration = Duration::from_millis(200);

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
    each: impl FnMut(Known) + Send,
) -> Result<Cost, Failure> {
    let progress = progress();
    let found = Mutex::new(Found {
        each,
        failure: None,
        cost: Cost::default(),
    });
    let (sender, receiver) = sync_channel::<Entry>(WAITING);
    let receiver = Mutex::new(receiver);
    thread::scope(|scope| {
        let readers = || work(bucket, &receiver, &found, &progress);
        for _ in 0..READERS {
            scope.spawn(readers);
        }
        for entry in bucket.entries(cluster) {
            let is_sent = match entry {
                Ok(entry) => sender.send(entry).is_ok(),
                Err(failure) => {
                    lock(&found).fail(failure);
                    false
                }
            };
            if !is_sent || lock(&found).failure.is_some() {
                break;
            }
        }
        drop(sender);
    });
    progress.finish_and_clear();
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.failure.map_or(Ok(found.cost), Err)
}

/// What the readers share.
struct Found<F> {
    each: F,
    failure: Option<Failure>,
    cost: Cost,
}

impl<F> Found<F> {
    fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }
}

fn work<F: FnMut(Known)>(
    bucket: &Bucket,
    receiver: &Mutex<Receiver<Entry>>,
    found: &Mutex<Found<F>>,
    progress: &ProgressBar,
) {
    loop {
        let next = lock(receiver).recv();
        let Ok(entry) = next else {
            return;
        };
        if lock(found).failure.is_some() {
            continue; // empties the queue, so that nobody waits for room in it
        }
        let reads = u64::from(entry.metadata.is_some());
        match state::look(bucket, entry) {
            Ok(known) => {
                let mut found = lock(found);
                found.cost.entries += 1;
                found.cost.reads += reads;
                (found.each)(known);
            }
            Err(failure) => lock(found).fail(failure),
        }
        progress.inc(1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Seen by people alone.
pub(super) fn progress() -> ProgressBar {
    let progress = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {human_pos} looked at, {per_sec}");
    progress.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    progress.enable_steady_tick(REDRAW);
    progress
}
