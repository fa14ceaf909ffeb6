//! The loop: until everything is as wished, or somebody is needed.

use core::time::Duration;

use super::{ApplyError, ControlPlane, Observation, ObserveError};
use crate::rewrite::{Progress, RewriteReport};
use crate::rotation::change::ChangeError;
use crate::rotation::{Action, Blocker, Change, Phase, Plan, Timestamp, plan};

/// Between two looks while there is nothing to do but wait.
const POLL: Duration = Duration::from_secs(2);
/// Passes over the rows that may refuse some before somebody is called: a row may be refused for a moment.
const PASSES: u32 = 3;

/// Who is told how it goes.
pub trait ChangeObserver: Sync {
    /// A plan was made.
    fn planned(&self, _plan: &Plan) {}
    /// This is about to be done.
    fn doing(&self, _action: &Action) {}
    /// Nothing can be done but wait for these.
    fn waiting(&self, _blockers: &[Blocker], _for: Duration) {}
    /// Rows are being rewritten.
    fn rewriting(&self, _progress: &Progress) {}
    /// A pass over the rows is complete.
    fn passed(&self, _report: &RewriteReport) {}
}

/// Nobody.
impl ChangeObserver for () {}

/// The change is not finished. What was done stays done; doing it again goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriveError {
    /// There is nothing to plan from.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// A step failed.
    #[error("cannot {action}")]
    Apply {
        /// The step.
        action: Box<str>,
        /// Why.
        source: Box<ApplyError>,
    },
    /// The change leads nowhere.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// Somebody must do something first.
    #[error("the change stops: {}", list(.0))]
    Stopped(Vec<Blocker>),
    /// What should pass by itself did not.
    #[error("after {} s still: {}", .waited.as_secs(), list(.blockers))]
    Patience {
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
    /// Makes the cluster as `change` says. Waits up to `patience` for anything that passes by itself, and for API servers that
    /// do not answer. Once it is done, that is noted in the state; what is put off until something else, such as a backup, is
    /// gone comes back as blockers.
    ///
    /// # Errors
    /// [`DriveError`].
    pub async fn drive(
        &self,
        change: &Change,
        patience: Duration,
        observer: &impl ChangeObserver,
    ) -> Result<Vec<Blocker>, DriveError> {
        let mut waiting = Waiting::default();
        let mut passes = 0;
        loop {
            let (observation, plan) = self.observe_and_plan(change).await?;
            observer.planned(&plan);
            if plan.phase == Phase::Done {
                self.note_done(change, observation.now)?;
                return Ok(plan.blockers);
            }
            if plan.actions.is_empty() {
                waiting.on(plan.blockers, observation.now, patience, observer)?;
                tokio::time::sleep(POLL).await;
                continue;
            }
            waiting = Waiting::default();
            let rows_refused = |blocker: &&Blocker| matches!(blocker, Blocker::RowsRefused(_));
            if plan.blockers.iter().any(|blocker| rows_refused(&blocker)) {
                passes += 1;
                if passes >= PASSES {
                    return Err(DriveError::Stopped(plan.blockers));
                }
            }
            for action in &plan.actions {
                observer.doing(action);
                let applied = self.apply(action, observer).await;
                applied.map_err(|source| DriveError::Apply {
                    action: action.to_string().into(),
                    source: Box::new(source),
                })?;
            }
        }
    }

    /// What is seen, and what the planner says to it.
    ///
    /// # Errors
    /// [`DriveError`].
    pub async fn observe_and_plan(
        &self,
        change: &Change,
    ) -> Result<(Observation, Plan), DriveError> {
        let observation = self.observe().await?;
        let desired = change.desired(&observation.transformers())?;
        let plan = plan(&observation.observed, &desired, observation.now);
        Ok((observation, plan))
    }

    fn note_done(&self, change: &Change, now: Timestamp) -> Result<(), ObserveError> {
        let done = Change {
            done: Some(now.as_secs()),
            ..change.clone()
        };
        Ok(self.state.save_change(&done)?)
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
        patience: Duration,
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
        if waited >= patience {
            return Err(DriveError::Patience { blockers, waited });
        }
        observer.waiting(&blockers, waited);
        Ok(())
    }
}
