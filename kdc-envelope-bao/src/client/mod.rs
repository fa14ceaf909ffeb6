//! Sends requests to OpenBao: several addresses, retries with jitter, a circuit breaker, and answers that mean something.
//!
//! A call goes to the address that worked last. Where OpenBao is away or not ready, the others are tried, then all again
//! after a pause, until [`ClientConfig::call_timeout`] or the deadline of the caller, whichever is earlier. A request that must not be made
//! twice is sent once.

mod breaker;
mod config;
mod index;
mod request;
mod response;
mod stats;
mod transport;

use core::error::Error;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::{Arc, PoisonError, RwLock};

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::field::Empty;
use tracing::{Instrument as _, debug_span};
use zeroize::Zeroizing;

pub use breaker::BreakerState;
pub use config::{
    BaoAddress, ClientCertificateFiles, ClientConfig, InvalidAddress, InvalidNamespace, Namespace,
    TlsConfig,
};
pub(crate) use index::SharedIndex;
pub use request::{Method, Request};
pub use response::Response;
pub(crate) use response::{is_lag, or_default, words};
pub use stats::{Operation, Outcome, Stats};

use crate::deadline;
use crate::error::{BaoError, CredentialError, Place};
use breaker::Breaker;
use index::may_refuse;
use response::{Question, judge, server_time};
use transport::{Endpoint, Transport};

/// The most bytes of an answer that are read.
pub const MAX_RESPONSE_LEN: usize = 8 << 20;

/// The first pause between rounds over all addresses; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(40);
const LONGEST_PAUSE: Duration = Duration::from_millis(640);
/// No pause is longer, and this is short enough to be calculated with.
const LONGEST_SPREAD: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

/// OpenBao seen from here. Clones share connections, breaker and counters.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
    namespace: Option<Namespace>,
}

#[derive(Debug)]
struct Shared {
    config: ClientConfig,
    transport: RwLock<Arc<Transport>>,
    preferred: AtomicUsize,
    breaker: Breaker,
    /// What opens the breaker, for callers that meet it open.
    last_outage: RwLock<Option<Arc<BaoError>>>,
    stats: Stats,
}

/// What `sys/health` says; it needs no token.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct ServerHealth {
    /// Whether it was ever initialised.
    pub initialized: bool,
    /// Whether it is sealed.
    pub sealed: bool,
    /// Whether another node is active.
    pub standby: bool,
    /// Such as `2.7.2`.
    pub version: String,
    /// Its clock, in seconds since 1970.
    pub server_time_utc: i64,
    /// Name of the cluster; empty while it is sealed.
    #[serde(default)]
    pub cluster_name: String,
    /// Whether it is an enterprise edition. Only Vault says so; `None` from OpenBao.
    #[serde(default)]
    pub enterprise: Option<bool>,
}

impl Client {
    /// A client for `config`. Reads certificates, and sends nothing.
    ///
    /// # Errors
    /// [`CredentialError`] if a certificate file cannot be used.
    pub fn new(config: ClientConfig) -> Result<Self, CredentialError> {
        let transport = Transport::open(&config)?;
        Ok(Self {
            namespace: config.namespace.clone(),
            shared: Arc::new(Shared {
                transport: RwLock::new(Arc::new(transport)),
                preferred: AtomicUsize::new(0),
                breaker: Breaker::new(),
                last_outage: RwLock::default(),
                stats: Stats::default(),
                config,
            }),
        })
    }

    /// The same in another namespace, or in none.
    #[must_use]
    pub fn in_namespace(&self, namespace: Option<Namespace>) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            namespace,
        }
    }

    /// A path as messages name it, where no answer tells which server it is about.
    pub(crate) fn place(&self, path: Arc<str>, namespace: Option<&Namespace>) -> Place {
        let address = self.config().addresses.first();
        Place {
            path,
            namespace: namespace.cloned(),
            address: address.map(ToString::to_string).unwrap_or_default().into(),
        }
    }

    /// The namespace that requests go to.
    #[must_use]
    pub const fn namespace(&self) -> Option<&Namespace> {
        self.namespace.as_ref()
    }

    /// How it was set up.
    #[must_use]
    pub fn config(&self) -> &ClientConfig {
        &self.shared.config
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }

    /// Whether calls go through.
    #[must_use]
    pub fn breaker_state(&self) -> BreakerState {
        self.shared.breaker.state()
    }

    /// Takes over certificate files that changed. Files that cannot be used leave the present state as it is.
    ///
    /// # Errors
    /// [`CredentialError`]
    pub fn reload_certificates(&self) -> Result<bool, CredentialError> {
        let present = self.transport();
        let Some(next) = present.reopened(&self.shared.config)? else {
            return Ok(false);
        };
        let mut slot = self
            .shared
            .transport
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *slot = Arc::new(next);
        drop(slot);
        self.shared.stats.count_tls_reload();
        Ok(true)
    }

    /// The health of each configured address, by itself.
    pub async fn health(&self) -> Vec<(BaoAddress, Result<ServerHealth, BaoError>)> {
        let path = "sys/health?standbyok=true&sealedcode=200&uninitcode=200";
        let request = Request::new(Operation::Admin, Method::Get, path);
        let anywhere = self.in_namespace(None);
        let mut all = Vec::new();
        for endpoint in &self.transport().endpoints {
            let answer = anywhere.try_once(endpoint, &request).await;
            let health = answer.and_then(|answer| answer.whole());
            all.push((endpoint.address.clone(), health));
        }
        all
    }

    /// Sends `request` and waits for an answer that settles it.
    ///
    /// # Errors
    /// [`BaoError`]
    pub async fn send(&self, request: &Request<'_>) -> Result<Response, BaoError> {
        let pass = self
            .shared
            .breaker
            .enter(Instant::now())
            .map_err(|retry_in| BaoError::CircuitOpen {
                retry_in,
                cause: self.last_outage(),
            })?;
        // On the heap, or the future of every caller above would hold all of a request in itself, several times.
        let result = Box::pin(self.attempts(request)).await;
        match &result {
            Err(error) if error.is_outage() => {
                self.remember_outage(error.clone());
                pass.outage(Instant::now());
            }
            // A caller in a hurry says nothing about OpenBao.
            Err(BaoError::DeadlineExceeded) => drop(pass),
            _ => pass.answered(),
        }
        let is_late = matches!(
            result,
            Err(BaoError::Lagging { .. } | BaoError::Throttled { .. })
        );
        if is_late
            && let Some(index) = &request.index
            && let Some(unreached) = index.latest()
        {
            // No server reached it within a whole call; the next call may do without.
            index.forget(&unreached);
        }
        result
    }

    fn last_outage(&self) -> Option<Arc<BaoError>> {
        let slot = self.shared.last_outage.read();
        slot.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember_outage(&self, outage: BaoError) {
        let slot = self.shared.last_outage.write();
        *slot.unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(outage));
    }

    async fn attempts(&self, request: &Request<'_>) -> Result<Response, BaoError> {
        let limit = self.shared.config.call_timeout;
        let own_deadline = Instant::now() + limit;
        let deadline = deadline::current().map_or(own_deadline, |given| given.min(own_deadline));
        let is_own = deadline == own_deadline;
        let transport = self.transport();
        let count = transport.endpoints.len();
        let preferred = self.shared.preferred.load(Ordering::Relaxed);
        let mut pause = FIRST_PAUSE;
        let mut last = None;
        loop {
            for (index, endpoint) in in_turn(&transport.endpoints, preferred) {
                if Instant::now() >= deadline {
                    return Err(last.unwrap_or(BaoError::DeadlineExceeded));
                }
                let attempt = timeout_at(deadline, self.try_once(endpoint, request)).await;
                let error = match attempt {
                    Ok(Ok(answer)) => {
                        if index != preferred {
                            self.shared.preferred.store(index, Ordering::Relaxed);
                        }
                        return Ok(answer);
                    }
                    Ok(Err(error)) => error,
                    Err(_) if is_own => BaoError::Timeout {
                        address: Arc::clone(&endpoint.shown),
                        limit,
                    },
                    // What failed before says more.
                    Err(_) => return Err(last.unwrap_or(BaoError::DeadlineExceeded)),
                };
                if !request.is_repeatable || !is_worth_another_try(&error) {
                    return Err(error);
                }
                tracing::debug!(path = request.path, %error, "trying again");
                last = Some(error);
            }
            let wait = match &last {
                Some(BaoError::Throttled {
                    retry_after: Some(wait),
                    ..
                }) => (*wait).max(pause),
                _ => jittered(pause),
            };
            if count == 0 || Instant::now() + wait >= deadline {
                return Err(last.unwrap_or(BaoError::NotAskedYet));
            }
            sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One try at one address, counted.
    async fn try_once(
        &self,
        endpoint: &Endpoint,
        request: &Request<'_>,
    ) -> Result<Response, BaoError> {
        let limit = self.shared.config.attempt_timeout;
        let started = Instant::now();
        let (address, operation) = (&*endpoint.shown, request.operation.as_str());
        let span = debug_span!("openbao", operation, address, outcome = Empty);
        let exchange = self.exchange(endpoint, request).instrument(span.clone());
        let result = timeout(limit, exchange).await.unwrap_or_else(|_| {
            Err(BaoError::Timeout {
                address: Arc::clone(&endpoint.shown),
                limit,
            })
        });
        let outcome = match &result {
            Ok(_) => Outcome::Ok,
            Err(error) => Outcome::Failed(error.class()),
        };
        span.record("outcome", outcome.as_str());
        self.shared
            .stats
            .count(request.operation, outcome, started.elapsed());
        result
    }

    async fn exchange(
        &self,
        endpoint: &Endpoint,
        request: &Request<'_>,
    ) -> Result<Response, BaoError> {
        let index = request.index.as_ref().and_then(SharedIndex::latest);
        let response = self.ask(endpoint, request, index.as_deref()).await?;
        let status = response.status().as_u16();
        let answer = self.read(endpoint, request, response).await;
        if let (Some(refused), Err(error)) = (&index, &answer)
            && may_refuse(status)
        {
            // Kept, it would spoil every call until a look at the key succeeds, which it spoils too.
            tracing::debug!(path = request.path, %error, "asking again without an index");
            request.forget_index(refused);
            let response = self.ask(endpoint, request, None).await?;
            return self.read(endpoint, request, response).await;
        }
        answer
    }

    /// Sends the request, and once more where a standby redirects to the active node.
    async fn ask(
        &self,
        endpoint: &Endpoint,
        request: &Request<'_>,
        index: Option<&str>,
    ) -> Result<reqwest::Response, BaoError> {
        let server_name = self.shared.config.tls.server_name.as_deref();
        let url = endpoint
            .address
            .join(request.path, server_name)
            .ok_or_else(|| unintelligible("the server name", endpoint))?;
        let response = self.post(endpoint, request, index, url).await?;
        if response.status() != StatusCode::TEMPORARY_REDIRECT {
            return Ok(response);
        }
        let target = self.redirect_target(endpoint, response.headers(), response.url())?;
        let response = self.post(endpoint, request, index, target).await?;
        if response.status() == StatusCode::TEMPORARY_REDIRECT {
            return Err(BaoError::Unready {
                address: Arc::clone(&endpoint.shown),
                status: StatusCode::TEMPORARY_REDIRECT.as_u16(),
                message: "two redirects in a row; no node is active".to_owned(),
            });
        }
        Ok(response)
    }

    async fn post(
        &self,
        endpoint: &Endpoint,
        request: &Request<'_>,
        index: Option<&str>,
        url: Url,
    ) -> Result<reqwest::Response, BaoError> {
        let method = match request.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Patch => reqwest::Method::PATCH,
            Method::Delete => reqwest::Method::DELETE,
        };
        let mut http = endpoint
            .http
            .request(method, url)
            .headers(self.headers(request, index));
        if let Some(body) = &request.body {
            http = http
                .header(
                    CONTENT_TYPE,
                    HeaderValue::from_static(request.method.content_type()),
                )
                .body(body.clone());
        }
        http.send()
            .await
            .map_err(|error| unreachable(endpoint, error))
    }

    async fn read(
        &self,
        endpoint: &Endpoint,
        request: &Request<'_>,
        mut response: reqwest::Response,
    ) -> Result<Response, BaoError> {
        let announced = response.content_length().unwrap_or_default();
        if announced > MAX_RESPONSE_LEN as u64 {
            return Err(unintelligible("a body over 8 MiB", endpoint));
        }
        let room = usize::try_from(announced).unwrap_or_default();
        let mut body = Zeroizing::new(Vec::with_capacity(room));
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| unreachable(endpoint, error))?
        {
            if body.len() + chunk.len() > MAX_RESPONSE_LEN {
                return Err(unintelligible("a body over 8 MiB", endpoint));
            }
            body.extend_from_slice(&chunk);
        }
        let headers = response.headers();
        let index = headers
            .get("x-vault-index")
            .and_then(|value| value.to_str().ok())
            .map(Arc::from);
        let answer = Response {
            status: response.status(),
            address: Arc::clone(&endpoint.shown),
            body,
            index,
            server_time: server_time(headers),
        };
        let question = Question {
            operation: request.method.as_str(),
            path: request.path,
            namespace: request.namespace.unwrap_or(self.namespace.as_ref()),
            is_batch: request.is_batch,
        };
        judge(question, headers, answer)
    }

    fn headers(&self, request: &Request<'_>, index: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        // Agents and proxies of OpenBao may demand it, against forged requests of browsers.
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        let text = |text: &str| HeaderValue::from_str(text).ok();
        if let Some(mut value) = request.token.and_then(|token| text(token.expose())) {
            value.set_sensitive(true);
            headers.insert("x-vault-token", value);
        }
        let namespace = request.namespace.unwrap_or(self.namespace.as_ref());
        if let Some(value) = namespace.and_then(|name| text(name.as_str())) {
            headers.insert("x-vault-namespace", value);
        }
        if let Some(value) = index.and_then(text) {
            headers.insert("x-vault-index", value);
            headers.insert(
                "x-vault-inconsistent",
                HeaderValue::from_static("forward-active-node"),
            );
        }
        headers
    }

    /// Where a standby that cannot forward sends us: only to servers we know, and never from https to http.
    fn redirect_target(
        &self,
        endpoint: &Endpoint,
        headers: &HeaderMap,
        from: &Url,
    ) -> Result<Url, BaoError> {
        let target = headers
            .get(LOCATION)
            .and_then(|location| location.to_str().ok())
            .and_then(|location| from.join(location).ok())
            .ok_or_else(|| unintelligible("the redirect", endpoint))?;
        let config = &self.shared.config;
        let host = format!(
            "{}:{}",
            target.host_str().unwrap_or_default(),
            target.port_or_known_default().unwrap_or_default()
        );
        let is_known = config
            .addresses
            .iter()
            .any(|address| address.is_origin_of(&target))
            || config.redirect_hosts.contains(&host);
        let keeps_secrecy = target.scheme() == from.scheme();
        if is_known && keeps_secrecy && target.username().is_empty() {
            return Ok(target);
        }
        Err(BaoError::Redirected {
            host: format!("{}://{host}", target.scheme()),
        })
    }

    fn transport(&self) -> Arc<Transport> {
        let slot = self.shared.transport.read();
        Arc::clone(&slot.unwrap_or_else(PoisonError::into_inner))
    }
}

/// All endpoints with their places, beginning with the preferred one.
fn in_turn(endpoints: &[Endpoint], preferred: usize) -> impl Iterator<Item = (usize, &Endpoint)> {
    let numbered = || endpoints.iter().enumerate();
    numbered().skip(preferred).chain(numbered().take(preferred))
}

fn is_worth_another_try(error: &BaoError) -> bool {
    matches!(
        error,
        BaoError::Unreachable { .. }
            | BaoError::Timeout { .. }
            | BaoError::Sealed { .. }
            | BaoError::Unready { .. }
            | BaoError::Throttled { .. }
            | BaoError::Lagging { .. }
            | BaoError::Redirected { .. }
            | BaoError::Unintelligible { .. }
    )
}

fn unreachable(endpoint: &Endpoint, error: reqwest::Error) -> BaoError {
    let source: Arc<dyn Error + Send + Sync> = Arc::new(error.without_url());
    BaoError::Unreachable {
        address: Arc::clone(&endpoint.shown),
        source,
    }
}

fn unintelligible(what: &'static str, endpoint: &Endpoint) -> BaoError {
    BaoError::Unintelligible {
        what,
        address: Arc::clone(&endpoint.shown),
    }
}

/// Between half of `pause` and all of it, so that those who failed together do not come back together.
pub(crate) fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 2];
    let pause = pause.min(LONGEST_SPREAD);
    // Without random numbers every client waits the whole time.
    if kdc_envelope::random::fill(&mut random).is_err() {
        return pause;
    }
    let share = f64::from(u16::from_be_bytes(random)) / f64::from(u16::MAX);
    pause.mul_f64(0.5 + share / 2.0)
}
