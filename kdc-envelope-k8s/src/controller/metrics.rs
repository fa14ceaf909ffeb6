//! What a controller counts, in the text format of Prometheus. No name of an object is in a label.

use core::time::Duration;
use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::ErrorKind;

/// The library behind the metrics, in the version whose [`Registry`] they are registered at.
pub use prometheus_client;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabel {
    error: &'static str,
}

/// The metrics of one controller; clones share them.
#[derive(Debug, Clone)]
pub struct ControllerMetrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    durations: Histogram,
    runs: Counter,
    failures: Family<ErrorLabel, Counter>,
    leader: Gauge,
    waiting: Gauge,
}

/// From 10 ms to a minute.
const BUCKETS: [f64; 12] = [
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

impl ControllerMetrics {
    /// Registers them at `registry` under names that begin with that of the controller, such as
    /// `kdc_manager_reconcile_runs_total`.
    #[must_use]
    pub fn register(controller: &str, registry: &mut Registry) -> Self {
        let families = Families {
            durations: Histogram::new(BUCKETS),
            runs: Counter::default(),
            failures: Family::default(),
            leader: Gauge::default(),
            waiting: Gauge::default(),
        };
        let registry = registry.sub_registry_with_prefix(controller);
        registry.register(
            "reconcile_duration_seconds",
            "Time that one reconcile took",
            families.durations.clone(),
        );
        registry.register(
            "reconcile_runs",
            "Reconciles that ended",
            families.runs.clone(),
        );
        registry.register(
            "reconcile_failures",
            "Reconciles that failed, by the kind of error",
            families.failures.clone(),
        );
        registry.register(
            "leader",
            "1 if this process holds the Lease",
            families.leader.clone(),
        );
        registry.register(
            "queue_length",
            "Objects that are due and wait",
            families.waiting.clone(),
        );
        Self(Arc::new(families))
    }

    pub(super) fn ran(&self, took: Duration, failure: Option<ErrorKind>) {
        self.0.runs.inc();
        self.0.durations.observe(took.as_secs_f64());
        if let Some(kind) = failure {
            let label = ErrorLabel {
                error: kind.as_str(),
            };
            self.0.failures.get_or_create_owned(&label).inc();
        }
    }

    pub(super) fn set_leader(&self, leads: bool) {
        self.0.leader.set(leads.into());
    }

    pub(super) fn set_waiting(&self, count: usize) {
        self.0.waiting.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
