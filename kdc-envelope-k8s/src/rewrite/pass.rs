//! A pass over one resource: one page of names at a time, and a bounded number of patches in flight.
//!
//! All requests belong to one future. Dropping it ends them, and loses nothing: the state of a pass is the rows.

use core::time::Duration;
use std::collections::VecDeque;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};

use super::budget::RequestBudget;
use super::error::{RewriteError, Verb};
use super::listing::Listing;
use super::options::RewriteOptions;
use super::pacer::{Pacer, Permit, Signal};
use super::report::{MAX_REFUSALS, RejectedObject, ResourceReport, place};
use super::resolve::{Object, ServedResource};
use super::response::{Failure, FailureKind, Listed, Response, Verdict, judge_list, judge_patch};
use super::retry_budget::{RetryBudget, pause};
use super::transport::{PatchForm, Transport};
use crate::cluster::ServerName;

/// How often an object is tried whose failures may be its own.
const MAX_TRIES: u32 = 5;
/// How often, and how long, an object is tried whose failures seem to be the server's, while others succeed.
const MAX_SERVER_TRIES: u32 = 10;
const LONGEST_ALONE: Duration = Duration::from_secs(45);
/// Says an API server of a form of patch that a resource has not.
const UNSUPPORTED_MEDIA_TYPE: u16 = 415;

/// What the passes over all resources share.
pub(super) struct Shared<'a> {
    pub(super) transport: &'a Transport,
    pub(super) options: &'a RewriteOptions,
    pub(super) pacer: Pacer,
    pub(super) retries: RetryBudget<'a>,
}

/// One resource at work.
struct Pass<'a, 's> {
    shared: &'s mut Shared<'a>,
    resource: &'s ServedResource,
    name: Box<str>,
    report: ResourceReport,
    /// Of the patches that start now.
    form: PatchForm,
    listing: Listing,
    /// Objects of the page that came last.
    ready: VecDeque<Task>,
    /// Those to be tried again, at their times.
    waiting: Vec<(Instant, Task)>,
}

/// Something to be asked about an object.
struct Task {
    object: Object,
    tries: u32,
    /// When the first try failed.
    failing_since: Option<Instant>,
    question: Question,
}

enum Question {
    /// Is its row current? If not, it is afterwards.
    Patch,
    /// Is it still as it was listed? If so, it is refused for this reason.
    Probe(Box<str>),
}

/// A task that came back.
struct Done {
    task: Task,
    /// What a patch was sent as.
    form: PatchForm,
    started: Instant,
    ended: Instant,
    response: Result<Response, Failure>,
}

/// Passes over one resource. `on_progress` is called after every change of the report, with the estimate of all objects.
pub(super) async fn pass(
    shared: &mut Shared<'_>,
    resource: &ServedResource,
    mut on_progress: impl FnMut(&ResourceReport, Option<u64>),
) -> Result<ResourceReport, RewriteError> {
    let (transport, options) = (shared.transport, shared.options);
    let budget = options.budget.as_ref();
    let page_size = shared.options.page_size.get();
    let mut pass = Pass {
        shared,
        resource,
        name: resource.resource.to_string().into(),
        report: ResourceReport::new(resource.resource.clone()),
        form: PatchForm::first_for(resource.resource.group()),
        listing: Listing::new(page_size, Instant::now()),
        ready: VecDeque::new(),
        waiting: Vec::new(),
    };
    let mut tasks = FuturesUnordered::new();
    let mut pages = FuturesUnordered::new();
    loop {
        let mut wake = None;
        while let Some(task) = pass.next_task(&mut wake) {
            tasks.push(ask(transport, resource, options, pass.form, task));
        }
        if pages.is_empty() && pass.wants_page(&mut wake) {
            let (limit, token) = pass.listing.request();
            pages.push(async move {
                let _turn = turn(budget).await;
                let started = Instant::now();
                let response = transport.list(resource, limit, token.as_deref()).await;
                (started, response)
            });
        }
        if tasks.is_empty() && pages.is_empty() && wake.is_none() {
            return Ok(pass.report);
        }
        tokio::select! {
            Some(done) = tasks.next(), if !tasks.is_empty() => pass.settle(done)?,
            Some((started, response)) = pages.next(), if !pages.is_empty() => {
                pass.turn_page(started, response)?;
            }
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
        }
        on_progress(&pass.report, pass.listing.total);
    }
}

async fn ask(
    transport: &Transport,
    resource: &ServedResource,
    options: &RewriteOptions,
    form: PatchForm,
    task: Task,
) -> Done {
    // To wait for others says nothing of this API server, so the time begins after it.
    let _turn = turn(options.budget.as_ref()).await;
    let started = Instant::now();
    let response = match task.question {
        Question::Patch => {
            let object = &task.object;
            let field_manager = &*options.field_manager;
            transport.patch(resource, object, form, field_manager).await
        }
        Question::Probe(_) => transport.probe(resource, &task.object).await,
    };
    Done {
        task,
        form,
        started,
        ended: Instant::now(),
        response,
    }
}

/// A turn among all passes that share the budget.
async fn turn(budget: Option<&RequestBudget>) -> Option<OwnedSemaphorePermit> {
    budget?.turn().await
}

impl Pass<'_, '_> {
    /// A task that may start now. If there is none yet, `wake` says when there may be.
    fn next_task(&mut self, wake: &mut Option<Instant>) -> Option<Task> {
        let now = Instant::now();
        let due = self.waiting.iter().map(|(due, _)| *due).min();
        let is_retry = due.is_some_and(|due| due <= now);
        // Objects whose tries fail must not pile up.
        let most = self.shared.options.page_size.get();
        let has_room = u32::try_from(self.waiting.len()).is_ok_and(|waiting| waiting < most);
        if !is_retry && (self.ready.is_empty() || !has_room) {
            *wake = earlier(*wake, due);
            return None;
        }
        match self.shared.pacer.permit(now) {
            Permit::Now => {}
            Permit::At(time) => {
                *wake = earlier(*wake, Some(time));
                return None;
            }
            Permit::AfterAnother => return None,
        }
        self.shared.pacer.start(now);
        if is_retry {
            let place = self.waiting.iter().position(|(due, _)| *due <= now)?;
            return Some(self.waiting.swap_remove(place).1);
        }
        self.ready.pop_front()
    }

    /// Whether the next page is wanted now: when half of the last one is used up.
    fn wants_page(&self, wake: &mut Option<Instant>) -> bool {
        let half = usize::try_from(self.shared.options.page_size.get() / 2).unwrap_or(usize::MAX);
        if self.listing.is_finished() || self.ready.len() > half {
            return false;
        }
        let due = self.listing.due.max(self.shared.pacer.paused_until());
        if Instant::now() >= due {
            return true;
        }
        *wake = earlier(*wake, Some(due));
        false
    }

    /// Takes a task back.
    fn settle(&mut self, done: Done) -> Result<(), RewriteError> {
        let Done {
            task,
            form,
            started,
            ended,
            response,
        } = done;
        let response = match response {
            Ok(response) => response,
            Err(failure) => return self.fail(task, started, ended, failure),
        };
        let Question::Probe(why) = &task.question else {
            if form == PatchForm::Strategic && response.status == UNSUPPORTED_MEDIA_TYPE {
                self.form = PatchForm::Merge;
                self.waiting.push((ended, task));
                self.shared.pacer.end(started, ended, Signal::Neutral);
                return Ok(());
            }
            let verdict = judge_patch(&task.object, &response);
            return self.settle_patch(task, started, ended, verdict);
        };
        let why = why.clone();
        match judge_list(&self.resource.resource, &response) {
            Ok(Listed::Failed(failure)) => return self.fail(task, started, ended, failure),
            Ok(Listed::Page(page)) if page.objects.contains(&task.object) => {
                self.refuse(task.object, why);
            }
            Ok(Listed::Page(_)) => self.report.changed_concurrently += 1,
            Ok(Listed::Expired(_) | Listed::Unreadable(_))
            | Err(RewriteError::Unexpected { .. }) => self.refuse(task.object, why),
            Err(error) => return Err(error),
        }
        self.report.objects += 1;
        self.shared.pacer.end(started, ended, Signal::Neutral);
        Ok(())
    }

    fn settle_patch(
        &mut self,
        mut task: Task,
        started: Instant,
        ended: Instant,
        verdict: Verdict,
    ) -> Result<(), RewriteError> {
        let mut signal = Signal::Neutral;
        match verdict {
            Verdict::Rewritten | Verdict::Current => {
                signal = Signal::Answered(ended - started);
                if verdict == Verdict::Rewritten {
                    self.report.rewritten += 1;
                } else {
                    self.report.current += 1;
                }
            }
            Verdict::Refused(why) => self.refuse(task.object, why),
            Verdict::Changed(why) => {
                task.question = Question::Probe(why);
                self.waiting.push((ended, task));
                self.shared.pacer.end(started, ended, signal);
                return Ok(());
            }
            Verdict::Denied { status, why } => {
                return Err(RewriteError::Denied {
                    server: self.server(),
                    verb: Verb::Patch,
                    resource: self.name.clone(),
                    status,
                    why,
                });
            }
            Verdict::Storage(why, advice) => {
                return Err(RewriteError::Storage {
                    server: self.server(),
                    verb: Verb::Patch,
                    resource: self.name.clone(),
                    why,
                    advice,
                });
            }
            Verdict::Failed(failure) => return self.fail(task, started, ended, failure),
        }
        self.report.objects += 1;
        self.shared.retries.succeeded();
        self.shared.pacer.end(started, ended, signal);
        Ok(())
    }

    /// Puts a task off, or asks another question if this one was asked often enough.
    fn fail(
        &mut self,
        mut task: Task,
        started: Instant,
        ended: Instant,
        failure: Failure,
    ) -> Result<(), RewriteError> {
        let signal = match failure.kind {
            FailureKind::Busy(wait) => Signal::Busy(wait),
            FailureKind::Server | FailureKind::Timeout => Signal::Broken,
            FailureKind::Request => Signal::Neutral,
        };
        self.shared.pacer.end(started, ended, signal);
        let verb = match task.question {
            Question::Patch => Verb::Patch,
            Question::Probe(_) => Verb::List,
        };
        let object = place(&task.object.namespace, &task.object.name);
        let retries = &mut self.shared.retries;
        retries.sent(started);
        retries.failed_with(verb, &self.name, &object, &failure)?;
        task.tries = task.tries.saturating_add(1);
        let since = *task.failing_since.get_or_insert(ended);
        let due = match failure.kind {
            // The pacer makes everything wait.
            FailureKind::Busy(_) => ended,
            _ => ended + pause(task.tries),
        };
        let is_own = match failure.kind {
            FailureKind::Request | FailureKind::Timeout => task.tries >= MAX_TRIES,
            // Others were answered meanwhile, again and again.
            FailureKind::Busy(_) | FailureKind::Server => {
                task.tries >= MAX_SERVER_TRIES
                    && ended.duration_since(since) >= LONGEST_ALONE
                    && self.shared.retries.succeeded_since(since)
            }
        };
        if is_own {
            let Question::Probe(why) = task.question else {
                task.question = Question::Probe(failure.why);
                (task.tries, task.failing_since) = (0, None);
                self.waiting.push((due, task));
                return Ok(());
            };
            self.refuse(task.object, why);
            self.report.objects += 1;
            return Ok(());
        }
        self.waiting.push((due, task));
        Ok(())
    }

    fn server(&self) -> ServerName {
        self.shared.transport.server()
    }

    fn refuse(&mut self, object: Object, why: Box<str>) {
        self.report.refused += 1;
        if self.report.refusals.len() < MAX_REFUSALS {
            self.report.refusals.push(RejectedObject {
                namespace: object.namespace,
                name: object.name,
                why,
            });
        }
    }

    /// Takes the response to a list.
    fn turn_page(
        &mut self,
        started: Instant,
        response: Result<Response, Failure>,
    ) -> Result<(), RewriteError> {
        self.shared.retries.sent(started);
        let now = Instant::now();
        let listed = match response {
            Ok(response) => judge_list(&self.resource.resource, &response)?,
            Err(failure) => Listed::Failed(failure),
        };
        match listed {
            Listed::Page(page) => {
                self.shared.retries.succeeded();
                let objects = self.listing.take(page).into_iter().map(|object| Task {
                    object,
                    tries: 0,
                    failing_since: None,
                    question: Question::Patch,
                });
                self.ready.extend(objects);
                Ok(())
            }
            Listed::Expired(Some(token)) => {
                self.listing.go_on(token);
                let failure = Failure::server("the continue token expired");
                let retries = &mut self.shared.retries;
                retries.failed(Verb::List, &self.name, &failure)?;
                self.listing.due = now + retries.pause(&failure);
                Ok(())
            }
            Listed::Expired(None) => self.start_over(),
            Listed::Unreadable(why) => {
                if !self.listing.may_become_readable() {
                    let resource = self.resource.resource.clone();
                    let server = self.server();
                    return Err(RewriteError::Unreadable {
                        server,
                        resource,
                        why,
                    });
                }
                self.listing.due = now + pause(self.listing.unreadable());
                Ok(())
            }
            Listed::Failed(failure) => {
                let wait = match failure.kind {
                    FailureKind::Busy(wait) => wait,
                    _ => None,
                };
                self.shared.pacer.pause(now, wait);
                self.shared
                    .retries
                    .failed(Verb::List, &self.name, &failure)?;
                self.listing.due = now + self.shared.retries.pause(&failure);
                Ok(())
            }
        }
    }

    /// What was refused will be listed again; what was done may be, and is current then.
    fn start_over(&mut self) -> Result<(), RewriteError> {
        if !self.listing.start_over() {
            return Err(RewriteError::Expired {
                server: self.server(),
                resource: self.resource.resource.clone(),
                times: self.listing.restarts,
            });
        }
        self.ready.clear();
        self.report.restarts = self.listing.restarts;
        self.report.objects -= self.report.refused;
        self.report.refused = 0;
        self.report.refusals.clear();
        Ok(())
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        _ => one.or(other),
    }
}

/// Keeps calls of `progress` apart by this much.
pub(super) const REPORT_EVERY: Duration = Duration::from_millis(200);
