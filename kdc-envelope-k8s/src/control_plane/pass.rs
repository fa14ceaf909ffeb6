//! A pass over the rows that runs beside its caller: a step of a change may not take as long as a pass does.

use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::ApplyError;
use crate::encryption_config::GroupResource;
use crate::rewrite::{Progress, RewriteOptions, RewriteReport, rewrite};

/// A pass in a task of its own. Dropping it ends the pass.
#[derive(Debug)]
pub(super) struct PassJob {
    task: JoinHandle<Result<RewriteReport, ApplyError>>,
    progress: watch::Receiver<Option<Progress>>,
    outcome: Option<Result<RewriteReport, ApplyError>>,
}

impl PassJob {
    /// Begins a pass over all that is served of `resources`. A resource whose definition was deleted has no objects left, but may
    /// still stand in the configuration: the report names it.
    pub(super) fn start(
        client: &Client,
        resources: &[GroupResource],
        options: &RewriteOptions,
    ) -> Self {
        let (sender, progress) = watch::channel(None);
        let (client, options) = (client.clone(), options.clone());
        let resources = resources.to_vec();
        let task = tokio::spawn(async move {
            let tell = |progress: &Progress| {
                sender.send_replace(Some(progress.clone()));
            };
            Ok(rewrite(&client, &resources, &options, &tell).await?)
        });
        Self {
            task,
            progress,
            outcome: None,
        }
    }

    /// How far it is; `None` until the first objects are there.
    pub(super) fn progress(&self) -> Option<Progress> {
        self.progress.borrow().clone()
    }

    pub(super) fn is_finished(&self) -> bool {
        self.outcome.is_some() || self.task.is_finished()
    }

    /// Waits for its end, and hands every progress to `tell` until then.
    pub(super) async fn follow(&mut self, tell: impl Fn(&Progress)) {
        while self.outcome.is_none() {
            tokio::select! {
                biased;
                Ok(()) = self.progress.changed() => {
                    if let Some(progress) = &*self.progress.borrow_and_update() {
                        tell(progress);
                    }
                }
                outcome = &mut self.task => {
                    self.outcome = Some(outcome.unwrap_or(Err(ApplyError::PassEnded)));
                }
            }
        }
    }

    /// What came of it, as soon as it is finished.
    pub(super) async fn outcome(mut self) -> Result<RewriteReport, ApplyError> {
        self.follow(|_| {}).await;
        self.outcome.take().unwrap_or(Err(ApplyError::PassEnded))
    }
}

impl Drop for PassJob {
    fn drop(&mut self) {
        self.task.abort();
    }
}
