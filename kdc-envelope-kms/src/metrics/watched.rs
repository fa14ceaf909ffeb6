//! What keys and caches say of themselves at each scrape.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use kdc_envelope::cache::{CachedKek, Stats};
use kdc_envelope::{KekStatus, KeyEncryptionKey};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::families::KeyLabel;

/// Keys and caches by name, in the order in which they came. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Watched(Arc<Mutex<Vec<Key>>>);

#[derive(Debug)]
struct Key {
    label: KeyLabel,
    kek: Arc<dyn KeyEncryptionKey>,
    cache: Option<Arc<CachedKek>>,
}

/// The state of one key at one moment.
struct Observed {
    label: KeyLabel,
    status: Option<KekStatus>,
    cache: Option<Stats>,
}

impl Watched {
    pub(super) fn watch(
        &self,
        name: &str,
        kek: Arc<dyn KeyEncryptionKey>,
        cache: Option<Arc<CachedKek>>,
    ) {
        let label = KeyLabel { key: name.into() };
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|key| key.label != label);
        keys.push(Key { label, kek, cache });
    }

    fn observe(&self) -> Vec<Observed> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.iter()
            .map(|key| Observed {
                label: key.label.clone(),
                status: key.kek.status().ok(),
                cache: key.cache.as_ref().map(|cache| cache.stats()),
            })
            .collect()
    }
}

impl Collector for Watched {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let keys = self.observe();
        let encoder = &mut encoder;
        encode_gauge(encoder, &HEALTHY, &keys)?;
        encode_gauge(encoder, &DEGRADED, &keys)?;
        encode_gauge(encoder, &KEY_VERSION, &keys)?;
        encode_gauge(encoder, &CACHE_ENTRIES, &keys)?;
        for counter in &CACHE_COUNTERS {
            let value = |key: &Observed| key.cache.as_ref().map(counter.value);
            let samples = keys
                .iter()
                .filter_map(|key| Some((&key.label, value(key)?)));
            let samples = samples.map(|(label, value)| (label, ConstCounter::new(value)));
            let described = (counter.name, counter.help, MetricType::Counter);
            encode(encoder, described, samples)?;
        }
        Ok(())
    }
}

fn encode_gauge(
    encoder: &mut DescriptorEncoder<'_>,
    gauge: &StateGauge,
    keys: &[Observed],
) -> Result<(), fmt::Error> {
    let samples = keys
        .iter()
        .filter_map(|key| Some((&key.label, ConstGauge::new((gauge.value)(key)?))));
    encode(
        encoder,
        (gauge.name, gauge.help, MetricType::Gauge),
        samples,
    )
}

/// A family with its samples; nothing at all if there are none.
fn encode<'a, M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, metric_type): (&str, &str, MetricType),
    samples: impl Iterator<Item = (&'a KeyLabel, M)>,
) -> Result<(), fmt::Error> {
    let mut samples = samples.peekable();
    if samples.peek().is_none() {
        return Ok(());
    }
    let mut metric = encoder.encode_descriptor(name, help, None, metric_type)?;
    samples.try_for_each(|(label, value)| value.encode(metric.encode_family(label)?))
}

/// A gauge, and where its value is found.
struct StateGauge {
    name: &'static str,
    help: &'static str,
    value: fn(&Observed) -> Option<i64>,
}

/// A counter of caches, and where its value is found.
struct CacheCounter {
    name: &'static str,
    help: &'static str,
    value: fn(&Stats) -> u64,
}

const HEALTHY: StateGauge = StateGauge {
    name: "healthy",
    help: "1 if the key encryption key can wrap and unwrap.",
    value: |key| {
        let is_well = |status: &KekStatus| status.degraded.is_none();
        Some(i64::from(key.status.as_ref().is_some_and(is_well)))
    },
};

const DEGRADED: StateGauge = StateGauge {
    name: "degraded",
    help: "1 while Status goes on to be good although the backend of the key encryption key cannot be reached.",
    value: |key| {
        let is_degraded = |status: &KekStatus| status.degraded.is_some();
        Some(i64::from(key.status.as_ref().is_some_and(is_degraded)))
    },
};

const KEY_VERSION: StateGauge = StateGauge {
    name: "key_version",
    help: "Version of the key encryption key that wraps.",
    value: |key| Some(i64::from(key.status.as_ref()?.version)),
};

const CACHE_ENTRIES: StateGauge = StateGauge {
    name: "cache_entries",
    help: "Unwrapped keys that are kept now.",
    value: |key| i64::try_from(key.cache?.entries).ok(),
};

const CACHE_COUNTERS: [CacheCounter; 5] = [
    CacheCounter {
        name: "cache_hits",
        help: "Unwrapped keys given from the cache.",
        value: |stats| stats.hits,
    },
    CacheCounter {
        name: "cache_misses",
        help: "Calls to the backend for keys that the cache did not have, or had for too long.",
        value: |stats| stats.misses,
    },
    CacheCounter {
        name: "cache_shared",
        help: "Calls that waited for the backend call of another.",
        value: |stats| stats.shared,
    },
    CacheCounter {
        name: "cache_stale",
        help: "Unwrapped keys given beyond their time because the backend was unavailable.",
        value: |stats| stats.stale,
    },
    CacheCounter {
        name: "cache_evicted",
        help: "Unwrapped keys that left to make room for others.",
        value: |stats| stats.evicted,
    },
];
