//! Rewriting every row of a resource through an API server, and proof that none is left.
//!
//! A pass sends every object a patch that names its uid and resourceVersion and changes nothing, and asks for
//! the metadata alone in return, so that no object travels, in either direction. It is a strategic merge patch, which costs
//! kube-apiserver much less with large objects, and a JSON merge patch for resources that do not have the former: custom
//! ones. kube-apiserver leaves the row as it is, unless it is stale: not written by the first provider, or under an older
//! KMS key id (`GuaranteedUpdate` in `k8s.io/apiserver/pkg/storage/etcd3`). Then it writes the row anew, and the
//! resourceVersion changes. One that did not change proves that the row was current.
//!
//! So [`rewrite`] is both passes of a rotation: the first one rewrites, and a second one that finds `rewritten` 0 has
//! verified. What is current is so for the API servers that answered. That all of them use one configuration must be known
//! before ([`rotation`](crate::rotation)).
//!
//! An object that another client wrote after it was listed is current too, since every server writes with the new key: its
//! patch ends in a conflict, which is looked into. Nothing is stored about a pass. One that was interrupted is begun again,
//! and costs little where rows are current.
//!
//! Rights that it needs, cluster-wide: `list` and `patch` on the resources, and `list` on
//! `apiservices.apiregistration.k8s.io` if any of them is outside the core group.
//!
//! [`hand_over`] leaves the first of the two passes to kube-controller-manager.
//!
//! The pace is set by how the API server answers, and failures that may pass are borne for
//! [`RewriteOptions::retry_budget`]. A client made with [`kube::Config::default_retry`] off lets the pass see that the server
//! is busy; with it on, the client waits by itself, and the pass adapts less well.

mod budget;
mod count;
mod discovery;
mod error;
mod hand_over;
mod job;
mod lasting;
mod listing;
mod options;
mod pacer;
mod pass;
mod progress;
mod report;
mod resolve;
mod response;
mod retry_budget;
mod transport;

use std::sync::{Mutex, PoisonError};

use kube::Client;
use tokio::time::Instant;
use tracing::{Instrument as _, info, info_span, warn};

pub use budget::RequestBudget;
pub use count::count;
pub use error::{RewriteError, Verb};
pub use hand_over::{Migrated, hand_over};
pub use job::{JobStatus, RewriteJob};
pub use options::RewriteOptions;
pub use progress::{Progress, Waiting};
pub use report::{
    Count, MAX_REFUSALS, RejectedObject, ResourceCount, ResourceReport, RewriteReport, SkipReason,
    Skipped,
};
pub use resolve::{Resolution, ServedResource};

use crate::encryption_config::GroupResource;
use pacer::Pacer;
use pass::{REPORT_EVERY, Shared};
use retry_budget::{OF_A_QUESTION, RetryBudget};
use transport::Transport;

/// Passes over every object of these resources, given as in an EncryptionConfiguration: names and wildcards. See the
/// [module](self).
///
/// `progress` is called from this future, which waits for it. Dropping the future ends the pass at once; rows are written
/// whole or not at all.
///
/// # Errors
/// [`RewriteError`]: when the pass cannot go on. What a single object refuses is no error but in the report; look at
/// [`RewriteReport::is_complete`]. Nor is a name under which nothing is served, as a configuration may name what is not
/// installed yet: it is in [`RewriteReport::skipped`].
pub async fn rewrite(
    client: &Client,
    resources: &[GroupResource],
    options: &RewriteOptions,
    progress: &(dyn Fn(&Progress) + Sync),
) -> Result<RewriteReport, RewriteError> {
    let transport = Transport::new(client, options.request_timeout);
    let run = Run {
        transport: &transport,
        options,
        reported: Mutex::new(Progress::before(resources)),
        progress,
    };
    let span = info_span!("rewrite", names = resources.len());
    let report = run.pass_over(resources).instrument(span.clone()).await;
    let report = report.map_err(|error| error.at(&transport.server()));
    span.in_scope(|| match &report {
        Ok(report) => info!(
            objects = report.objects(),
            rewritten = report.rewritten(),
            refused = report.refused(),
            "the pass is finished"
        ),
        Err(error) => warn!(%error, "the pass ended early"),
    });
    report
}

/// A pass over all resources.
struct Run<'a> {
    transport: &'a Transport,
    options: &'a RewriteOptions,
    /// How far it is.
    reported: Mutex<Progress>,
    progress: &'a (dyn Fn(&Progress) + Sync),
}

impl Run<'_> {
    async fn pass_over(&self, resources: &[GroupResource]) -> Result<RewriteReport, RewriteError> {
        let start = Instant::now();
        let wait = |waiting| self.wait(waiting);
        let mut retries = RetryBudget::new(self.options.retry_budget, &wait);
        let resolution = find(self.transport, &mut retries, resources).await?;
        let (most, rate) = (self.options.max_in_flight, self.options.max_per_second);
        let mut shared = Shared {
            transport: self.transport,
            options: self.options,
            pacer: Pacer::new(most, rate, start),
            retries,
        };
        let mut report = RewriteReport {
            skipped: resolution.skipped,
            ..RewriteReport::default()
        };
        let count = resolution.resources.len();
        for (index, resource) in resolution.resources.iter().enumerate() {
            match self.pass(&mut shared, resource, (index, count)).await {
                Ok(finished) => report.resources.push(finished),
                // Its definition was deleted meanwhile, or no longer has this version.
                Err(RewriteError::NoSuchResource { resource }) => {
                    let again = [resource];
                    let again = find(self.transport, &mut shared.retries, &again).await?;
                    report.skipped.extend(again.skipped);
                    for resource in &again.resources {
                        let finished = self.pass(&mut shared, resource, (index, count)).await?;
                        report.resources.push(finished);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        (report.bytes_sent, report.bytes_received) = self.transport.bytes();
        report.elapsed = start.elapsed();
        Ok(report)
    }

    /// Over the resource with this index, of so many.
    async fn pass(
        &self,
        shared: &mut Shared<'_>,
        resource: &ServedResource,
        (index, count): (usize, usize),
    ) -> Result<ResourceReport, RewriteError> {
        let start = Instant::now();
        let mut reported = start;
        let picture = |report: &ResourceReport, total, done| Progress {
            resource: report.resource.clone(),
            resources_done: if done { index + 1 } else { index },
            resources: count,
            done: report.objects,
            total,
            rewritten: report.rewritten,
            changed_concurrently: report.changed_concurrently,
            refused: report.refused,
            per_second: per_second(report.objects, start),
            waiting: None,
        };
        let mut estimate = None;
        let span = info_span!("rewrite_resource", resource = %resource.resource);
        let finished = pass::pass(shared, resource, |report, total| {
            estimate = total;
            if reported.elapsed() >= REPORT_EVERY {
                self.report_progress(picture(report, total, false));
                reported = Instant::now();
            }
        })
        .instrument(span.clone())
        .await?;
        span.in_scope(|| {
            info!(
                objects = finished.objects,
                rewritten = finished.rewritten,
                refused = finished.refused,
                "the resource is finished"
            );
        });
        self.report_progress(picture(&finished, estimate, true));
        Ok(finished)
    }

    fn report_progress(&self, progress: Progress) {
        (self.progress)(&progress);
        *self.reported.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }

    /// The last progress again, with what is waited for.
    fn wait(&self, waiting: Waiting) {
        let reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let mut progress = reported.clone();
        drop(reported);
        warn!(%waiting, "nothing succeeds");
        progress.waiting = Some(waiting);
        (self.progress)(&progress);
    }
}

/// What these names and wildcards stand for on this API server.
///
/// # Errors
/// [`RewriteError`]: the server does not answer within half a minute, or not to this user. A name under which nothing is served
/// is in [`Resolution::skipped`].
pub async fn resolve(
    client: &Client,
    resources: &[GroupResource],
) -> Result<Resolution, RewriteError> {
    let options = RewriteOptions::default();
    let transport = Transport::new(client, options.request_timeout);
    let mut retries = RetryBudget::new(OF_A_QUESTION, &|_| ());
    let found = find(&transport, &mut retries, resources).await;
    found.map_err(|error| error.at(&transport.server()))
}

async fn find(
    transport: &Transport,
    retries: &mut RetryBudget<'_>,
    resources: &[GroupResource],
) -> Result<Resolution, RewriteError> {
    let groups = discovery::discover(transport, retries, resources).await?;
    Ok(resolve::resolve_in(&groups, resources))
}

fn per_second(objects: u64, start: Instant) -> f64 {
    let objects = u32::try_from(objects).map_or_else(|_| f64::from(u32::MAX), f64::from);
    let seconds = start.elapsed().as_secs_f64();
    if seconds > 0.0 {
        objects / seconds
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests;
