//! Leaves a failing OpenBao alone for a moment, so that calls fail at once instead of each waiting for its timeout.
//!
//! Closed until [`THRESHOLD`] outages in a row; then open for a time that doubles from [`FIRST_WAIT`] to [`LONGEST_WAIT`]. After that one
//! call goes through; its outcome closes the breaker or opens it again. The longest wait is short, because a healed OpenBao
//! must be noticed within seconds.

use core::time::Duration;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

const THRESHOLD: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// What the breaker does now; for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// Calls fail at once.
    Open,
    /// One call goes through to try.
    HalfOpen,
}

#[derive(Debug)]
pub(crate) struct Breaker(Mutex<State>);

#[derive(Debug, Clone, Copy)]
enum State {
    Closed { outages: u32 },
    Open { until: Instant, wait: Duration },
    HalfOpen { wait: Duration },
}

/// Leave to make one call. Dropped without a verdict, it lets another one try.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    breaker: &'a Breaker,
    is_trial: bool,
    is_judged: bool,
}

impl Breaker {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(State::Closed { outages: 0 }))
    }

    /// Leave to call at `now`, or how long there is none.
    pub(crate) fn enter(&self, now: Instant) -> Result<Pass<'_>, Duration> {
        let mut state = self.lock();
        let is_trial = match *state {
            State::Closed { .. } => false,
            State::Open { until, wait } if now >= until => {
                *state = State::HalfOpen { wait };
                true
            }
            State::Open { until, .. } => return Err(until.saturating_duration_since(now)),
            State::HalfOpen { wait } => return Err(wait),
        };
        Ok(Pass {
            breaker: self,
            is_trial,
            is_judged: false,
        })
    }

    pub(crate) fn state(&self) -> BreakerState {
        match *self.lock() {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// The call was answered, whatever the answer.
    pub(crate) fn answered(mut self) {
        self.is_judged = true;
        *self.breaker.lock() = State::Closed { outages: 0 };
    }

    /// There was no answer, or only one that OpenBao cannot serve.
    pub(crate) fn outage(mut self, now: Instant) {
        self.is_judged = true;
        let mut state = self.breaker.lock();
        let open = |wait| State::Open {
            until: now + wait,
            wait,
        };
        *state = match *state {
            State::Closed { outages } if outages + 1 < THRESHOLD => State::Closed {
                outages: outages + 1,
            },
            State::Closed { .. } => open(FIRST_WAIT),
            State::HalfOpen { wait } if self.is_trial => open((wait * 2).min(LONGEST_WAIT)),
            // A call from before it opened tells nothing new.
            other => other,
        };
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.is_trial || self.is_judged {
            return;
        }
        let mut state = self.breaker.lock();
        if let State::HalfOpen { wait } = *state {
            *state = State::Open {
                until: Instant::now(),
                wait,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &Breaker, now: Instant) {
        breaker.enter(now).unwrap().outage(now);
    }

    #[test]
    fn opens_after_outages_in_a_row_and_tries_one_call_after_the_wait() {
        let breaker = Breaker::new();
        let start = Instant::now();
        fail(&breaker, start);
        fail(&breaker, start);
        breaker.enter(start).unwrap().answered();
        for _ in 0..3 {
            assert_eq!(breaker.state(), BreakerState::Closed);
            fail(&breaker, start);
        }
        assert_eq!(breaker.enter(start).unwrap_err(), FIRST_WAIT);
        let later = start + FIRST_WAIT;
        let trial = breaker.enter(later).unwrap();
        assert!(breaker.enter(later).is_err());
        trial.answered();
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn waits_grow_up_to_a_bound() {
        let breaker = Breaker::new();
        let mut now = Instant::now();
        (0..3).for_each(|_| fail(&breaker, now));
        let mut waits = Vec::new();
        for _ in 0..6 {
            let wait = breaker.enter(now).unwrap_err();
            waits.push(wait.as_millis());
            now += wait;
            fail(&breaker, now);
        }
        assert_eq!(waits, [250, 500, 1000, 2000, 3000, 3000]);
    }

    #[tokio::test]
    async fn a_trial_that_is_given_up_makes_room_for_another() {
        let breaker = Breaker::new();
        let now = Instant::now();
        (0..3).for_each(|_| fail(&breaker, now));
        let later = now + FIRST_WAIT;
        drop(breaker.enter(later).unwrap());
        assert!(breaker.enter(later + Duration::from_secs(1)).is_ok());
    }

    #[test]
    fn a_late_answer_from_before_closes_it_and_a_late_outage_changes_nothing() {
        let breaker = Breaker::new();
        let now = Instant::now();
        let (late_outage, late_answer) = (breaker.enter(now).unwrap(), breaker.enter(now).unwrap());
        (0..3).for_each(|_| fail(&breaker, now));
        late_outage.outage(now);
        assert_eq!(breaker.enter(now).unwrap_err(), FIRST_WAIT);
        late_answer.answered();
        assert_eq!(breaker.state(), BreakerState::Closed);
    }
}
