//! The loop over [steps](super::Step): until everything is as requested, or an operator is needed.

use core::time::Duration;

use super::ControlPlane;
use super::step::{ChangeObserver, ChangeRun, Outcome, Step, StepError};
use crate::rotation::{Blocker, Change, Timestamp};

/// The change is not finished. What was done stays done; doing it again goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriveError {
    /// A step failed.
    #[error(transparent)]
    Step(#[from] StepError),
    /// An operator must do something first.
    #[error("the change stops: {}", list(.0))]
    Stopped(Vec<Blocker>),
    /// What should pass by itself did not.
    #[error("after {} s still: {}", .waited.as_secs(), list(.blockers))]
    TimedOut {
        /// What stands in the way.
        blockers: Vec<Blocker>,
        /// How long it was waited for.
        waited: Duration,
    },
}

fn list(blockers: &[Blocker]) -> String {
    let words: Vec<_> = blockers.iter().map(ToString::to_string).collect();
    words.join("; ")
}

impl ControlPlane {
    /// Carries out `change`. Waits up to `timeout` for anything that passes by itself, and for API servers that do not answer.
    /// Once it is done, that is noted in the store. Dropping the future ends it between two files, or in the middle of a pass.
    ///
    /// # Errors
    /// [`DriveError`].
    pub async fn drive(
        &self,
        change: &Change,
        timeout: Duration,
        observer: &impl ChangeObserver,
    ) -> Result<Outcome, DriveError> {
        let mut run = ChangeRun::new(change.clone());
        let mut waiting = Waiting::default();
        loop {
            match self.step(&mut run, observer).await? {
                Step::Done(outcome) => return Ok(outcome),
                Step::Acted { .. } => waiting = Waiting::default(),
                Step::Rewriting { .. } => run.follow_pass(observer).await,
                Step::Waiting {
                    blockers,
                    retry_after,
                    ..
                } => {
                    waiting.on(blockers, self.clock.now(), timeout, observer)?;
                    tokio::time::sleep(retry_after).await;
                }
            }
        }
    }
}

/// Since when there has been nothing to do.
#[derive(Default)]
struct Waiting {
    since: Option<Timestamp>,
}

impl Waiting {
    fn on(
        &mut self,
        blockers: Vec<Blocker>,
        now: Timestamp,
        timeout: Duration,
        observer: &impl ChangeObserver,
    ) -> Result<(), DriveError> {
        let since = *self.since.get_or_insert(now);
        let waited = Duration::from_secs(now.as_secs().saturating_sub(since.as_secs()));
        // A server that restarts does not answer for some seconds.
        let passes = |blocker: &Blocker| {
            blocker.passes_by_itself()
                || matches!(
                    blocker,
                    Blocker::Unaskable { .. }
                        | Blocker::UnknownConfig { .. }
                        | Blocker::KeyIdUnknown { .. }
                )
        };
        if !blockers.iter().all(passes) {
            return Err(DriveError::Stopped(blockers));
        }
        if waited >= timeout {
            return Err(DriveError::TimedOut { blockers, waited });
        }
        observer.waiting(&blockers, waited);
        Ok(())
    }
}
