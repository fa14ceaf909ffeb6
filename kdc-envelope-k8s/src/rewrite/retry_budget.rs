//! How long failures that could pass by themselves are borne, and how long to wait after each.

use core::hash::{BuildHasher, Hasher};
use core::time::Duration;
use std::hash::RandomState;

use tokio::time::Instant;

use super::error::{RewriteError, Verb};
use super::pacer::LONGEST_PAUSE;
use super::progress::Waiting;
use super::response::{Failure, FailureKind, Response};
use crate::cluster::ServerName;

/// Before the second attempt; doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest time between two attempts, unless the server asks for more.
const LONGEST_OWN_PAUSE: Duration = Duration::from_secs(15);
/// How long nothing may succeed before that is reported, and between two times that it is.
const REPORT_AFTER: Duration = Duration::from_secs(10);
/// How long a question that a caller waits for may stay without a response.
pub(super) const OF_A_QUESTION: Duration = Duration::from_secs(30);

/// What failed since something succeeded last.
pub(super) struct RetryBudget<'t> {
    limit: Duration,
    last_success: Instant,
    failures: u64,
    on_waiting: &'t (dyn Fn(Waiting) + Sync),
    reported: Option<Instant>,
}

impl<'t> RetryBudget<'t> {
    /// `on_waiting` is called with what has been tried again for long.
    pub(super) fn new(limit: Duration, on_waiting: &'t (dyn Fn(Waiting) + Sync)) -> Self {
        Self {
            limit,
            last_success: Instant::now(),
            failures: 0,
            on_waiting,
            reported: None,
        }
    }

    /// Whether something succeeded at this time or later.
    pub(super) fn succeeded_since(&self, time: Instant) -> bool {
        self.last_success >= time
    }

    /// A request that was sent at this time has ended. While nothing fails, time in which none was sent does not count: the
    /// pass may have waited for its turn among others.
    pub(super) fn sent(&mut self, started: Instant) {
        if self.failures == 0 {
            self.last_success = self.last_success.max(started);
        }
    }

    pub(super) fn succeeded(&mut self) {
        self.last_success = Instant::now();
        self.failures = 0;
        self.reported = None;
    }

    /// # Errors
    /// [`RewriteError::RetriesExhausted`].
    pub(super) fn failed(
        &mut self,
        verb: Verb,
        resource: &str,
        failure: &Failure,
    ) -> Result<(), RewriteError> {
        self.failed_with(verb, resource, "", failure)
    }

    /// The same of a request about this object.
    ///
    /// # Errors
    /// [`RewriteError::RetriesExhausted`].
    pub(super) fn failed_with(
        &mut self,
        verb: Verb,
        resource: &str,
        object: &str,
        failure: &Failure,
    ) -> Result<(), RewriteError> {
        self.failures = self.failures.saturating_add(1);
        let since = self.last_success.elapsed();
        if since < self.limit {
            let reported = self.reported.unwrap_or(self.last_success);
            if reported.elapsed() >= REPORT_AFTER {
                self.reported = Some(Instant::now());
                (self.on_waiting)(Waiting {
                    verb,
                    resource: resource.into(),
                    object: object.into(),
                    attempts: self.failures,
                    since,
                    retry_budget: self.limit,
                    why: failure.why.clone(),
                });
            }
            return Ok(());
        }
        Err(RewriteError::RetriesExhausted {
            server: ServerName::default(),
            verb,
            resource: resource.into(),
            object: object.into(),
            budget: self.limit,
            attempts: self.failures,
            why: failure.why.clone(),
        })
    }

    /// Sends until `judge` finds a response to the point.
    ///
    /// # Errors
    /// Those of `judge`, and [`RewriteError::RetriesExhausted`].
    pub(super) async fn until_answered<T, S>(
        &mut self,
        verb: Verb,
        what: &str,
        send: impl Fn() -> S,
        judge: impl Fn(Response) -> Result<Result<T, Failure>, RewriteError>,
    ) -> Result<T, RewriteError>
    where
        S: Future<Output = Result<Response, Failure>>,
    {
        loop {
            let judged = match send().await {
                Ok(response) => judge(response)?,
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

    /// How long to wait after the failure that was reported last.
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
        let mut retries = RetryBudget::new(limit, &|_| ());
        tokio::time::advance(limit / 2).await;
        retries.failed(Verb::List, "secrets", &failure).unwrap();
        retries.succeeded();
        tokio::time::advance(limit / 2).await;
        retries.failed(Verb::List, "secrets", &failure).unwrap();
        tokio::time::advance(limit / 2).await;
        let error = retries
            .failed(Verb::Patch, "secrets", &failure)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the API server: no attempt to patch secrets succeeded for 10 s, in 2 attempts; the last one failed with: away"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_tried_for_long_is_told_with_the_object() {
        let reported = std::sync::Mutex::new(Vec::new());
        let on_waiting = |waiting: Waiting| reported.lock().unwrap().push(waiting.to_string());
        let failure = Failure::server("away");
        let mut retries = RetryBudget::new(Duration::from_secs(300), &on_waiting);
        for _ in 0..25 {
            tokio::time::advance(Duration::from_secs(1)).await;
            let failed = retries.failed_with(Verb::Patch, "secrets", "default/a", &failure);
            failed.unwrap();
        }
        let expected = "cannot patch secrets `default/a` for 10 s, in 10 attempts: away; tried again for up to 300 s";
        let reported = reported.lock().unwrap();
        assert_eq!((reported.len(), &*reported[0]), (2, expected));
    }
}
