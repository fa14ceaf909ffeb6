//! Looks at the key now and then, and knows from that whether it works.
//!
//! A look is one read of the key. Wrapping and unwrapping are proven when a version is announced, when the key was not healthy, after a
//! call failed, and once in a while; so a healthy key costs one request a minute.

use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use kdc_envelope::{ErrorChain, KekError, KekStatus, KeyId};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{error, info, warn};

use super::batch_calls::Target;
use super::calls::Calls;
use super::clock::{Clocks, Doubt};
use super::grace::Grace;
use super::key::{KeyIdentity, TransitKey, TransitKeyName};
use super::options::TransitOptions;
use super::proof::Proof;
use super::versions::{Announced, Note, Observation, View, observe};
use crate::client::{Method, Operation, Request, Response, jittered};
use crate::deadline;
use crate::error::{BaoError, BaoErrorClass};
use crate::login::Session;

/// Between looks while the key is not healthy: recovery is noticed within this and one call.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// After a first failure that may pass by itself.
const SECOND_LOOK: Duration = Duration::from_millis(500);
/// Between looks for key ids that are not known.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(1);
/// Polls that may be missed before what is known counts as stale.
const STALE_POLLS: u32 = 5;

#[derive(Debug)]
pub(super) struct Watch {
    target: Target,
    identity: KeyIdentity,
    options: TransitOptions,
    view: RwLock<Option<Arc<View>>>,
    health: Mutex<Health>,
    /// One look at a time; holds when the last one began.
    gate: AsyncMutex<Option<Instant>>,
    calls: Arc<Calls>,
}

#[derive(Debug)]
struct Health {
    outcome: Result<(), BaoError>,
    looked: Option<Instant>,
    proven: Option<Instant>,
    proof: Option<Arc<Proof>>,
    /// Failures in a row that may pass by themselves.
    doubts: u32,
    needs_proof: bool,
    grace: Grace,
    /// Whether the grace was last said to cover the failure.
    is_degraded: bool,
    next_look: Duration,
    /// What was last said about the clock of the server.
    doubt: Option<Doubt>,
}

impl Watch {
    pub(super) fn new(target: Target, options: TransitOptions, calls: Arc<Calls>) -> Self {
        let identity = KeyIdentity {
            namespace: target.session.client().namespace().cloned(),
            key: target.key.clone(),
        };
        Self {
            target,
            identity,
            view: RwLock::default(),
            health: Mutex::new(Health {
                outcome: Err(BaoError::NotAskedYet),
                looked: None,
                proven: None,
                proof: None,
                doubts: 0,
                needs_proof: true,
                grace: Grace::new(options.effective_status_grace()),
                is_degraded: false,
                next_look: options.poll_interval,
                doubt: None,
            }),
            options,
            gate: AsyncMutex::default(),
            calls,
        }
    }

    pub(super) const fn session(&self) -> &Session {
        &self.target.session
    }

    pub(super) const fn key(&self) -> &TransitKeyName {
        &self.target.key
    }

    pub(super) fn view(&self) -> Option<Arc<View>> {
        let slot = self.view.read().unwrap_or_else(PoisonError::into_inner);
        slot.clone()
    }

    /// The version that wraps, whether the key is healthy or not: trying is how an end of trouble shows.
    pub(super) fn announced(&self) -> Result<Announced, KekError> {
        let announced = self.view().and_then(|view| view.announced.clone());
        announced.ok_or_else(|| self.trouble().unwrap_or(BaoError::NotAskedYet).into())
    }

    /// The version that wraps, if wrapping and unwrapping work as far as is known, or did until OpenBao could not be reached.
    pub(super) fn status(&self) -> Result<KekStatus, KekError> {
        let announced = self.announced()?;
        let trouble = self.trouble();
        let health = self.health();
        // What OpenBao has shown since then may be another key.
        let is_proven = |proof: &Arc<Proof>| *proof.announced() == announced;
        let is_proven = health.proof.as_ref().is_some_and(is_proven);
        let reason = match trouble {
            None => None,
            Some(trouble) => match health.grace.left(&trouble, Instant::now()) {
                Some(left) if is_proven => Some(degraded(&trouble, left)),
                _ => return Err(trouble.into()),
            },
        };
        let status = KekStatus::new(announced.key_id, announced.version);
        Ok(match reason {
            Some(reason) => status.degraded_by(reason),
            None => status,
        })
    }

    fn trouble(&self) -> Option<BaoError> {
        let health = self.health();
        let stale = self.options.poll_interval.saturating_mul(STALE_POLLS);
        match &health.outcome {
            Err(trouble) => Some(trouble.clone()),
            Ok(()) => match health.looked.map(|looked| looked.elapsed()) {
                None => Some(BaoError::NotAskedYet),
                Some(ago) if ago > stale => Some(BaoError::Stale {
                    key: self.target.key.shown(),
                    ago,
                }),
                Some(_) => None,
            },
        }
    }

    /// The version behind a key id. One that is not known makes it look, at most once in [`LOOKUP_INTERVAL`] for all callers
    /// together; they wait for their turn, because a version that another replica writes with already must be found.
    ///
    /// # Errors
    /// [`BaoError::DeadlineExceeded`] if the caller gives up before that look.
    pub(super) async fn version_of(&self, key_id: &KeyId) -> Result<Option<u32>, BaoError> {
        let known = || self.view()?.version_of(key_id);
        match known() {
            Some(version) => Ok(Some(version)),
            None => {
                deadline::wait_for_shared(Box::pin(self.probe_again())).await?;
                Ok(known())
            }
        }
    }

    /// Looks at the key, unless another caller did since this was called.
    async fn probe_again(&self) {
        let asked = Instant::now();
        let mut gate = self.gate.lock().await;
        if gate.is_some_and(|began| began >= asked) {
            return;
        }
        if let Some(began) = *gate {
            sleep_until(began + LOOKUP_INTERVAL).await;
        }
        *gate = Some(Instant::now());
        // The watch reports what is wrong; here the key id is just not found.
        if let Ok(observation) = self.probe().await {
            self.report(&observation.notes);
            self.put(observation.view);
        }
    }

    pub(super) async fn run(&self) {
        loop {
            // What it means is kept and logged where it is found.
            let _ = self.observe().await;
            let pause = self.health().next_look;
            // Woken or not, no more than two looks a second.
            sleep(pause.min(SECOND_LOOK)).await;
            let rest = pause.saturating_sub(SECOND_LOOK);
            let _ = timeout(rest, self.calls.trouble().reported()).await;
        }
    }

    /// Looks, proves if there is reason to, and draws the conclusions.
    pub(super) async fn observe(&self) -> Result<(), BaoError> {
        let mut gate = self.gate.lock().await;
        *gate = Some(Instant::now());
        let result = self.probe_and_prove().await;
        drop(gate);
        self.conclude(result)
    }

    async fn probe_and_prove(&self) -> Result<Option<Duration>, BaoError> {
        let Observation {
            view,
            candidate,
            next_after,
            notes,
            ..
        } = self.probe().await?;
        self.report(&notes);
        let is_new = view.announced.as_ref() != Some(&candidate);
        // Readable at once, so that a failing proof keeps no caller from reading.
        self.put(view.clone());
        let needs_proof = self.needs_proof();
        if is_new || needs_proof {
            let proof = Proof::make(&self.calls, &self.target.key, candidate.clone()).await?;
            let mut health = self.health();
            health.proof = Some(Arc::new(proof));
            health.proven = Some(Instant::now());
            health.needs_proof = false;
        }
        if is_new {
            info!(key = %self.target.key, version = candidate.version, latest = view.key.latest_version, key_id = %candidate.key_id, "this version of the key wraps from now on");
            self.put(view.announce(candidate));
        }
        Ok(next_after)
    }

    async fn probe(&self) -> Result<Observation, BaoError> {
        let path = self.target.key.path("keys");
        let request = Request::new(Operation::ReadKey, Method::Get, &path);
        let answer = self.target.session.send(request).await?;
        let key = TransitKey::from_answer(&answer)?;
        let before = self.view();
        let clocks = Clocks {
            server: answer.server_time().map(seconds),
            own: seconds((self.options.clock)()),
        };
        let hold = self.options.hold;
        let observation = observe(&self.identity, before.as_deref(), key, clocks, hold)?;
        self.check_times(&observation.view, &answer).await?;
        self.report_clock(observation.doubt, &answer);
        self.target.index.learn(answer.index);
        if before.is_none() {
            for warning in observation.view.key.warnings() {
                warn!(key = %self.target.key, "the Transit key is used, but {warning}");
            }
        }
        Ok(observation)
    }

    /// Refuses creation times that would make another key of one that still opens what it wrapped: rows written under ids made from them
    /// could not be opened once the true times are back.
    async fn check_times(&self, seen: &View, answer: &Response) -> Result<(), BaoError> {
        let proof = self.health().proof.clone();
        match proof {
            Some(proof)
                if seen.denies(proof.announced()) && proof.still_opens(&self.calls).await? =>
            {
                Err(answer
                    .strange("a key with other creation times that opens what it wrapped before"))
            }
            _ => Ok(()),
        }
    }

    fn needs_proof(&self) -> bool {
        let mut health = self.health();
        health.needs_proof |= self.calls.trouble().take();
        health.needs_proof
            || health.outcome.is_err()
            || health
                .proven
                .is_none_or(|proven| proven.elapsed() >= self.options.proof_interval)
    }

    fn conclude(&self, result: Result<Option<Duration>, BaoError>) -> Result<(), BaoError> {
        let mut health = self.health();
        match result {
            Ok(next_after) => {
                if health.outcome.is_err() {
                    info!(key = %self.target.key, "the Transit key wraps and unwraps");
                }
                let interval = self.options.poll_interval;
                let poll = jittered(interval.saturating_add(interval / 5));
                health.next_look = next_after.map_or(poll, |next| {
                    poll.min(next.saturating_add(jittered(Duration::from_secs(1))))
                });
                health.outcome = Ok(());
                let now = Instant::now();
                health.looked = Some(now);
                health.grace.begin(now);
                health.doubts = 0;
                Ok(())
            }
            Err(trouble) => {
                let may_pass = trouble.class() == BaoErrorClass::Transient;
                health.doubts = health.doubts.saturating_add(1);
                let is_first = may_pass && health.doubts == 1 && health.outcome.is_ok();
                health.next_look = if is_first {
                    SECOND_LOOK
                } else {
                    jittered(RETRY_INTERVAL)
                };
                health.needs_proof = true;
                let now = Instant::now();
                health.grace.note(&trouble, now);
                if !is_first {
                    let left = health.grace.left(&trouble, now);
                    let is_told = health.outcome.is_err() && health.doubts != 1;
                    if !is_told || health.is_degraded != left.is_some() {
                        self.report_trouble(&trouble, left);
                    }
                    health.is_degraded = left.is_some();
                    health.outcome = Err(trouble.clone());
                }
                Err(trouble)
            }
        }
    }

    fn report(&self, notes: &[Note]) {
        let key = &self.target.key;
        for note in notes {
            match note {
                Note::NewVersion(version) => {
                    info!(%key, version, "the key has a new version; it reads from now on and wraps after the hold time");
                }
                Note::Vanished(version) => {
                    warn!(%key, version, "a version of the key vanished before it was used; a rotation was not stored");
                }
                Note::Replaced { version, count } => {
                    error!(%key, version, count, "a version of the key was replaced by another of its number; what the former one wrapped is lost unless OpenBao is restored");
                }
                Note::Recreated => {
                    error!(%key, "the key was deleted and made again; what the former one wrapped is lost unless OpenBao is restored");
                }
            }
        }
    }

    fn report_trouble(&self, trouble: &BaoError, left: Option<Duration>) {
        let (key, error) = (&self.target.key, ErrorChain::new(trouble));
        match left {
            Some(left) => {
                let for_seconds = left.as_secs();
                warn!(%key, %error, for_seconds, "degraded: OpenBao cannot be reached; Status stays good for the rest of the grace");
            }
            None => error!(%key, %error, "the Transit key cannot be used"),
        }
    }

    /// Says once how the clock of the server is in doubt.
    fn report_clock(&self, doubt: Option<Doubt>, answer: &Response) {
        let former = core::mem::replace(&mut self.health().doubt, doubt);
        let (key, address) = (&self.target.key, answer.address());
        match doubt {
            Some(doubt) if former != Some(doubt) => {
                warn!(%key, address, "OpenBao cannot be asked what time it is: {}", doubt.advice());
            }
            None if former.is_some() => {
                info!(%key, address, "new versions of the key wait by the clock of OpenBao again");
            }
            _ => {}
        }
    }

    fn put(&self, view: View) {
        let mut slot = self.view.write().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(Arc::new(view));
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is told of a key that counts as usable although OpenBao cannot be reached.
fn degraded(trouble: &BaoError, left: Duration) -> String {
    let left = left.as_secs();
    format!(
        "{}; Status stays good for {left} s",
        ErrorChain::new(trouble)
    )
}

/// Since 1970; nothing before it.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
