//! One answer to "can this key work now?", for gRPC health, `/readyz` and people.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kdc_envelope::ErrorChain;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;

use crate::observe::CALL_DEADLINE;
use crate::server::{KeyEndpoint, Notice};
use crate::service::KmsService;

/// A self-test wraps and unwraps, which a remote backend pays for; so its result is kept for this long.
pub(crate) const SELF_TEST_INTERVAL: Duration = Duration::from_secs(10);

/// Whether one key can wrap and unwrap.
#[derive(Debug, Clone)]
pub(crate) struct Health(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    service: KmsService,
    self_test: bool,
    notice: Notice,
    last_test: Mutex<Option<(Instant, Result<(), String>)>>,
}

impl Health {
    /// The health of the key that `endpoint` serves. Without a self-test it rests on what the key knows of itself, which costs
    /// nothing.
    pub(crate) fn new(endpoint: &KeyEndpoint, service: KmsService) -> Self {
        Self(Arc::new(Inner {
            name: endpoint.name.clone(),
            service,
            self_test: endpoint.self_test,
            notice: endpoint.notice.clone(),
            last_test: Mutex::new(None),
        }))
    }

    /// From cached knowledge alone. Follows Status: a degraded key is served, since a probe that failed would take its caller out of use
    /// while that one can go on.
    pub(crate) fn serving_status(&self) -> ServingStatus {
        match self.0.service.kek_status() {
            Ok(_) => ServingStatus::Serving,
            Err(_) => ServingStatus::NotServing,
        }
    }

    /// Whether Encrypt and Decrypt work; if that is to be tried, then at most once per [`SELF_TEST_INTERVAL`].
    ///
    /// A success holds the reason if the key is degraded. The error is the chain of causes in one line. Errors never hold secrets, so every
    /// client may read it.
    async fn ready(&self) -> Result<Option<String>, String> {
        let status = self
            .0
            .service
            .kek_status()
            .map_err(|error| one_line(&ErrorChain::new(&error).to_string()))?;
        if let Some(reason) = status.degraded {
            return Ok(Some(one_line(&reason)));
        }
        if self.0.self_test {
            self.tested().await?;
        }
        Ok(None)
    }

    /// The result of the last self-test, or of a new one if that is too old.
    async fn tested(&self) -> Result<(), String> {
        let mut last = self.0.last_test.lock().await;
        if let Some((at, result)) = &*last
            && at.elapsed() < SELF_TEST_INTERVAL
        {
            return result.clone();
        }
        let result = self.test().await;
        if let Err(reason) = &result {
            tracing::warn!(key = self.0.name, error = reason, "self-test failed");
        }
        *last = Some((Instant::now(), result.clone()));
        result
    }

    async fn test(&self) -> Result<(), String> {
        match tokio::time::timeout(CALL_DEADLINE, self.0.service.self_test()).await {
            Ok(result) => result.map_err(|error| one_line(&ErrorChain::new(&error).to_string())),
            Err(_) => Err(format!(
                "the self-test had no answer within {CALL_DEADLINE:?}"
            )),
        }
    }
}

/// Whether the program as a whole should be sent calls: every key works, and it is not about to stop.
#[derive(Debug, Clone)]
pub(crate) struct Readiness {
    keys: Arc<[Health]>,
    stopping: CancellationToken,
}

impl Readiness {
    pub(crate) fn new(keys: Vec<Health>, stopping: CancellationToken) -> Self {
        Self {
            keys: keys.into(),
            stopping,
        }
    }

    /// Asks all keys at once. The error has a line for each that is not ready, in their order.
    ///
    /// A success begins with `ok`, or with `degraded` if a key is, and has a line for each such key and for each notice.
    pub(crate) async fn check(&self) -> Result<String, String> {
        if self.stopping.is_cancelled() {
            return Err("not ready: shutting down\n".to_owned());
        }
        let mut checks = JoinSet::new();
        for (at, key) in self.keys.iter().cloned().enumerate() {
            checks.spawn(async move { (at, key.ready().await, key) });
        }
        let mut results = checks.join_all().await;
        results.sort_by_key(|(at, ..)| *at);
        let (mut failed, mut degraded) = (String::new(), String::new());
        for (_, result, key) in results {
            let name = &key.0.name;
            match result {
                Ok(None) => {}
                Ok(Some(reason)) => degraded += &format!("degraded: key {name}: {reason}\n"),
                Err(reason) => failed += &format!("not ready: key {name}: {reason}\n"),
            }
        }
        if !failed.is_empty() {
            return Err(failed + &degraded);
        }
        let word = if degraded.is_empty() {
            "ok"
        } else {
            "degraded"
        };
        let warnings = self.keys.iter().filter_map(|key| {
            let notice = key.0.notice.text()?;
            Some(format!("warning: key {}: {notice}\n", key.0.name))
        });
        let warnings: String = warnings.collect();
        Ok(format!("{word}\n{degraded}{warnings}"))
    }
}

fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}
