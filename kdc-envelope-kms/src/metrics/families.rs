//! What is counted when it happens, and under which labels.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The families of all keys. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Families {
    pub(super) rpcs: Family<RpcCode, Counter>,
    pub(super) durations: Family<RpcLabels, Histogram, fn() -> Histogram>,
    pub(super) in_flight: Family<KeyLabel, Gauge>,
    pub(super) wraps: Family<WrapLabels, Counter>,
    pub(super) reloads: Family<ReloadLabels, Counter>,
    pub(super) recreations: Family<KeyLabel, Counter>,
    pub(super) refused_peers: Family<KeyLabel, Counter>,
    pub(super) evicted: Family<ListenerLabel, Counter>,
    pub(super) keyring_usable: Family<KeyLabel, Gauge>,
}

/// The names of keys are shared, so that a label set for a lookup costs no allocation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct KeyLabel {
    pub(super) key: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ListenerLabel {
    pub(super) listener: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RpcLabels {
    pub(super) key: Arc<str>,
    pub(super) rpc: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RpcCode {
    pub(super) key: Arc<str>,
    pub(super) rpc: &'static str,
    pub(super) code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct WrapLabels {
    pub(super) key: Arc<str>,
    pub(super) key_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReloadLabels {
    pub(super) key: Arc<str>,
    pub(super) result: &'static str,
}

impl Families {
    /// Fresh families, which `registry` renders.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let families = Self {
            rpcs: Family::default(),
            durations: Family::new_with_constructor(durations),
            in_flight: Family::default(),
            wraps: Family::default(),
            reloads: Family::default(),
            recreations: Family::default(),
            refused_peers: Family::default(),
            evicted: Family::default(),
            keyring_usable: Family::default(),
        };
        registry.register(
            "rpcs",
            "KMS v2 calls by gRPC code; `cancelled` are those the client gave up",
            families.rpcs.clone(),
        );
        registry.register(
            "rpc_duration_seconds",
            "Time from request to answer",
            families.durations.clone(),
        );
        registry.register(
            "rpcs_in_flight",
            "KMS v2 calls that run now",
            families.in_flight.clone(),
        );
        registry.register(
            "wraps",
            "Data keys that were wrapped for clients, by the key id they were wrapped under",
            families.wraps.clone(),
        );
        registry.register(
            "keyring_reloads",
            "Changes of the keyring file, taken or refused",
            families.reloads.clone(),
        );
        registry.register(
            "socket_recreations",
            "Times the socket had vanished or been replaced and was made anew",
            families.recreations.clone(),
        );
        registry.register(
            "refused_peers",
            "Connections closed because of the uid behind them",
            families.refused_peers.clone(),
        );
        registry.register(
            "evicted_connections",
            "Connections closed because there were too many, or too many calls on them",
            families.evicted.clone(),
        );
        registry.register(
            "keyring_usable",
            "1 if the keyring file was usable when it was last read; the key in use stays until it is",
            families.keyring_usable.clone(),
        );
        families
    }
}

/// 10 µs to 2.6 s, doubling: a local key answers in microseconds, and no call lasts longer than the deadline.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(1e-5, 2.0, 19))
}
