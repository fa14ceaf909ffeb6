//! One step of a change: one observation, one plan, its actions. A controller takes one with each reconcile.

use core::time::Duration;

use tokio::runtime::Handle;

use super::ports::{PortError, Update};
use super::{ApplyError, ControlPlane, Observation, ObserveError};
use crate::encryption_config::GroupResource;
use crate::rewrite::{JobStatus, Progress, RewriteJob, RewriteReport};
use crate::rotation::{Action, Blocker, Change, Phase, Plan, Timestamp, UnknownWriter, plan};

/// Between two observations while something may happen at any moment.
const POLL: Duration = Duration::from_secs(2);
/// The longest time between two observations.
const LONGEST: Duration = Duration::from_secs(30);
/// Passes over the rows that may refuse some before an operator is needed: a row may be refused for a moment.
const PASSES: u32 = 3;
/// Before a pass is tried again after that.
const AFTER_REFUSALS: Duration = Duration::from_secs(600);

/// Follows a change while it is carried out. Every method may do nothing.
pub trait ChangeObserver: Sync {
    /// A plan was made.
    fn planned(&self, _plan: &Plan) {}
    /// This is about to be done.
    fn doing(&self, _action: &Action) {}
    /// Nothing can be done but wait for these. `_waited` is how long that has been so.
    fn waiting(&self, _blockers: &[Blocker], _waited: Duration) {}
    /// Rows are being rewritten.
    fn rewriting(&self, _progress: &Progress) {}
    /// A pass over the rows is complete.
    fn passed(&self, _report: &RewriteReport) {}
}

/// Follows nothing.
impl ChangeObserver for () {}

/// What a step came to.
#[derive(Debug)]
#[non_exhaustive]
pub enum Step {
    /// Something was done; the next step may follow at once.
    Acted {
        /// The phase in which it was done.
        phase: Phase,
        /// What was done, or begun in the case of a pass over the rows.
        actions: Vec<Action>,
    },
    /// A pass over the rows is running.
    Rewriting {
        /// How far it is.
        progress: Progress,
        /// When to take the next step.
        retry_after: Duration,
    },
    /// Nothing can be done yet.
    Waiting {
        /// The phase that waits.
        phase: Phase,
        /// For what. An operator is needed unless [`Blocker::passes_by_itself`] holds for all of them.
        blockers: Vec<Blocker>,
        /// When to take the next step.
        retry_after: Duration,
    },
    /// Everything is as requested.
    Done(Outcome),
}

/// How a change ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Outcome {
    /// What is put off until something else, such as a backup, is gone.
    pub blockers: Vec<Blocker>,
    /// Whether retained backups were asked which keys they need. If not, keys that only they need may be gone from the
    /// configurations.
    pub are_backups_asked: bool,
}

/// A step failed. What was done stays done; the next step goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// There is nothing to plan from.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// An action failed.
    #[error("cannot {action}")]
    Apply {
        /// The action.
        action: Box<str>,
        /// Why.
        source: Box<ApplyError>,
    },
    /// The change names a writer that is not there.
    #[error(transparent)]
    Change(#[from] UnknownWriter),
}

impl From<PortError> for StepError {
    fn from(error: PortError) -> Self {
        Self::Observe(error.into())
    }
}

/// A change that is being carried out, with what must be remembered from one step to the next: the pass over the rows that is
/// running. Dropping it ends that pass; the next run begins it again.
#[derive(Debug)]
pub struct ChangeRun {
    change: Change,
    pass: Option<RunningPass>,
    /// Passes in a row after which rows were left that were refused.
    refused: u32,
}

#[derive(Debug)]
struct RunningPass {
    action: Action,
    phase: Phase,
    job: RewriteJob,
}

impl ChangeRun {
    /// A run that has taken no step yet.
    #[must_use]
    pub const fn new(change: Change) -> Self {
        Self {
            change,
            pass: None,
            refused: 0,
        }
    }

    /// The change.
    #[must_use]
    pub const fn change(&self) -> &Change {
        &self.change
    }

    /// Waits for the end of the pass that is running, if there is one, and tells `observer` how far it is.
    pub async fn follow_pass(&mut self, observer: &impl ChangeObserver) {
        let Some(pass) = &self.pass else {
            return;
        };
        let mut status = pass.job.watch();
        while status.changed().await.is_ok() {
            match &*status.borrow_and_update() {
                JobStatus::Running(progress) => observer.rewriting(progress),
                _ => return,
            }
        }
    }
}

impl ControlPlane {
    /// Takes one step of `run`. Returns soon: a pass over the rows is begun and goes on by itself, and nothing is waited for.
    ///
    /// # Errors
    /// [`StepError`]. The next step observes anew and goes on.
    pub async fn step(
        &self,
        run: &mut ChangeRun,
        observer: &impl ChangeObserver,
    ) -> Result<Step, StepError> {
        if let Some(pass) = run.pass.take() {
            let JobStatus::Running(progress) = pass.job.status() else {
                return self.end_pass(pass, observer).await;
            };
            run.pass = Some(pass);
            return Ok(Step::Rewriting {
                progress,
                retry_after: LONGEST,
            });
        }
        let (mut observation, plan) = self.observe_and_plan(&run.change).await?;
        observer.planned(&plan);
        if plan.phase == Phase::Done {
            self.note_done(&run.change, &observation).await?;
            return Ok(Step::Done(Outcome {
                blockers: plan.blockers,
                are_backups_asked: observation.observed.retained.is_asked(),
            }));
        }
        if plan.actions.is_empty() {
            return Ok(waiting(plan, observation.now));
        }
        if plan
            .blockers
            .iter()
            .any(|blocker| matches!(blocker, Blocker::RowsRefused(_)))
        {
            run.refused += 1;
            if run.refused >= PASSES {
                run.refused = 0;
                return Ok(Step::Waiting {
                    phase: plan.phase,
                    blockers: plan.blockers,
                    retry_after: AFTER_REFUSALS,
                });
            }
        }
        for action in &plan.actions {
            observer.doing(action);
            if let Action::Rewrite { resources, .. } | Action::Verify { resources, .. } = action {
                run.pass = Some(RunningPass {
                    action: action.clone(),
                    phase: plan.phase,
                    job: self.begin_pass(resources),
                });
            } else {
                let applied = self.apply(action, &mut observation.stored).await;
                applied.map_err(|source| failed(action, source))?;
            }
        }
        Ok(Step::Acted {
            phase: plan.phase,
            actions: plan.actions,
        })
    }

    /// What is observed, and what the planner says to it. Backups are asked only when something may leave a configuration.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn observe_and_plan(
        &self,
        change: &Change,
    ) -> Result<(Observation, Plan), StepError> {
        let mut observation = self.observe().await?;
        let desired = change.desired(&observation.transformers())?;
        let first = plan(&observation.observed, &desired, observation.now);
        let may_prune = first.phase == Phase::Done
            || (first.phase == Phase::Pruning && !first.actions.is_empty());
        if !may_prune || self.backups.is_none() {
            return Ok((observation, first));
        }
        self.ask_backups(&mut observation).await?;
        let plan = plan(&observation.observed, &desired, observation.now);
        Ok((observation, plan))
    }

    fn begin_pass(&self, resources: &[GroupResource]) -> RewriteJob {
        let (client, options) = (self.client.clone(), self.rewrite.clone());
        RewriteJob::spawn(&Handle::current(), client, resources.to_vec(), options)
    }

    async fn end_pass(
        &self,
        pass: RunningPass,
        observer: &impl ChangeObserver,
    ) -> Result<Step, StepError> {
        let RunningPass {
            action,
            phase,
            mut job,
        } = pass;
        let ended = async {
            let report = job.finished().await?;
            observer.passed(&report);
            self.note_pass(&action, &report).await
        };
        ended.await.map_err(|source| failed(&action, source))?;
        Ok(Step::Acted {
            phase,
            actions: vec![action],
        })
    }

    /// Notes that everything is as `change` has it.
    async fn note_done(&self, change: &Change, observation: &Observation) -> Result<(), StepError> {
        let done = Change {
            done: Some(observation.now.as_secs()),
            ..change.clone()
        };
        let update = Update {
            change: Some(&done),
            ..Update::default()
        };
        self.store
            .save(&observation.stored.version, &update)
            .await?;
        Ok(())
    }
}

fn failed(action: &Action, source: ApplyError) -> StepError {
    StepError::Apply {
        action: action.to_string().into(),
        source: Box::new(source),
    }
}

/// A time that is known is waited for, but for a while only: whatever else may happen meanwhile.
fn waiting(plan: Plan, now: Timestamp) -> Step {
    let until = |blocker: &Blocker| match blocker {
        Blocker::KeyIdNew { until, .. } => Some(until.as_secs()),
        _ => None,
    };
    let times: Option<Vec<u64>> = plan.blockers.iter().map(until).collect();
    let latest = times.and_then(|times| times.into_iter().max());
    let left = latest.map_or(0, |latest| latest.saturating_sub(now.as_secs()));
    Step::Waiting {
        phase: plan.phase,
        blockers: plan.blockers,
        retry_after: Duration::from_secs(left).clamp(POLL, LONGEST),
    }
}
