//! How many requests all passes together may have in flight.

use core::fmt;
use core::num::NonZeroU32;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A limit that passes over several clusters share, so that they do not take all connections and processors of the process that
/// runs them. Copies share it. Each pass still keeps to its own limits and to the pace of its API server.
#[derive(Clone)]
pub struct RequestBudget(Arc<Semaphore>);

impl RequestBudget {
    /// At most so many requests at the same time, listings and patches of all passes that have a copy. Those that wait get
    /// their turn in the order in which they came.
    #[must_use]
    pub fn new(most: NonZeroU32) -> Self {
        let most = usize::try_from(most.get()).unwrap_or(Semaphore::MAX_PERMITS);
        Self(Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))))
    }

    /// How many more requests could start now.
    #[must_use]
    pub fn available(&self) -> usize {
        self.0.available_permits()
    }

    /// Waits for a turn, which lasts as long as what this gives.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.0).acquire_owned().await.ok()
    }
}

impl fmt::Debug for RequestBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBudget")
            .field("available", &self.available())
            .finish()
    }
}

/// Whether both are copies of one.
impl PartialEq for RequestBudget {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for RequestBudget {}
