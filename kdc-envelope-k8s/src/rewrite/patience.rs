//! How long failures that could pass by themselves are borne, and how long to wait after each.

use core::hash::{BuildHasher, Hasher};
use core::time::Duration;
use std::hash::RandomState;

use tokio::time::Instant;

use super::answer::{Answer, Failure, FailureKind};
use super::error::{RewriteError, Verb};
use super::pacer::LONGEST_PAUSE;

/// Before the second attempt; doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest time between two attempts, unless the server asks for more.
const LONGEST_OWN_PAUSE: Duration = Duration::from_secs(15);

/// What failed since something succeeded last.
#[derive(Debug)]
pub(super) struct Patience {
    limit: Duration,
    last_success: Instant,
    failures: u64,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            last_success: Instant::now(),
            failures: 0,
        }
    }

    pub(super) fn succeeded(&mut self) {
        self.last_success = Instant::now();
        self.failures = 0;
    }

    /// # Errors
    /// [`RewriteError::OutOfPatience`].
    pub(super) fn failed(
        &mut self,
        verb: Verb,
        resource: &str,
        failure: &Failure,
    ) -> Result<(), RewriteError> {
        self.failures = self.failures.saturating_add(1);
        if self.last_success.elapsed() < self.limit {
            return Ok(());
        }
        Err(RewriteError::OutOfPatience {
            verb,
            resource: resource.into(),
            patience: self.limit,
            attempts: self.failures,
            why: failure.why.clone(),
        })
    }

    /// Sends until `judge` finds an answer to the point.
    ///
    /// # Errors
    /// Those of `judge`, and [`RewriteError::OutOfPatience`].
    pub(super) async fn until_answered<T, S>(
        &mut self,
        verb: Verb,
        what: &str,
        send: impl Fn() -> S,
        judge: impl Fn(Answer) -> Result<Result<T, Failure>, RewriteError>,
    ) -> Result<T, RewriteError>
    where
        S: Future<Output = Result<Answer, Failure>>,
    {
        loop {
            let judged = match send().await {
                Ok(answer) => judge(answer)?,
                Err(failure) => Err(failure),
            };
            let failure = match judged {
                Ok(found) => {
                    self.succeeded();
                    return Ok(found);
                }
                Err(failure) => failure,
            };
            self.failed(verb, what, &failure)?;
            tokio::time::sleep(self.pause(&failure)).await;
        }
    }

    /// How long to wait after the failure that was told last.
    pub(super) fn pause(&self, failure: &Failure) -> Duration {
        match failure.kind {
            FailureKind::Busy(Some(wait)) => wait.min(LONGEST_PAUSE),
            _ => pause(u32::try_from(self.failures).unwrap_or(u32::MAX)),
        }
    }
}

/// How long to wait before another attempt at the same thing, after so many; with jitter, since others wait as well.
pub(super) fn pause(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(10);
    let pause = FIRST_PAUSE
        .saturating_mul(1 << doublings)
        .min(LONGEST_OWN_PAUSE);
    pause.mul_f64(0.5 + random_fraction() / 2.0)
}

/// From 0 to 1. The keys of the standard library's hash maps are random enough to keep clients apart.
fn random_fraction() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(random >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_differ() {
        for (attempts, most) in [
            (1, 250),
            (2, 500),
            (3, 1000),
            (7, 15_000),
            (u32::MAX, 15_000),
        ] {
            let most = Duration::from_millis(most);
            for _ in 0..100 {
                let pause = pause(attempts);
                assert!(most / 2 <= pause && pause <= most, "{attempts}: {pause:?}");
            }
        }
        let pauses: std::collections::BTreeSet<_> = (0..100).map(|_| pause(7)).collect();
        assert!(pauses.len() > 10, "{pauses:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_success_begins_the_time_anew() {
        let limit = Duration::from_secs(10);
        let failure = Failure::server("away");
        let mut patience = Patience::new(limit);
        tokio::time::advance(limit / 2).await;
        patience.failed(Verb::List, "secrets", &failure).unwrap();
        patience.succeeded();
        tokio::time::advance(limit / 2).await;
        patience.failed(Verb::List, "secrets", &failure).unwrap();
        tokio::time::advance(limit / 2).await;
        let error = patience
            .failed(Verb::Patch, "secrets", &failure)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "no attempt to patch secrets succeeded for 10 s, in 2 attempts; the last one failed with: away"
        );
    }
}
