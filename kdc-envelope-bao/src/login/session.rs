//! Keeps a valid token at hand: one login at a time, renewal before it ends, and a new login when nothing else helps.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::{Arc, PoisonError, RwLock};

use kdc_envelope::ErrorChain;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use tracing::{debug, error, info, warn};
use zeroize::Zeroizing;

use super::gate::Gate;
use super::method::{self, Grant, Granted, LoginMethod, Unwrapped};
use crate::client::{Answer, Client, Method, Namespace, Operation, Request, jittered};
use crate::credential::{self, Privacy, Secret};
use crate::error::{BaoError, BaoErrorClass};

/// How often files are looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
const SHORTEST_CHECK: Duration = Duration::from_millis(250);
/// A pause that is worth a word.
const LONG_PAUSE: Duration = Duration::from_secs(60);

/// A logged-in view of OpenBao. Clones share the token.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    client: Client,
    /// The same servers, in the namespace where the login happens.
    door: Client,
    method: LoginMethod,
    lease: RwLock<Option<Arc<Lease>>>,
    gate: Mutex<Gate>,
    unwrapped: Unwrapped,
    counts: Counts,
}

struct Lease {
    token: Secret,
    since: Instant,
    ttl: Option<Duration>,
    /// The time to live of the login; a renewal that gives much less has met the maximum.
    first_ttl: Option<Duration>,
    is_renewable: bool,
}

#[derive(Debug, Default)]
struct Counts {
    logins: AtomicU64,
    failed_logins: AtomicU64,
    renewals: AtomicU64,
    failed_renewals: AtomicU64,
}

/// What metrics and people want to know about a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionStatus {
    /// Whether there is a token.
    pub is_logged_in: bool,
    /// How long it is still good; `None` if for ever or not known.
    pub ttl_left: Option<Duration>,
    /// Logins that gave a token.
    pub logins: u64,
    /// Logins that did not.
    pub failed_logins: u64,
    /// Renewals.
    pub renewals: u64,
    /// Renewals that were refused or not answered.
    pub failed_renewals: u64,
}

impl Session {
    /// A session that logs in by `method` when it is first needed. `login_namespace` is where the auth method is mounted, if not in the
    /// namespace of `client`.
    #[must_use]
    pub fn new(client: Client, method: LoginMethod, login_namespace: Option<Namespace>) -> Self {
        let door = match login_namespace {
            Some(namespace) => client.in_namespace(Some(namespace)),
            None => client.clone(),
        };
        Self(Arc::new(Inner {
            client,
            door,
            method,
            lease: RwLock::default(),
            gate: Mutex::default(),
            unwrapped: Unwrapped::default(),
            counts: Counts::default(),
        }))
    }

    /// The client behind it.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// The client in the namespace of the login.
    pub(crate) fn door(&self) -> &Client {
        &self.0.door
    }

    /// How it logs in.
    #[must_use]
    pub fn method(&self) -> &LoginMethod {
        &self.0.method
    }

    /// What it did so far.
    #[must_use]
    pub fn status(&self) -> SessionStatus {
        let lease = self.lease_at_hand();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &self.0.counts;
        SessionStatus {
            is_logged_in: lease.is_some(),
            ttl_left: lease.and_then(|lease| lease.ttl_left()),
            logins: count(&counts.logins),
            failed_logins: count(&counts.failed_logins),
            renewals: count(&counts.renewals),
            failed_renewals: count(&counts.failed_renewals),
        }
    }

    /// Sends `request` with the token. If the token is refused, logs in once and tries again.
    ///
    /// # Errors
    /// [`BaoError`]
    pub async fn send(&self, request: Request<'_>) -> Result<Answer, BaoError> {
        let lease = self.lease().await?;
        let client = &self.0.client;
        match client.send(&request.clone().token(&lease.token)).await {
            Err(BaoError::Unauthenticated { message }) => {
                debug!(message, "token refused, logging in");
                self.discard(&lease);
                let lease = self.lease().await?;
                client.send(&request.token(&lease.token)).await
            }
            other => other,
        }
    }

    /// Logs in unless there is a token.
    ///
    /// # Errors
    /// [`BaoError`]
    pub async fn log_in(&self) -> Result<(), BaoError> {
        self.lease().await.map(drop)
    }

    /// Renews the token before it ends, follows changed files, and logs in again after an outage. Never returns; run it beside what uses
    /// the session. Dropping it is safe at any point.
    pub async fn maintain(&self) {
        loop {
            sleep(self.next_check()).await;
            self.follow_certificates().await;
            self.follow_token_file();
            match self.lease_at_hand() {
                None => {
                    // Logged where it fails.
                    let _ = self.lease().await;
                }
                Some(lease) if lease.is_due() => self.prolong(&lease).await,
                Some(_) => {}
            }
        }
    }

    fn next_check(&self) -> Duration {
        let due = self.lease_at_hand().and_then(|lease| lease.due_in());
        let wait = due.map_or(CHECK_INTERVAL, |due| due.min(CHECK_INTERVAL));
        jittered(wait.max(SHORTEST_CHECK))
    }

    async fn follow_certificates(&self) {
        match self.0.client.reload_certificates() {
            Ok(true) => {
                info!("certificate files changed and are in use");
                self.0.gate.lock().await.open();
            }
            Ok(false) => {}
            Err(problem) => {
                error!(error = %ErrorChain::new(&problem), "changed certificate files cannot be used; the former ones stay");
            }
        }
    }

    /// Drops the token that came from a file which holds another one now.
    fn follow_token_file(&self) {
        let LoginMethod::TokenFile(path) = &self.0.method else {
            return;
        };
        let Some(lease) = self.lease_at_hand() else {
            return;
        };
        match credential::read_word(method::TOKEN, path, Privacy::Private) {
            Ok(word) if word.expose() == lease.token.expose() => {}
            Ok(_) => {
                info!("the token file changed");
                self.discard(&lease);
            }
            Err(problem) => {
                warn!(error = %ErrorChain::new(&problem), "the token file cannot be read; the token stays in use");
            }
        }
    }

    fn lease_at_hand(&self) -> Option<Arc<Lease>> {
        let slot = self.0.lease.read().unwrap_or_else(PoisonError::into_inner);
        slot.clone().filter(|lease| !lease.is_over())
    }

    fn put(&self, lease: Option<Arc<Lease>>) {
        let mut slot = self.0.lease.write().unwrap_or_else(PoisonError::into_inner);
        *slot = lease;
    }

    /// Forgets a token that was refused, unless another one took its place already.
    fn discard(&self, refused: &Arc<Lease>) {
        let mut slot = self.0.lease.write().unwrap_or_else(PoisonError::into_inner);
        if slot
            .as_ref()
            .is_some_and(|lease| Arc::ptr_eq(lease, refused))
        {
            *slot = None;
        }
    }

    async fn lease(&self) -> Result<Arc<Lease>, BaoError> {
        if let Some(lease) = self.lease_at_hand() {
            return Ok(lease);
        }
        let mut gate = self.0.gate.lock().await;
        if let Some(lease) = self.lease_at_hand() {
            return Ok(lease);
        }
        gate.check(&self.0.method)?;
        self.log_in_at(&mut gate).await
    }

    /// Gets a new token while the present one, if any, stays in use.
    async fn log_in_at(&self, gate: &mut Gate) -> Result<Arc<Lease>, BaoError> {
        let method = &self.0.method;
        let (mount, role) = (method.mount(), method.role());
        // Looked at before the files are read: a change in between is one more try, not one that is missed.
        let credential = method.credential();
        match method.log_in(&self.0.door, &self.0.unwrapped).await {
            Ok(granted) => {
                let ttl = granted.ttl.map(|ttl| ttl.as_secs());
                info!(role, mount, ttl_seconds = ttl, "OpenBao login ok");
                self.0.counts.logins.fetch_add(1, Ordering::Relaxed);
                gate.succeed();
                let lease = Arc::new(Lease::from(granted));
                self.put(Some(Arc::clone(&lease)));
                Ok(lease)
            }
            Err(problem) => {
                self.0.counts.failed_logins.fetch_add(1, Ordering::Relaxed);
                match &problem {
                    BaoError::LoginRefused { .. } => error!("{problem}"),
                    _ => error!(
                        "OpenBao login (mount={mount} role={role}): {}",
                        ErrorChain::new(&problem)
                    ),
                }
                let pause = gate.fail(method, credential, problem.clone());
                if pause > LONG_PAUSE {
                    warn!(
                        role,
                        mount,
                        pause_seconds = pause.as_secs(),
                        "the same credential is not tried again for now, as OpenBao locks a role out after five wrong secret ids; \
                         a changed file is tried at once, and so is one that was touched"
                    );
                }
                Err(problem)
            }
        }
    }

    /// Renews the token, or gets another one where that does not help.
    async fn prolong(&self, lease: &Arc<Lease>) {
        if lease.is_renewable {
            match self.renew(lease).await {
                Ok(next) if next.is_worth_keeping() => {
                    self.0.counts.renewals.fetch_add(1, Ordering::Relaxed);
                    debug!(
                        ttl_seconds = next.ttl.map(|ttl| ttl.as_secs()),
                        "token renewed"
                    );
                    self.put(Some(Arc::new(next)));
                    return;
                }
                Ok(_) => debug!("the token is near its maximum time to live"),
                Err(problem) => {
                    self.0
                        .counts
                        .failed_renewals
                        .fetch_add(1, Ordering::Relaxed);
                    warn!(error = %ErrorChain::new(&problem), "token not renewed");
                    if problem.class() == BaoErrorClass::Transient {
                        return;
                    }
                }
            }
        }
        let mut gate = self.0.gate.lock().await;
        if gate.check(&self.0.method).is_ok() {
            // Logged where it fails; the present token stays in use until it is refused.
            let _ = self.log_in_at(&mut gate).await;
        }
    }

    async fn renew(&self, lease: &Lease) -> Result<Lease, BaoError> {
        let request = Request::new(Operation::Token, Method::Post, "auth/token/renew-self")
            .body(Zeroizing::new(b"{}".to_vec()))
            .token(&lease.token);
        let answer = self.0.door.send(&request).await?;
        let grant: Grant<'_> = answer.auth()?;
        Ok(Lease {
            token: Secret::from(lease.token.expose()),
            since: Instant::now(),
            ttl: method::seconds(grant.lease_duration),
            first_ttl: lease.first_ttl,
            is_renewable: grant.renewable,
        })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("method", &self.0.method)
            .finish_non_exhaustive()
    }
}

impl From<Granted> for Lease {
    fn from(granted: Granted) -> Self {
        Self {
            token: granted.token,
            since: Instant::now(),
            ttl: granted.ttl,
            first_ttl: granted.ttl,
            is_renewable: granted.is_renewable,
        }
    }
}

impl Lease {
    fn ttl_left(&self) -> Option<Duration> {
        Some(self.ttl?.saturating_sub(self.since.elapsed()))
    }

    fn is_over(&self) -> bool {
        self.ttl_left() == Some(Duration::ZERO)
    }

    /// Until two thirds of its time are over.
    fn due_in(&self) -> Option<Duration> {
        let due = self.ttl? * 2 / 3;
        Some(due.saturating_sub(self.since.elapsed()))
    }

    fn is_due(&self) -> bool {
        self.due_in() == Some(Duration::ZERO)
    }

    /// Whether a renewal gave it at least half of what a login gives.
    fn is_worth_keeping(&self) -> bool {
        match (self.ttl, self.first_ttl) {
            (Some(ttl), Some(first)) => ttl * 2 >= first,
            _ => true,
        }
    }
}
