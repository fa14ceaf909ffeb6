//! Until when the caller of a key encryption key waits, handed down to whatever the key asks.
//!
//! A server that answers within a limit runs its call [`within`] that; a backend that retries asks for the [`current`] deadline, begins
//! nothing after it and waits no longer. So neither needs to know the other, and their limits cannot contradict each other.
//!
//! The deadline goes with the future, across threads, but not into tasks that it spawns: what they work on may have several callers. The
//! crate reads no clock for it; both sides must take their moments from the same one.
//!
//! ```
//! use std::time::{Duration, Instant};
//!
//! use kdc_envelope::deadline;
//!
//! # #[expect(clippy::disallowed_methods, reason = "an example")]
//! # fn main() {
//! let limit = Instant::now() + Duration::from_secs(2);
//! let call = deadline::within(limit, async { deadline::current() });
//! # let mut call = std::pin::pin!(call);
//! # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
//! # let std::task::Poll::Ready(seen) = call.as_mut().poll(&mut context) else { unreachable!() };
//! // let seen = call.await;
//! assert_eq!(seen, Some(limit));
//! assert_eq!(deadline::current(), None);
//! # }
//! ```

use core::cell::Cell;
use core::future::poll_fn;
use core::pin::pin;
use std::time::Instant;

thread_local! {
    /// Of the future that this thread polls.
    static CURRENT: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The moment at which the caller gives up; `None` if it does not.
#[must_use]
pub fn current() -> Option<Instant> {
    CURRENT.get()
}

/// Runs `future` for a caller that gives up at `deadline`, or before that if its own caller does.
pub async fn within<F: Future>(deadline: Instant, future: F) -> F::Output {
    let nearest = |outer: Option<Instant>| outer.map_or(deadline, |outer| outer.min(deadline));
    scoped(|outer| Some(nearest(outer)), future).await
}

/// Runs `future` without a deadline: work that others need too, and that should not fail because this caller gives up.
pub async fn without<F: Future>(future: F) -> F::Output {
    scoped(|_| None, future).await
}

async fn scoped<F: Future>(
    deadline: impl Fn(Option<Instant>) -> Option<Instant>,
    future: F,
) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        let _scope = Scope::enter(&deadline);
        future.as_mut().poll(context)
    })
    .await
}

/// Puts the former deadline back when it is dropped, also by a panic.
struct Scope(Option<Instant>);

impl Scope {
    fn enter(deadline: impl Fn(Option<Instant>) -> Option<Instant>) -> Self {
        let outer = CURRENT.get();
        CURRENT.set(deadline(outer));
        Self(outer)
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use core::task::{Context, Poll, Waker};
    use std::time::Duration;

    use super::*;

    fn poll_once<F: Future>(future: F) -> Option<F::Output> {
        let mut context = Context::from_waker(Waker::noop());
        match pin!(future).poll(&mut context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    #[test]
    fn the_nearest_deadline_counts_and_is_gone_outside() {
        let soon = Instant::now();
        let later = soon + Duration::from_secs(1);
        for (outer, inner) in [(soon, later), (later, soon)] {
            let seen = poll_once(within(outer, within(inner, async { current() })));
            assert_eq!(seen, Some(Some(soon)));
        }
        let seen = poll_once(within(soon, without(async { current() })));
        assert_eq!(seen, Some(None));
        assert!(poll_once(within(soon, core::future::pending::<()>())).is_none());
        assert_eq!(current(), None, "also after a future that is not ready");
    }
}
