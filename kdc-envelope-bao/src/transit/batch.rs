//! Calls that come at the same time share one request; a lone call does not wait.
//!
//! A call whose slot is free goes out at once, alone or with what came in the same moment. While all slots are busy, calls
//! gather, and the first slot that comes free takes up to [`MAX_ITEMS`] of them. So the size of a batch follows the load by
//! itself, and there is no timer. A request of OpenBao costs far more than a key in it.
//!
//! OpenBao works on the keys of one request one after the other. Callers who were answered together ask again together, and
//! would keep one processor of it busy at a time; so slots that come free in the same moment share what waits.

use core::fmt;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::deadline;
use crate::error::BaoError;

/// The most keys in one request. OpenBao counts the strings of a request, 1,000 at most by default: eight for a key.
pub(super) const MAX_ITEMS: usize = 100;

/// Keys that are worth a request of their own while another slot is free as well.
const MIN_SHARE: usize = 8;

/// What is sent in batches.
pub(super) trait BatchCall: fmt::Debug + Send + Sync + 'static {
    /// One question.
    type Item: Send + Sync;
    /// The answer to it.
    type Output: Send;

    /// Asks all at once; gives one result for each, in order.
    fn call(
        &self,
        items: Vec<&Self::Item>,
    ) -> impl Future<Output = Result<Vec<Result<Self::Output, ItemError>>, BaoError>> + Send;
}

/// Why one item of a batch failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ItemError {
    /// Changed bytes, another key, or other associated data.
    Authentication,
    /// No ciphertext of this key.
    Malformed,
    /// Its version may not decrypt any more.
    TooOld,
    /// Its version is not known yet, or not any more.
    TooNew,
    /// The server's words.
    Other(String),
}

/// Why one call failed.
#[derive(Debug, Clone)]
pub(super) enum CallError {
    /// The request.
    Request(BaoError),
    /// This item of it.
    Item(ItemError),
}

/// One slot for several batchers, each of which has one of its own besides. So connections stay few, and
/// the batcher with the load has two.
#[derive(Debug, Clone, Default)]
pub(super) struct SpareSlot {
    is_taken: Arc<AtomicBool>,
}

impl SpareSlot {
    fn take(&self) -> bool {
        !self.is_taken.swap(true, Ordering::AcqRel)
    }

    fn give_back(&self) {
        self.is_taken.store(false, Ordering::Release);
    }
}

/// Gathers calls.
#[derive(Debug)]
pub(super) struct Batcher<C: BatchCall>(Arc<Shared<C>>);

struct Shared<C: BatchCall> {
    call: C,
    spare: SpareSlot,
    queue: Mutex<Queue<C>>,
}

struct Queue<C: BatchCall> {
    waiting: VecDeque<Job<C>>,
    /// Slots of this one, the spare one included.
    busy: usize,
    /// Busy slots without a request, which are about to take what waits.
    taking: usize,
}

impl<C: BatchCall> Queue<C> {
    /// Whether one more slot is to be had: the own one, then the spare one.
    fn begin(&mut self, spare: &SpareSlot) -> bool {
        let has_slot = match self.busy {
            0 => true,
            1 => spare.take(),
            _ => false,
        };
        self.busy += usize::from(has_slot);
        self.taking += usize::from(has_slot);
        has_slot
    }

    fn end(&mut self, spare: &SpareSlot) {
        if self.busy == 2 {
            spare.give_back();
        }
        self.busy = self.busy.saturating_sub(1);
    }

    /// What one slot takes now.
    fn share(&self) -> usize {
        let share = self.waiting.len().div_ceil(self.taking.max(1));
        share.clamp(MIN_SHARE, MAX_ITEMS)
    }
}

struct Job<C: BatchCall> {
    item: C::Item,
    /// When its caller gives up.
    deadline: Option<Instant>,
    reply: oneshot::Sender<Result<C::Output, CallError>>,
}

impl<C: BatchCall> Batcher<C> {
    /// One request at a time, or two with the spare slot.
    pub(super) fn new(call: C, spare: SpareSlot) -> Self {
        Self(Arc::new(Shared {
            call,
            spare,
            queue: Mutex::new(Queue {
                waiting: VecDeque::new(),
                busy: 0,
                taking: 0,
            }),
        }))
    }

    /// The answer to `item`. Dropping this future takes nothing from the other callers.
    pub(super) async fn ask(&self, item: C::Item) -> Result<C::Output, CallError> {
        let (reply, answer) = oneshot::channel();
        let needs_worker = {
            let mut queue = self.0.queue();
            queue.waiting.push_back(Job {
                item,
                deadline: deadline::current(),
                reply,
            });
            queue.begin(&self.0.spare)
        };
        if needs_worker {
            let slot = Slot {
                shared: Arc::clone(&self.0),
                is_free: false,
            };
            tokio::spawn(slot.work());
        }
        // The worker ends without a reply only with its runtime.
        deadline::wait(answer)
            .await
            .map_err(CallError::Request)?
            .unwrap_or_else(|_| Err(CallError::Request(BaoError::NotAskedYet)))
    }
}

impl<C: BatchCall> Shared<C> {
    fn queue(&self) -> MutexGuard<'_, Queue<C>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The share of a slot of the calls whose callers still wait.
    fn take(&self) -> Vec<Job<C>> {
        let mut queue = self.queue();
        let mut jobs = Vec::new();
        let share = queue.share();
        queue.taking = queue.taking.saturating_sub(1);
        while jobs.len() < share {
            match queue.waiting.pop_front() {
                None => break,
                Some(job) if job.reply.is_closed() => {}
                Some(job) => jobs.push(job),
            }
        }
        jobs
    }
}

/// A busy slot; free again when it is dropped.
struct Slot<C: BatchCall> {
    shared: Arc<Shared<C>>,
    is_free: bool,
}

impl<C: BatchCall> Slot<C> {
    async fn work(mut self) {
        while !self.is_free {
            let jobs = self.shared.take();
            if jobs.is_empty() {
                self.release_if_idle();
            } else {
                self.serve(jobs).await;
                self.shared.queue().taking += 1;
            }
        }
    }

    /// Looks and releases in one step, so that nothing comes in unseen in between.
    fn release_if_idle(&mut self) {
        let mut queue = self.shared.queue();
        if queue.waiting.is_empty() {
            queue.end(&self.shared.spare);
            self.is_free = true;
        } else {
            queue.taking += 1;
        }
    }

    async fn serve(&self, jobs: Vec<Job<C>>) {
        match self.call(&jobs).await {
            Ok(results) if results.len() == jobs.len() => {
                for (job, result) in jobs.into_iter().zip(results) {
                    // Its caller may have given up.
                    let _ = job.reply.send(result.map_err(CallError::Item));
                }
            }
            Ok(_) => fail(jobs, &wrong_count()),
            // One of them may have spoilt the request for all.
            Err(BaoError::Rejected { .. }) if jobs.len() > 1 => self.serve_singly(jobs).await,
            Err(error) => fail(jobs, &error),
        }
    }

    /// Makes the request, for as long as one of the callers waits.
    async fn call(&self, jobs: &[Job<C>]) -> Result<Vec<Result<C::Output, ItemError>>, BaoError> {
        let call = self
            .shared
            .call
            .call(jobs.iter().map(|job| &job.item).collect());
        let deadlines: Option<Vec<Instant>> = jobs.iter().map(|job| job.deadline).collect();
        match deadlines.and_then(|all| all.into_iter().max()) {
            Some(last) => {
                kdc_envelope::deadline::within(last.into_std(), deadline::wait(call)).await?
            }
            None => call.await,
        }
    }

    async fn serve_singly(&self, jobs: Vec<Job<C>>) {
        for job in jobs {
            let result = match self.call(std::slice::from_ref(&job)).await {
                Ok(mut results) if results.len() == 1 => results
                    .pop()
                    .ok_or_else(|| CallError::Request(wrong_count()))
                    .and_then(|result| result.map_err(CallError::Item)),
                Ok(_) => Err(CallError::Request(wrong_count())),
                Err(error) => Err(CallError::Request(error)),
            };
            let _ = job.reply.send(result);
        }
    }
}

impl<C: BatchCall> Drop for Slot<C> {
    /// Only a runtime that ends drops a slot which is still busy.
    fn drop(&mut self) {
        if !self.is_free {
            self.shared.queue().end(&self.shared.spare);
        }
    }
}

fn fail<C: BatchCall>(jobs: Vec<Job<C>>, error: &BaoError) {
    for job in jobs {
        let _ = job.reply.send(Err(CallError::Request(error.clone())));
    }
}

fn wrong_count() -> BaoError {
    BaoError::WrongAnswer {
        message: "it answered another number of keys than it was asked for".to_owned(),
    }
}

impl<C: BatchCall> fmt::Debug for Shared<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batcher")
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
