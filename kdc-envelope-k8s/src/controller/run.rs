//! The loop of a controller.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::time::Duration;
use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use kdc_envelope::ErrorChain;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::objects::{Object, Written};
use super::queue::Queue;
use super::store::{AnyStore, Follower};
use super::{ControllerMetrics, ErrorKind, ObjectKey, Objects, ReconcileError, Store, backoff};

/// How long until a run looks again for writes that the watch has not brought yet.
const UNSEEN_WAIT: Duration = Duration::from_millis(200);
/// After how long unseen writes are complained about.
const UNSEEN_WARNING: Duration = Duration::from_secs(30);

/// When an object is looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third way")]
pub enum Next {
    /// After this time, or when something changes before.
    After(Duration),
    /// When something changes.
    OnChange,
}

/// Brings objects nearer to what is wanted.
#[async_trait]
pub trait Reconciler: Send + Sync + 'static {
    /// Looks at one object, which may be gone, and does what is to be done next.
    ///
    /// It is never called for one object twice at the same time, nor before the stores have seen what the last call wrote by `objects`,
    /// nor while an object of this name is watched and cannot be read: to a store, that one looks as if it were gone.
    /// It may be cancelled at every `.await`, when another process is about to lead.
    ///
    /// # Errors
    /// [`ReconcileError`]; its kind decides when the next attempt is.
    async fn reconcile(&self, key: &ObjectKey, objects: &Objects) -> Result<Next, ReconcileError>;
}

#[async_trait]
impl<R: Reconciler + ?Sized> Reconciler for Arc<R> {
    async fn reconcile(&self, key: &ObjectKey, objects: &Objects) -> Result<Next, ReconcileError> {
        (**self).reconcile(key, objects).await
    }
}

/// How a controller runs.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct ControllerSettings {
    /// Its name in logs.
    pub name: Box<str>,
    /// How many objects are worked on at once.
    pub concurrency: usize,
    /// How long one run may take; one that takes longer is cancelled, and counts as failed.
    pub run_deadline: Duration,
    /// How long runs may go on after the program was told to stop.
    pub grace: Duration,
}

impl ControllerSettings {
    /// Ten objects at once, five minutes for each, and ten seconds to end.
    #[must_use]
    pub fn new(name: impl Into<Box<str>>) -> Self {
        Self {
            name: name.into(),
            concurrency: 10,
            run_deadline: Duration::from_mins(5),
            grace: Duration::from_secs(10),
        }
    }
}

/// Makes objects due, for reasons that no watch sees.
#[derive(Debug, Clone)]
pub struct Trigger(Arc<Queue>);

impl Trigger {
    /// Makes an object due now.
    pub fn trigger(&self, key: ObjectKey) {
        self.0.add(key);
    }
}

#[derive(Clone)]
struct Watched {
    store: Arc<dyn AnyStore>,
    namespace: Option<Box<str>>,
    works: watch::Receiver<bool>,
}

/// Whether a controller can do its work.
#[derive(Clone)]
pub struct Health(Vec<Watched>);

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Health({:?})", self.readiness())
    }
}

impl Health {
    /// Whether all objects were seen, and are still watched; else a line for each kind that is not.
    ///
    /// A process that does not lead is ready too.
    ///
    /// # Errors
    /// The lines.
    pub fn readiness(&self) -> Result<(), String> {
        let missing = self.0.iter().filter_map(|watched| {
            let kind = watched.store.kind();
            match (watched.store.is_ready(), *watched.works.borrow()) {
                (true, true) => None,
                (true, false) => Some(format!("{kind}: not watched at present\n")),
                (false, _) => Some(format!("{kind}: not listed yet\n")),
            }
        });
        let missing: String = missing.collect();
        match missing.is_empty() {
            true => Ok(()),
            false => Err(missing),
        }
    }
}

/// What is remembered of an object from run to run. Nothing of it has to outlive the process.
struct Memory {
    failures: u32,
    unseen: Vec<Written>,
    unseen_since: Instant,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            failures: 0,
            unseen: Vec::new(),
            unseen_since: Instant::now(),
        }
    }
}

/// The end of one run.
struct Ended {
    key: ObjectKey,
    result: Result<Next, ReconcileError>,
    written: Vec<Written>,
    took: Duration,
}

/// Watches objects, and calls a [`Reconciler`] for those that changed or are due.
pub struct Controller {
    state: State,
    followers: Vec<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

struct State {
    settings: ControllerSettings,
    objects: Objects,
    metrics: Option<ControllerMetrics>,
    queue: Arc<Queue>,
    watched: Vec<Watched>,
    memory: HashMap<ObjectKey, Memory>,
}

impl fmt::Debug for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller")
            .field("settings", &self.state.settings)
            .finish_non_exhaustive()
    }
}

impl Controller {
    /// Does nothing until it [runs](Self::run).
    #[must_use]
    pub fn new(settings: ControllerSettings, objects: Objects) -> Self {
        Self {
            state: State {
                settings,
                objects,
                metrics: None,
                queue: Arc::default(),
                watched: Vec::new(),
                memory: HashMap::new(),
            },
            followers: Vec::new(),
        }
    }

    /// The same, and runs are counted.
    #[must_use]
    pub fn with_metrics(mut self, metrics: ControllerMetrics) -> Self {
        self.state.metrics = Some(metrics);
        self
    }

    /// Watches the objects of a kind, in one namespace or in all. `due` names what is to be looked at when an object changes; it is
    /// asked about the object before the change and after it.
    pub fn watch<K: Object>(
        &mut self,
        namespace: Option<&str>,
        due: impl Fn(&K) -> Vec<ObjectKey> + Send + Sync + 'static,
    ) -> Arc<Store<K>> {
        let store = Arc::new(Store::default());
        let (works, watching) = watch::channel(false);
        let (queue, for_broken) = (Arc::clone(&self.state.queue), Arc::clone(&self.state.queue));
        let follower = Follower {
            objects: self.state.objects.clone(),
            namespace: namespace.map(Into::into),
            store: Arc::clone(&store),
            changed: Box::new(move |object: &K| {
                for key in due(object) {
                    queue.add(key);
                }
            }),
            broken: Box::new(move |key: &ObjectKey| for_broken.add(key.clone())),
            works,
        };
        self.state.watched.push(Watched {
            store: Arc::<Store<K>>::clone(&store),
            namespace: namespace.map(Into::into),
            works: watching,
        });
        self.followers.push(Box::pin(follower.run()));
        store
    }

    /// Makes objects due for reasons of the program's own.
    #[must_use]
    pub fn trigger(&self) -> Trigger {
        Trigger(Arc::clone(&self.state.queue))
    }

    /// Whether it can do its work, with all that is watched up to now.
    #[must_use]
    pub fn health(&self) -> Health {
        Health(self.state.watched.clone())
    }

    /// Works until `stop`, and then lets runs end within their grace. It ends before that only by a fault of the program.
    pub async fn run(self, reconciler: impl Reconciler, stop: CancellationToken) {
        let Self {
            mut state,
            followers,
        } = self;
        let reconciler: Arc<dyn Reconciler> = Arc::new(reconciler);
        // They end when this function does.
        let mut following: JoinSet<()> = followers.into_iter().collect();
        let name = state.settings.name.clone();
        tokio::select! {
            () = state.work(&reconciler, &stop) => {}
            // Without a watch, it would not see what it should do.
            Some(ended) = following.join_next() => {
                let error = ended.err().map(tracing::field::display);
                tracing::error!(controller = %name, error, "a watch ended by a fault of the program");
            }
        }
        tracing::info!(controller = %name, "stopped");
    }
}

impl State {
    /// Works until `stop`, whenever this process leads.
    async fn work(&mut self, reconciler: &Arc<dyn Reconciler>, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.may_begin() => {}
            }
            self.set_leader(true);
            self.lead(reconciler, stop).await;
            self.set_leader(false);
        }
    }

    /// Waits until everything was seen once, and this process leads.
    async fn may_begin(&self) {
        for watched in &self.watched {
            let mut works = watched.works.clone();
            while !watched.store.is_ready() {
                if works.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
        if let Some(leadership) = self.objects.leadership() {
            leadership.acquired().await;
        }
    }

    async fn lost(&self) {
        match self.objects.leadership() {
            Some(leadership) => leadership.lost().await,
            None => std::future::pending().await,
        }
    }

    /// Works until told to stop, or until this process may not write any more.
    async fn lead(&mut self, reconciler: &Arc<dyn Reconciler>, stop: &CancellationToken) {
        let mut runs = JoinSet::new();
        let mut working = HashMap::new();
        let queue = Arc::clone(&self.queue);
        loop {
            self.report_waiting();
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.finish(&mut runs, &mut working).await;
                    break;
                }
                () = self.lost() => {
                    runs.shutdown().await;
                    break;
                }
                Some(ended) = runs.join_next_with_id() => self.ended(ended, &mut working),
                key = queue.next(), if runs.len() < self.settings.concurrency.max(1) => {
                    if self.sees_its_writes(&key) {
                        let run = self.start(reconciler, key.clone());
                        working.insert(runs.spawn(run).id(), key);
                    } else {
                        queue.done(&key);
                        queue.add_after(key, UNSEEN_WAIT);
                    }
                }
            }
        }
        // What was cut off is due as soon as this process leads again.
        for key in working.into_values() {
            queue.done(&key);
            queue.add(key);
        }
    }

    /// Lets runs end, for a while.
    async fn finish(
        &mut self,
        runs: &mut JoinSet<Ended>,
        working: &mut HashMap<tokio::task::Id, ObjectKey>,
    ) {
        let deadline = tokio::time::sleep(self.settings.grace);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                ended = runs.join_next_with_id() => match ended {
                    Some(ended) => self.ended(ended, working),
                    None => return,
                },
                () = &mut deadline => {
                    tracing::warn!(runs = runs.len(), "cancelled runs that did not end in time");
                    runs.shutdown().await;
                    return;
                }
            }
        }
    }

    /// Whether the stores have seen what the last run about `key` wrote.
    fn sees_its_writes(&mut self, key: &ObjectKey) -> bool {
        let Some(memory) = self.memory.get_mut(key) else {
            return true;
        };
        let watched = &self.watched;
        memory.unseen.retain(|written| {
            watched.iter().any(|watched| {
                let covers = watched
                    .namespace
                    .as_deref()
                    .is_none_or(|namespace| *namespace == *written.key.namespace);
                covers && watched.store.kind() == written.kind && !watched.store.has_seen(written)
            })
        });
        if memory.unseen.is_empty() {
            return true;
        }
        if memory.unseen_since.elapsed() > UNSEEN_WARNING {
            memory.unseen_since = Instant::now();
            tracing::warn!(%key, "waits to see its own writes; the API server that is watched lags behind");
        }
        false
    }

    /// Why the object of this name cannot be looked at, if it cannot.
    fn unreadable(&self, key: &ObjectKey) -> Option<ReconcileError> {
        self.watched.iter().find_map(|watched| {
            let reason = watched.store.why_unreadable(key)?;
            let kind = watched.store.kind();
            let message = format!("{kind} {key} is not as its type: {reason}");
            Some(ReconcileError::message(ErrorKind::Invalid, message))
        })
    }

    fn start(
        &self,
        reconciler: &Arc<dyn Reconciler>,
        key: ObjectKey,
    ) -> impl Future<Output = Ended> + use<> {
        let objects = self.objects.recording();
        let reconciler = Arc::clone(reconciler);
        let limit = self.settings.run_deadline;
        let unreadable = self.unreadable(&key);
        async move {
            let start = Instant::now();
            let run = async {
                match unreadable {
                    Some(error) => Err(error),
                    None => reconciler.reconcile(&key, &objects).await,
                }
            };
            let result = tokio::time::timeout(limit, run).await;
            let result = result.unwrap_or_else(|_| {
                let message = format!("not done within {} s", limit.as_secs());
                Err(ReconcileError::message(ErrorKind::Transient, message))
            });
            Ended {
                written: objects.take_written(),
                took: start.elapsed(),
                key,
                result,
            }
        }
    }

    fn ended(
        &mut self,
        ended: Result<(tokio::task::Id, Ended), JoinError>,
        working: &mut HashMap<tokio::task::Id, ObjectKey>,
    ) {
        let ended = match ended {
            Ok((id, ended)) => {
                working.remove(&id);
                ended
            }
            Err(error) => {
                let Some(key) = working.remove(&error.id()) else {
                    return;
                };
                let message = "the run ended by a fault of the program";
                Ended {
                    key,
                    result: Err(ReconcileError::new(ErrorKind::Internal, message, error)),
                    written: Vec::new(),
                    took: Duration::ZERO,
                }
            }
        };
        if let Some(metrics) = &self.metrics {
            let failure = ended.result.as_ref().err().map(ReconcileError::kind);
            metrics.ran(ended.took, failure);
        }
        let memory = self.memory.entry(ended.key.clone()).or_default();
        if !ended.written.is_empty() {
            memory.unseen.extend(ended.written);
            memory.unseen_since = Instant::now();
        }
        let wait = match ended.result {
            Ok(next) => {
                memory.failures = 0;
                match next {
                    Next::After(wait) => Some(wait),
                    Next::OnChange => None,
                }
            }
            Err(error) => {
                memory.failures = memory.failures.saturating_add(1);
                let wait = backoff::wait(error.kind(), memory.failures);
                let (key, kind) = (&ended.key, error.kind().as_str());
                tracing::warn!(%key, kind, retry_in = ?wait, "{}", ErrorChain::new(&error));
                Some(wait)
            }
        };
        if memory.failures == 0 && memory.unseen.is_empty() {
            self.memory.remove(&ended.key);
        }
        self.queue.done(&ended.key);
        if let Some(wait) = wait {
            self.queue.add_after(ended.key, wait);
        }
    }

    fn set_leader(&self, leads: bool) {
        if let Some(metrics) = &self.metrics {
            metrics.set_leader(leads);
        }
    }

    fn report_waiting(&self) {
        if let Some(metrics) = &self.metrics {
            metrics.set_waiting(self.queue.waiting());
        }
    }
}
