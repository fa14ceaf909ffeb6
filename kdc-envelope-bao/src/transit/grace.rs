//! How long a key counts as usable after OpenBao was last seen to work, while OpenBao cannot be reached.
//!
//! kube-apiserver leaves its Service when Status fails. While OpenBao is merely away it need not: it reads with seeds that it has opened
//! before, and writes under one that is stored already, so nothing is written that OpenBao cannot open when it comes back. What OpenBao
//! *says* is another matter: a denial, a wrong answer, a key that is gone or is another one ends the grace until the next proof.

use core::time::Duration;

use tokio::time::Instant;

use crate::error::BaoError;

/// A server that unseals itself says for seconds that it is sealed. After this an operator must act, and is told.
const SEALED_LIMIT: Duration = Duration::from_secs(30);

/// From the last proof to its end.
#[derive(Debug)]
pub(super) struct Grace {
    length: Duration,
    /// When the key was last seen to work; `None` before that and since an answer that ended the grace.
    proven: Option<Instant>,
    /// Since when OpenBao has said that it is sealed, without having worked.
    sealed: Option<Instant>,
}

/// What a failure tells about OpenBao.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Nothing: it was not reached, or cannot answer now.
    Nothing,
    /// It is sealed.
    Sealed,
    /// The key cannot be used as things are.
    Refusal,
}

impl Grace {
    pub(super) const fn new(length: Duration) -> Self {
        Self {
            length,
            proven: None,
            sealed: None,
        }
    }

    /// The key was seen to work.
    pub(super) const fn begin(&mut self, now: Instant) {
        self.proven = Some(now);
        self.sealed = None;
    }

    /// The key was seen not to work.
    pub(super) fn note(&mut self, trouble: &BaoError, now: Instant) {
        match told(trouble) {
            Told::Nothing => {}
            Told::Sealed => {
                self.sealed.get_or_insert(now);
            }
            Told::Refusal => self.proven = None,
        }
    }

    /// How much of the grace is left in the face of `trouble`; `None` if there is none.
    pub(super) fn left(&self, trouble: &BaoError, now: Instant) -> Option<Duration> {
        if told(trouble) == Told::Refusal {
            return None;
        }
        let rest = |since: Instant, limit: Duration| {
            limit.checked_sub(now.saturating_duration_since(since))
        };
        let left = rest(self.proven?, self.length)?;
        let left = match self.sealed {
            Some(since) => left.min(rest(since, SEALED_LIMIT)?),
            None => left,
        };
        (!left.is_zero()).then_some(left)
    }
}

fn told(trouble: &BaoError) -> Told {
    match trouble {
        BaoError::Unreachable { .. }
        | BaoError::Timeout { .. }
        | BaoError::DeadlineExceeded
        | BaoError::Unready { .. }
        | BaoError::Throttled { .. }
        | BaoError::Lagging { .. } => Told::Nothing,
        BaoError::CircuitOpen { cause, .. } => match cause {
            Some(cause) => told(cause),
            None => Told::Nothing,
        },
        BaoError::Sealed { .. } => Told::Sealed,
        // Also what was not asked, and what was not asked for too long: nothing is concluded from that.
        _ => Told::Refusal,
    }
}

#[cfg(test)]
mod tests;
