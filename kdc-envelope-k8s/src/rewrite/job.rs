//! A pass beside other work, for a reconciler that must not wait for hours.

use core::fmt;

use kube::Client;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::error::RewriteError;
use super::options::RewriteOptions;
use super::progress::Progress;
use super::report::RewriteReport;
use super::rewrite;
use crate::encryption_config::GroupResource;

/// How a [`RewriteJob`] stands.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum JobStatus {
    /// It is under way.
    Running(Progress),
    /// It came to its end. Whether every row is current is in the report.
    Finished(RewriteReport),
    /// It ended early. Rows that it wrote stay written.
    Failed(RewriteError),
}

impl JobStatus {
    /// Whether nothing more will happen.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        !matches!(self, Self::Running(_))
    }
}

/// A [pass](super::rewrite()) on a task of its own. Dropping the job ends the pass at the next point where it waits, and with it
/// all its requests. Nothing is lost by that: another job finds the rows current that this one wrote, and goes on with the rest.
///
/// ```no_run
/// use kdc_envelope_k8s::GroupResource;
/// use kdc_envelope_k8s::rewrite::{JobStatus, RewriteJob, RewriteOptions};
///
/// # fn reconcile(client: kube::Client, kept: &mut Option<RewriteJob>) {
/// // At each reconciliation: begin, or look how far it is. Nothing here waits.
/// let job = kept.get_or_insert_with(|| {
///     let runtime = tokio::runtime::Handle::current();
///     let secrets = vec![GroupResource::new("secrets", "")];
///     RewriteJob::spawn(&runtime, client, secrets, RewriteOptions::default())
/// });
/// match job.status() {
///     JobStatus::Running(progress) => println!("{} objects so far", progress.done),
///     JobStatus::Finished(report) => println!("{} rows were stale", report.rewritten()),
///     JobStatus::Failed(error) => println!("{error}"),
///     _ => {}
/// }
/// # }
/// ```
pub struct RewriteJob {
    task: JoinHandle<()>,
    status: watch::Receiver<JobStatus>,
}

impl RewriteJob {
    /// Begins a pass over these resources, given as in an EncryptionConfiguration, on this runtime.
    #[must_use]
    pub fn spawn(
        runtime: &Handle,
        client: Client,
        resources: Vec<GroupResource>,
        options: RewriteOptions,
    ) -> Self {
        let before = JobStatus::Running(Progress::before(&resources));
        let (sender, status) = watch::channel(before);
        let task = runtime.spawn(async move {
            let progress = |progress: &Progress| {
                sender.send_replace(JobStatus::Running(progress.clone()));
            };
            let outcome = rewrite(&client, &resources, &options, &progress).await;
            sender.send_replace(match outcome {
                Ok(report) => JobStatus::Finished(report),
                Err(error) => JobStatus::Failed(error),
            });
        });
        Self { task, status }
    }

    /// How it stands now.
    #[must_use]
    pub fn status(&self) -> JobStatus {
        let status = self.status.borrow().clone();
        match self.status.has_changed() {
            // The task is gone, and did not say how it ended: its runtime shut down.
            Err(_) if !status.is_final() => JobStatus::Failed(RewriteError::Interrupted),
            _ => status,
        }
    }

    /// For those who want to be told of each change: at most five per second. The channel closes when the task ends.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<JobStatus> {
        self.status.clone()
    }

    /// Waits for the end. May be called again, and dropped without harm to the pass.
    ///
    /// # Errors
    /// Those of a [pass](super::rewrite()), and [`RewriteError::Interrupted`] if its runtime shut down.
    pub async fn finished(&mut self) -> Result<RewriteReport, RewriteError> {
        let last = self.status.wait_for(JobStatus::is_final).await;
        let last = last.map(|status| JobStatus::clone(&status));
        match last {
            Ok(JobStatus::Finished(report)) => Ok(report),
            Ok(JobStatus::Failed(error)) => Err(error),
            _ => Err(RewriteError::Interrupted),
        }
    }
}

impl fmt::Debug for RewriteJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RewriteJob")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl Drop for RewriteJob {
    fn drop(&mut self) {
        self.task.abort();
    }
}
