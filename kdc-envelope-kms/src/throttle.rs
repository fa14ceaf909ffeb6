//! Keeps log lines that a client can cause from flooding the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long lines of a kind are counted together; metrics count all.
const INTERVAL: Duration = Duration::from_secs(10);

/// Lets so many lines of a kind through per [`INTERVAL`], by default one.
#[derive(Debug)]
pub(crate) struct Throttle {
    burst: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    since: Option<Instant>,
    passed: u64,
    held_back: u64,
}

impl Default for Throttle {
    fn default() -> Self {
        Self::of(1)
    }
}

impl Throttle {
    /// Lets `burst` lines through per [`INTERVAL`].
    pub(crate) fn of(burst: u64) -> Self {
        Self {
            burst,
            state: Mutex::default(),
        }
    }

    /// How many lines were held back since the last one, if this one may be written.
    pub(crate) fn pass(&self) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.since.is_none_or(|since| since.elapsed() >= INTERVAL) {
            state.since = Some(Instant::now());
            state.passed = 0;
        }
        if state.passed >= self.burst {
            state.held_back += 1;
            return None;
        }
        state.passed += 1;
        Some(std::mem::take(&mut state.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_lines_pass_and_the_next_tells_how_many_did_not() {
        let throttle = Throttle::of(2);
        for passed in [Some(0), Some(0), None, None, None] {
            assert_eq!(throttle.pass(), passed);
        }
        let long_ago = Instant::now().checked_sub(INTERVAL);
        throttle.state.lock().unwrap().since = long_ago;
        assert_eq!(throttle.pass(), Some(3));
        assert_eq!(throttle.pass(), Some(0));
        assert_eq!(throttle.pass(), None);
    }
}
