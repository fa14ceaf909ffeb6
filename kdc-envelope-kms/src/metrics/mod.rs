//! What the plugin counts, in the text format of Prometheus. No label value comes from a client.
//!
//! Each key has its own series under the label `key`, which is the name of its endpoint. What can be counted is counted
//! when it happens, on series that exist already; what a key encryption key or a cache knows of itself is asked for
//! at each scrape.

mod families;
mod key;
mod rpc;
mod watched;

use std::sync::Arc;

use kdc_envelope::KeyEncryptionKey;
use kdc_envelope::cache::CachedKek;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use key::{KeyMetrics, KeyringReloads, RunningCall};
/// The library behind the metrics, in the version whose [`Collector`] the [builder](MetricsBuilder::collector) takes.
pub use prometheus_client;
pub use rpc::Rpc;

use families::{Families, ListenerLabel};
use watched::Watched;

/// All metrics of one program; clones share them. Every name begins with `kdc_kms_`.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    families: Families,
    watched: Watched,
}

impl Metrics {
    /// No key yet, and no collectors but our own. `version` is that of the program, for `kdc_kms_build_info`.
    #[must_use]
    pub fn new(version: &'static str) -> Self {
        Self::builder(version).build()
    }

    /// The same with room for collectors of the program's own.
    #[must_use]
    pub fn builder(version: &'static str) -> MetricsBuilder {
        MetricsBuilder {
            version,
            collectors: Vec::new(),
        }
    }

    /// The series of the key `name`, the counters of good calls at zero. The same name gives the same series.
    #[must_use]
    pub fn key(&self, name: &str) -> KeyMetrics {
        KeyMetrics::new(name.into(), self.0.families.clone())
    }

    /// Counts connections of `listener` that had to make room for others.
    pub(crate) fn evicted_connections(&self, listener: &'static str) -> Counter {
        let label = ListenerLabel { listener };
        self.0.families.evicted.get_or_create_owned(&label)
    }

    /// All metrics as text, with what keys and caches say of themselves at this moment.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::new();
        // A `String` takes every write.
        let _ = text::encode(&mut out, &self.0.registry);
        out
    }

    /// From now on the state of `kek`, and of the cache in front of it, is part of what is rendered; under a name that is
    /// watched already they take the place of what was there.
    pub(crate) fn watch(
        &self,
        name: &str,
        kek: Arc<dyn KeyEncryptionKey>,
        cache: Option<Arc<CachedKek>>,
    ) {
        self.0.watched.watch(name, kek, cache);
    }
}

/// Metrics to which the program adds collectors of its own.
///
/// ```
/// use kdc_envelope_kms::metrics::Metrics;
/// use kdc_envelope_kms::metrics::prometheus_client::collector::Collector;
/// use kdc_envelope_kms::metrics::prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
/// use kdc_envelope_kms::metrics::prometheus_client::metrics::gauge::ConstGauge;
///
/// #[derive(Debug)]
/// struct Doors;
///
/// impl Collector for Doors {
///     fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
///         let open = ConstGauge::new(2i64);
///         open.encode(encoder.encode_descriptor("doors", "Open doors.", None, open.metric_type())?)
///     }
/// }
///
/// let metrics = Metrics::builder("1.0.0").collector(Box::new(Doors)).build();
/// assert!(metrics.render().contains("kdc_kms_doors 2\n"));
/// ```
#[derive(Debug)]
pub struct MetricsBuilder {
    version: &'static str,
    collectors: Vec<Box<dyn Collector>>,
}

impl MetricsBuilder {
    /// Asks `collector` at every scrape. Its names get the prefix `kdc_kms_`; they must not be those of another metric.
    #[must_use]
    pub fn collector(mut self, collector: Box<dyn Collector>) -> Self {
        self.collectors.push(collector);
        self
    }

    /// The metrics.
    #[must_use]
    pub fn build(self) -> Metrics {
        let mut registry = Registry::with_prefix("kdc_kms");
        let families = Families::register(&mut registry);
        let watched = Watched::default();
        registry.register(
            "build",
            "The program that runs",
            Info::new([("version", self.version)]),
        );
        registry.register_collector(Box::new(watched.clone()));
        for collector in self.collectors {
            registry.register_collector(collector);
        }
        Metrics(Arc::new(Inner {
            registry,
            families,
            watched,
        }))
    }
}

#[cfg(test)]
mod tests;
