//! Keeps a valid token at hand: one login at a time, renewal before it ends, and a new login when nothing else helps.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use kdc_envelope::ErrorChain;
use tokio::sync::Mutex;
use tokio::time::sleep;
use tracing::{debug, error, info, warn};
use zeroize::Zeroizing;

use super::backoff::LoginBackoff;
use super::method::{self, Grant, LoginMethod, Unwrapped};
use super::token::Token;
use crate::client::{Client, Method, Namespace, Operation, Request, Response, jittered};
use crate::credential::{self, Privacy};
use crate::deadline;
use crate::error::{BaoError, BaoErrorClass};

/// How often files are checked.
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
    login_client: Client,
    method: LoginMethod,
    token: RwLock<Option<Arc<Token>>>,
    former: RwLock<Option<Former>>,
    backoff: Mutex<LoginBackoff>,
    unwrapped: Unwrapped,
    counts: Counts,
}

/// Where an auth method is mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoginPlace {
    /// In the namespace of the client.
    #[default]
    Same,
    /// Outside of all namespaces.
    Root,
    /// In this namespace.
    Namespace(Namespace),
}

impl From<Option<Namespace>> for LoginPlace {
    fn from(namespace: Option<Namespace>) -> Self {
        namespace.map_or(Self::Same, Self::Namespace)
    }
}

/// A token whose file holds another one now. Kept as long as that one, which may turn out to be of the wrong policies.
struct Former {
    token: Arc<Token>,
    successor: Arc<Token>,
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
    /// A session that logs in by `method` when it is first needed. With `None`, the auth method is mounted in the namespace of `client`.
    #[must_use]
    pub fn new(client: Client, method: LoginMethod, place: impl Into<LoginPlace>) -> Self {
        let login_client = match place.into() {
            LoginPlace::Same => client.clone(),
            LoginPlace::Root => client.in_namespace(None),
            LoginPlace::Namespace(namespace) => client.in_namespace(Some(namespace)),
        };
        Self(Arc::new(Inner {
            client,
            login_client,
            method,
            token: RwLock::default(),
            former: RwLock::default(),
            backoff: Mutex::default(),
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
    pub(crate) fn login_client(&self) -> &Client {
        &self.0.login_client
    }

    /// How it logs in.
    #[must_use]
    pub fn method(&self) -> &LoginMethod {
        &self.0.method
    }

    /// What it did so far.
    #[must_use]
    pub fn status(&self) -> SessionStatus {
        let token = self.token_at_hand();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &self.0.counts;
        SessionStatus {
            is_logged_in: token.is_some(),
            ttl_left: token.and_then(|token| token.ttl_left()),
            logins: count(&counts.logins),
            failed_logins: count(&counts.failed_logins),
            renewals: count(&counts.renewals),
            failed_renewals: count(&counts.failed_renewals),
        }
    }

    /// Sends `request` with the token. If the token is refused, logs in once and tries again.
    ///
    /// # Errors
    /// [`BaoError`]; [`BaoError::TokenRefused`] if logins give tokens that are refused at once.
    pub async fn send(&self, request: Request<'_>) -> Result<Response, BaoError> {
        let token = self.token().await?;
        let result = self.ask(&request, &token).await;
        let Err(BaoError::Unauthenticated { message, .. }) = result else {
            return result;
        };
        debug!(message, "token refused, logging in");
        self.refuse(&token).await;
        let token = self.token().await?;
        match self.ask(&request, &token).await {
            Err(refusal @ BaoError::Unauthenticated { .. }) => {
                Err(self.refuse(&token).await.unwrap_or(refusal))
            }
            other => other,
        }
    }

    async fn ask(&self, request: &Request<'_>, token: &Arc<Token>) -> Result<Response, BaoError> {
        let request = request.clone();
        let result = self
            .0
            .client
            .send(&request.clone().token(&token.secret))
            .await;
        match result {
            Ok(answer) => {
                token.works();
                Ok(answer)
            }
            Err(denied @ BaoError::Forbidden { .. }) => {
                token.works();
                self.fall_back(request, token, denied).await
            }
            other => other,
        }
    }

    /// Asks with the token that stood in the file before, where the present one has not the right. If that helps, it is in use again.
    async fn fall_back(
        &self,
        request: Request<'_>,
        token: &Arc<Token>,
        denied: BaoError,
    ) -> Result<Response, BaoError> {
        let Some(former) = self.former_of(token) else {
            return Err(denied);
        };
        match self.0.client.send(&request.token(&former.secret)).await {
            Ok(answer) => {
                self.return_to(former, token, denied).await;
                Ok(answer)
            }
            Err(BaoError::Unauthenticated { .. }) => {
                self.put_former(None);
                Err(denied)
            }
            Err(_) => Err(denied),
        }
    }

    /// Logs in unless there is a token.
    ///
    /// # Errors
    /// [`BaoError`]
    pub async fn log_in(&self) -> Result<(), BaoError> {
        self.token().await.map(drop)
    }

    /// Renews the token before it ends, follows changed files, and logs in again after an outage. Never returns; run it beside what uses
    /// the session. Dropping it is safe at any point.
    pub async fn maintain(&self) {
        loop {
            sleep(self.next_check()).await;
            self.follow_certificates().await;
            self.follow_token_file().await;
            match self.token_at_hand() {
                None => {
                    // Logged where it fails.
                    let _ = self.token().await;
                }
                Some(token) if token.is_due() => self.prolong(&token).await,
                Some(_) => {}
            }
        }
    }

    fn next_check(&self) -> Duration {
        let due = self.token_at_hand().and_then(|token| token.due_in());
        let wait = due.map_or(CHECK_INTERVAL, |due| due.min(CHECK_INTERVAL));
        jittered(wait.max(SHORTEST_CHECK))
    }

    async fn follow_certificates(&self) {
        match self.0.client.reload_certificates() {
            Ok(true) => {
                info!("certificate files changed and are in use");
                self.0.backoff.lock().await.reset();
            }
            Ok(false) => {}
            Err(problem) => {
                error!(error = %ErrorChain::new(&problem), "changed certificate files cannot be used; the former ones stay");
            }
        }
    }

    /// Takes over the token of a file that holds another one now, once OpenBao has accepted it.
    async fn follow_token_file(&self) {
        let LoginMethod::TokenFile(path) = &self.0.method else {
            return;
        };
        let Some(token) = self.token_at_hand() else {
            return;
        };
        match credential::read_word(method::TOKEN, path, Privacy::Private) {
            Ok(word) if word.expose() == token.secret.expose() => {}
            Ok(_) => self.try_beside(token, path).await,
            Err(problem) => {
                warn!(error = %ErrorChain::new(&problem), "the token file cannot be read; the token stays in use");
            }
        }
    }

    /// Logs in with what the file holds now, while the present token stays in use.
    async fn try_beside(&self, token: Arc<Token>, path: &Path) {
        let method = &self.0.method;
        let mut backoff = self.0.backoff.lock().await;
        if backoff.check(method).is_err() {
            return;
        }
        let credential = method.credential();
        match method.log_in(&self.0.login_client, &self.0.unwrapped).await {
            Ok(granted) => {
                info!("the token file changed, and its token is in use");
                self.0.counts.logins.fetch_add(1, Ordering::Relaxed);
                backoff.succeed(credential);
                let successor = Arc::new(Token::from(granted));
                self.put_former(Some(Former {
                    token,
                    successor: Arc::clone(&successor),
                }));
                self.put(Some(successor));
            }
            Err(problem) => {
                self.0.counts.failed_logins.fetch_add(1, Ordering::Relaxed);
                if !backoff.has_failed_alike(&credential, &problem) {
                    warn!(file = %path.display(), error = %ErrorChain::new(&problem), "the token file changed, and its token is not accepted; the former one stays in use as long as it is good");
                }
                backoff.fail(method, credential, problem);
            }
        }
    }

    /// Takes a token back into use whose successor may do less.
    async fn return_to(&self, former: Arc<Token>, token: &Arc<Token>, denied: BaoError) {
        let mut backoff = self.0.backoff.lock().await;
        if self.discard(token) {
            self.put(Some(former));
            self.put_former(None);
            let problem = denied.clone();
            if backoff.reject(&self.0.method, denied, false) == 1 {
                warn!(error = %problem, "the token file changed, and its token lacks a right that the former one has; the former one is in use again");
            }
        }
    }

    fn former_of(&self, token: &Arc<Token>) -> Option<Arc<Token>> {
        let slot = self.0.former.read().unwrap_or_else(PoisonError::into_inner);
        let former = slot.as_ref();
        former
            .filter(|former| Arc::ptr_eq(&former.successor, token) && !former.token.is_over())
            .map(|former| Arc::clone(&former.token))
    }

    fn put_former(&self, former: Option<Former>) {
        let mut slot = self
            .0
            .former
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *slot = former;
    }

    fn token_at_hand(&self) -> Option<Arc<Token>> {
        let slot = self.0.token.read().unwrap_or_else(PoisonError::into_inner);
        slot.clone().filter(|token| !token.is_over())
    }

    fn put(&self, token: Option<Arc<Token>>) {
        let mut slot = self.0.token.write().unwrap_or_else(PoisonError::into_inner);
        *slot = token;
    }

    /// Forgets a token, unless another one took its place already; whether it was there.
    fn discard(&self, refused: &Arc<Token>) -> bool {
        let mut slot = self.0.token.write().unwrap_or_else(PoisonError::into_inner);
        let is_present = slot
            .as_ref()
            .is_some_and(|token| Arc::ptr_eq(token, refused));
        if is_present {
            *slot = None;
        }
        is_present
    }

    /// Forgets a token that was refused. If that happened at once, the login counts as one that failed; what to say of it.
    async fn refuse(&self, refused: &Arc<Token>) -> Option<BaoError> {
        let Ok(mut backoff) = deadline::wait(self.0.backoff.lock()).await else {
            return None;
        };
        if !self.discard(refused) || !refused.is_fresh() {
            return None;
        }
        let method = &self.0.method;
        let problem = method.token_refused();
        let count = backoff.reject(method, problem.clone(), refused.has_worked());
        if count == 0 {
            return None;
        }
        self.0.counts.failed_logins.fetch_add(1, Ordering::Relaxed);
        error!("{problem}");
        Some(problem)
    }

    async fn token(&self) -> Result<Arc<Token>, BaoError> {
        if let Some(token) = self.token_at_hand() {
            return Ok(token);
        }
        // A login is for all callers: one that gives up must not make it count as failed.
        deadline::wait_for_shared(async {
            let mut backoff = self.0.backoff.lock().await;
            if let Some(token) = self.token_at_hand() {
                return Ok(token);
            }
            backoff.check(&self.0.method)?;
            self.log_in_with(&mut backoff).await
        })
        .await?
    }

    /// Gets a new token while the present one, if any, stays in use.
    async fn log_in_with(&self, backoff: &mut LoginBackoff) -> Result<Arc<Token>, BaoError> {
        let method = &self.0.method;
        let (mount, role) = (method.mount(), method.role());
        // Looked at before the files are read: a change in between is one more try, not one that is missed.
        let credential = method.credential();
        match method.log_in(&self.0.login_client, &self.0.unwrapped).await {
            Ok(granted) => {
                let ttl = granted.ttl.map(|ttl| ttl.as_secs());
                info!(role, mount, ttl_seconds = ttl, "OpenBao login ok");
                self.0.counts.logins.fetch_add(1, Ordering::Relaxed);
                backoff.succeed(credential);
                let token = Arc::new(Token::from(granted));
                self.put(Some(Arc::clone(&token)));
                Ok(token)
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
                let pause = backoff.fail(method, credential, problem.clone());
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
    async fn prolong(&self, token: &Arc<Token>) {
        if token.is_renewable {
            match self.renew(token).await {
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
        let mut backoff = self.0.backoff.lock().await;
        if backoff.check(&self.0.method).is_err() {
            return;
        }
        // A failure is logged where it happens; the present token stays in use until it is refused.
        let is_replaced = self.log_in_with(&mut backoff).await.is_ok();
        drop(backoff);
        if is_replaced {
            self.give_back(token).await;
        }
    }

    /// Revokes a token that another one replaced, which would lie in OpenBao until its end. One from a file is left alone.
    async fn give_back(&self, replaced: &Token) {
        if matches!(self.0.method, LoginMethod::TokenFile(_)) {
            return;
        }
        let request = Request::new(Operation::Token, Method::Post, "auth/token/revoke-self")
            .body(Zeroizing::new(b"{}".to_vec()))
            .token(&replaced.secret)
            .once();
        if let Err(problem) = self.0.login_client.send(&request).await {
            debug!(error = %ErrorChain::new(&problem), "the former token is not revoked and ends by itself");
        }
    }

    async fn renew(&self, token: &Token) -> Result<Token, BaoError> {
        let request = Request::new(Operation::Token, Method::Post, "auth/token/renew-self")
            .body(Zeroizing::new(b"{}".to_vec()))
            .token(&token.secret);
        let answer = self.0.login_client.send(&request).await?;
        let grant: Grant<'_> = answer.auth()?;
        let ttl = method::seconds(grant.lease_duration);
        Ok(token.renewed(ttl, grant.renewable))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("method", &self.0.method)
            .finish_non_exhaustive()
    }
}
