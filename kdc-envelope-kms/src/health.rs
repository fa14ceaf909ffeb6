//! One answer to "can this plugin work now?", for gRPC health, `/readyz` and people.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kdc_envelope::KekStatus;
use tokio::sync::Mutex;
use tonic_health::ServingStatus;

use crate::service::{Chain, KmsService, public_message};

/// A self-test wraps and unwraps, which a remote backend pays for; so its result is kept for this long.
pub(crate) const SELF_TEST_INTERVAL: Duration = Duration::from_secs(10);

/// Whether the plugin can wrap and unwrap, and whether it is about to stop.
#[derive(Debug, Clone)]
pub(crate) struct Health(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    service: KmsService,
    draining: AtomicBool,
    last_test: Mutex<Option<(Instant, Result<(), String>)>>,
}

impl Health {
    pub(crate) fn new(service: KmsService) -> Self {
        Self(Arc::new(Inner {
            service,
            draining: AtomicBool::new(false),
            last_test: Mutex::new(None),
        }))
    }

    /// From now on the answer is no.
    pub(crate) fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// From cached knowledge alone.
    pub(crate) fn kek_status(&self) -> Option<KekStatus> {
        self.0.service.kek_status().ok()
    }

    /// Whether calls should be sent here, from cached knowledge alone.
    pub(crate) fn serving_status(&self) -> ServingStatus {
        if !self.0.draining.load(Ordering::Relaxed) && self.kek_status().is_some() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        }
    }

    /// Whether Encrypt and Decrypt work, tried at most once per [`SELF_TEST_INTERVAL`].
    ///
    /// The error is the reason in words that anybody may read.
    pub(crate) async fn ready(&self) -> Result<(), String> {
        if self.0.draining.load(Ordering::Relaxed) {
            return Err("shutting down".to_owned());
        }
        self.0
            .service
            .kek_status()
            .map_err(|error| public_message(&error))?;
        let mut last = self.0.last_test.lock().await;
        if let Some((at, result)) = &*last
            && at.elapsed() < SELF_TEST_INTERVAL
        {
            return result.clone();
        }
        let result = self.0.service.self_test().await.map_err(|error| {
            tracing::warn!(kind = error.kind().as_str(), error = %Chain::new(&error), "self-test failed");
            public_message(&error)
        });
        *last = Some((Instant::now(), result.clone()));
        result
    }
}
