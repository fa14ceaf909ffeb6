//! One writer at a time: a Lease, which the other processes watch by clocks of their own.
//!
//! * A Lease is taken when it is free, or when its record has not changed for its whole duration, counted from when *this* process first
//!   saw the record. No two clocks are ever compared.
//! * The holder may write for a shorter time than that, counted from *before* it sent its last renewal. So it has stopped by its own
//!   clock before another can take the Lease, whether it hears of that or not: stopped (SIGSTOP), cut off, or slow.
//! * The Lease is made and taken by server-side apply under a manager for each process. A process that would make it at the same moment, or
//!   renew one that was taken away, conflicts with the fields of the other.

use core::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{CallError, ErrorKind, ObjectKey, Objects, clock};

/// How to elect.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct LeaderSettings {
    /// Where the Lease is.
    pub namespace: Box<str>,
    /// Its name; that of the controller.
    pub name: Box<str>,
    /// Who this process is: the name of its pod. No two processes may have the same, at most 100 characters.
    pub identity: Box<str>,
    /// After how long without a renewal another may take the Lease; whole seconds.
    pub duration: Duration,
    /// For how long after sending a renewal the holder may write. What is between this and the duration is left for requests that are
    /// on their way.
    pub writing: Duration,
    /// How often it is renewed, or looked at.
    pub interval: Duration,
    /// What the Lease goes with: the Deployment of the controller.
    pub owner: Option<OwnerReference>,
}

impl LeaderSettings {
    /// A Lease of 15 s, renewed every 2 s, under which the holder writes for 10 s after a renewal.
    #[must_use]
    pub fn new(
        namespace: impl Into<Box<str>>,
        name: impl Into<Box<str>>,
        identity: impl Into<Box<str>>,
    ) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            duration: Duration::from_secs(15),
            writing: Duration::from_secs(10),
            interval: Duration::from_secs(2),
            owner: None,
        }
    }

    /// The same with a Lease of another duration: the holder writes for two thirds of it after a renewal, and renews it seven times.
    #[must_use]
    pub fn lasting(self, duration: Duration) -> Self {
        Self {
            duration,
            writing: duration.saturating_mul(2) / 3,
            interval: duration / 7,
            ..self
        }
    }
}

/// Whether this process holds the Lease; clones see the same.
#[derive(Debug, Clone)]
pub struct Leadership(watch::Receiver<Option<Instant>>);

impl Leadership {
    /// Whether this process may write now.
    #[must_use]
    pub fn may_write(&self) -> bool {
        self.until().is_some()
    }

    /// Until when it may write, as things are.
    fn until(&self) -> Option<Instant> {
        let until = *self.0.borrow();
        until.filter(|until| Instant::now() < *until)
    }

    /// Waits until this process may write. Never ends if its [`Elector`] has ended before.
    pub async fn acquired(&self) {
        let mut changes = self.0.clone();
        while !self.may_write() {
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until this process may no longer write.
    pub async fn lost(&self) {
        let mut changes = self.0.clone();
        while let Some(until) = self.until() {
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                changed = changes.changed() => if changed.is_err() {
                    tokio::time::sleep_until(until).await;
                },
            }
        }
    }
}

/// Takes the Lease when it can be had, and renews it.
#[derive(Debug)]
pub struct Elector {
    objects: Objects,
    settings: LeaderSettings,
    key: ObjectKey,
    manager: Box<str>,
    until: watch::Sender<Option<Instant>>,
    seen: Option<Seen>,
}

/// The record of another process, and since when it has been the same.
#[derive(Debug, PartialEq)]
struct Seen {
    version: Option<String>,
    since: Instant,
}

/// What can be done about a Lease as it was found.
#[derive(Debug, PartialEq)]
enum Found {
    /// There is none.
    Absent,
    /// It is held by this process.
    Ours,
    /// It may be taken.
    Free,
    /// It is held by another.
    Held,
}

impl Elector {
    /// Does nothing until it [runs](Self::run_while).
    #[must_use]
    pub fn new(client: Client, settings: LeaderSettings) -> (Self, Leadership) {
        let (until, changes) = watch::channel(None);
        let objects = Objects::new(client, &settings.name).with_deadline(settings.interval);
        let elector = Self {
            objects,
            key: ObjectKey::new(settings.namespace.clone(), settings.name.clone()),
            manager: format!("{}/{}", settings.name, settings.identity).into(),
            settings,
            until,
            seen: None,
        };
        (elector, Leadership(changes))
    }

    /// Holds or seeks the Lease while `work` runs, and then gives it up, so that another need not wait for it. `work` is what writes:
    /// all controllers under this Lease.
    pub async fn run_while<T>(self, work: impl Future<Output = T>) -> T {
        let stop = CancellationToken::new();
        let work = async {
            let output = work.await;
            stop.cancel();
            output
        };
        tokio::join!(self.run(&stop), work).1
    }

    async fn run(mut self, stop: &CancellationToken) {
        let mut interval = tokio::time::interval(self.settings.interval);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = interval.tick() => {}
            }
            let was_leader = self.is_leader();
            if let Err(error) = self.attempt().await {
                tracing::warn!(lease = %self.key, kind = error.kind().as_str(), "{error}");
            }
            self.report(was_leader);
        }
        self.release().await;
    }

    fn is_leader(&self) -> bool {
        self.until
            .borrow()
            .is_some_and(|until| Instant::now() < until)
    }

    fn report(&self, was_leader: bool) {
        let (lease, identity) = (&self.key, &self.settings.identity);
        match (was_leader, self.is_leader()) {
            (false, true) => {
                tracing::info!(%lease, %identity, "took the Lease; this process leads")
            }
            (true, false) => {
                tracing::warn!(%lease, %identity, "lost the Lease; nothing is written")
            }
            _ => {}
        }
    }

    /// One look at the Lease, and what follows from it.
    async fn attempt(&mut self) -> Result<(), CallError> {
        let lease: Option<Lease> = self.objects.get(&self.key).await?;
        let found = self.judge(lease.as_ref(), Instant::now());
        let is_ours = found == Found::Ours;
        let (version, force) = match &lease {
            Some(lease) => (lease.metadata.resource_version.as_deref(), true),
            None => (None, false),
        };
        let spec = lease.as_ref().and_then(|lease| lease.spec.as_ref());
        if found == Found::Held {
            self.until.send_replace(None);
            return Ok(());
        }
        let fields = self.fields(spec, is_ours, version);
        let sent = Instant::now();
        let applied: Result<Lease, _> = self
            .objects
            .apply_as(&self.manager, &self.key, &fields, force)
            .await;
        match applied {
            Ok(_) => {
                let until = sent.checked_add(self.settings.writing);
                self.until.send_replace(until);
                self.seen = None;
                Ok(())
            }
            // Another was quicker; the next look tells who.
            Err(error) if error.kind() == ErrorKind::Conflict => {
                self.until.send_replace(None);
                Ok(())
            }
            // Unknown whether it was written: what was promised before is still true, and ends by itself.
            Err(error) => Err(error),
        }
    }

    fn judge(&mut self, lease: Option<&Lease>, now: Instant) -> Found {
        let Some(lease) = lease else {
            return Found::Absent;
        };
        let spec = lease.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref());
        match holder {
            None | Some("") => Found::Free,
            Some(holder) if *holder == *self.settings.identity => Found::Ours,
            Some(_) => {
                let version = lease.metadata.resource_version.clone();
                let same = self.seen.as_ref().filter(|seen| seen.version == version);
                let since = same.map_or(now, |seen| seen.since);
                self.seen = Some(Seen { version, since });
                // As long as its holder was promised, or we would, whichever is longer.
                let promised = spec.and_then(|spec| spec.lease_duration_seconds);
                let promised = promised.and_then(|seconds| u64::try_from(seconds).ok());
                let duration = Duration::from_secs(promised.unwrap_or_default());
                match now.duration_since(since) >= duration.max(self.settings.duration) {
                    true => Found::Free,
                    false => Found::Held,
                }
            }
        }
    }

    /// The Lease as this process holds it from now on.
    fn fields(&self, before: Option<&LeaseSpec>, is_ours: bool, version: Option<&str>) -> Value {
        let now = MicroTime(clock::now());
        let transitions = before.and_then(|spec| spec.lease_transitions);
        let (acquired, transitions) = match is_ours {
            true => (
                before.and_then(|spec| spec.acquire_time.clone()),
                transitions.unwrap_or_default(),
            ),
            false => (None, transitions.map_or(0, |count| count.saturating_add(1))),
        };
        let mut metadata = json!({});
        if let Some(version) = version {
            metadata = json!({"resourceVersion": version});
        }
        if let Some(owner) = &self.settings.owner {
            super::status::merge(&mut metadata, &json!({"ownerReferences": [owner]}));
        }
        json!({
            "metadata": metadata,
            "spec": {
                "holderIdentity": self.settings.identity,
                "leaseDurationSeconds": self.settings.duration.as_secs(),
                "leaseTransitions": transitions,
                "acquireTime": acquired.unwrap_or_else(|| now.clone()),
                "renewTime": now,
            },
        })
    }

    /// Frees the Lease, if this process holds it.
    async fn release(&self) {
        if self.until.send_replace(None).is_none() {
            return;
        }
        let found: Result<Option<Lease>, _> = self.objects.get(&self.key).await;
        let Ok(Some(lease)) = found else { return };
        let spec = lease.spec.unwrap_or_default();
        if spec.holder_identity.as_deref() != Some(&*self.settings.identity) {
            return;
        }
        let fields = json!({
            "metadata": {"resourceVersion": lease.metadata.resource_version},
            "spec": {"leaseTransitions": spec.lease_transitions, "leaseDurationSeconds": 1},
        });
        let freed: Result<Lease, _> = self
            .objects
            .apply_as(&self.manager, &self.key, &fields, true)
            .await;
        match freed {
            Ok(_) => tracing::info!(lease = %self.key, "gave the Lease up"),
            Err(error) => tracing::warn!(lease = %self.key, "{error}; it ends by itself"),
        }
    }
}
