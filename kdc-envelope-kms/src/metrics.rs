//! What the plugin counts, in the text format of Prometheus. No label value comes from a client.

use std::sync::Arc;
use std::time::Instant;

use kdc_envelope::KekStatus;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tonic::Code;

/// The three calls of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rpc {
    /// `Status`
    Status,
    /// `Encrypt`
    Encrypt,
    /// `Decrypt`
    Decrypt,
}

impl Rpc {
    /// All calls, in the order of the API.
    pub const ALL: [Self; 3] = [Self::Status, Self::Encrypt, Self::Decrypt];

    /// The label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
        }
    }

    /// The call behind an HTTP/2 path.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        match path {
            "/v2.KeyManagementService/Status" => Some(Self::Status),
            "/v2.KeyManagementService/Encrypt" => Some(Self::Encrypt),
            "/v2.KeyManagementService/Decrypt" => Some(Self::Decrypt),
            _ => None,
        }
    }
}

/// All metrics of one server; clones share them. Every name begins with `kdc_kms_`.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    rpcs: Family<RpcCode, Counter>,
    durations: Family<RpcLabel, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    healthy: Gauge,
    key_version: Gauge,
    reloads: Family<ReloadResult, Counter>,
    recreations: Counter,
    refused_peers: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RpcLabel {
    rpc: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RpcCode {
    rpc: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadResult {
    result: &'static str,
}

impl Metrics {
    /// All counters at zero. `version` is that of the program, for `kdc_kms_build_info`.
    #[must_use]
    pub fn new(version: &'static str) -> Self {
        let mut inner = Inner {
            registry: Registry::with_prefix("kdc_kms"),
            rpcs: Family::default(),
            durations: Family::new_with_constructor(durations),
            in_flight: Gauge::default(),
            healthy: Gauge::default(),
            key_version: Gauge::default(),
            reloads: Family::default(),
            recreations: Counter::default(),
            refused_peers: Counter::default(),
        };
        inner.register(version);
        for rpc in Rpc::ALL {
            drop(inner.rpcs.get_or_create(&rpc_code(rpc, Code::Ok)));
            drop(inner.durations.get_or_create(&rpc_label(rpc)));
        }
        for result in [RELOADED, REFUSED] {
            drop(inner.reloads.get_or_create(&ReloadResult { result }));
        }
        Self(Arc::new(inner))
    }

    /// Begins a call. Unless [`RunningCall::finish`] is reached it counts as cancelled.
    #[must_use]
    pub fn start(&self, rpc: Rpc) -> RunningCall {
        self.0.in_flight.inc();
        RunningCall {
            metrics: self.clone(),
            rpc,
            started: Instant::now(),
            code: Code::Cancelled,
        }
    }

    /// The keyring file changed: `taken` says whether the new one is in use or was refused.
    pub fn keyring_reloaded(&self, taken: bool) {
        let result = if taken { RELOADED } else { REFUSED };
        self.0.reloads.get_or_create(&ReloadResult { result }).inc();
    }

    /// The socket was made anew because it had vanished or been replaced.
    pub fn socket_recreated(&self) {
        self.0.recreations.inc();
    }

    /// A connection was closed because of the uid behind it.
    pub fn peer_refused(&self) {
        self.0.refused_peers.inc();
    }

    /// All metrics as text, with what `status` says at this moment.
    #[must_use]
    pub fn render(&self, status: Option<&KekStatus>) -> String {
        self.0.healthy.set(i64::from(status.is_some()));
        if let Some(status) = status {
            self.0.key_version.set(i64::from(status.version));
        }
        let mut out = String::new();
        // A `String` takes every write.
        let _ = text::encode(&mut out, &self.0.registry);
        out
    }
}

impl Inner {
    fn register(&mut self, version: &'static str) {
        let registry = &mut self.registry;
        registry.register(
            "rpcs",
            "KMS v2 calls by gRPC code; `cancelled` are those the client gave up",
            self.rpcs.clone(),
        );
        registry.register(
            "rpc_duration_seconds",
            "Time from request to answer",
            self.durations.clone(),
        );
        registry.register(
            "rpcs_in_flight",
            "KMS v2 calls that run now",
            self.in_flight.clone(),
        );
        registry.register(
            "healthy",
            "1 if the key encryption key can wrap and unwrap",
            self.healthy.clone(),
        );
        registry.register(
            "key_version",
            "Version of the key encryption key that wraps",
            self.key_version.clone(),
        );
        registry.register(
            "keyring_reloads",
            "Changes of the keyring file, taken or refused",
            self.reloads.clone(),
        );
        registry.register(
            "socket_recreations",
            "Times the socket had vanished or been replaced and was made anew",
            self.recreations.clone(),
        );
        registry.register(
            "refused_peers",
            "Connections closed because of the uid behind them",
            self.refused_peers.clone(),
        );
        registry.register(
            "build",
            "The program that runs",
            Info::new([("version", version)]),
        );
    }
}

/// A call in flight; dropping it early counts it as cancelled.
#[derive(Debug)]
pub struct RunningCall {
    metrics: Metrics,
    rpc: Rpc,
    started: Instant,
    code: Code,
}

impl RunningCall {
    /// Ends the call with `code`.
    pub fn finish(mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for RunningCall {
    fn drop(&mut self) {
        let inner = &self.metrics.0;
        inner.in_flight.dec();
        inner
            .rpcs
            .get_or_create(&rpc_code(self.rpc, self.code))
            .inc();
        inner
            .durations
            .get_or_create(&rpc_label(self.rpc))
            .observe(self.started.elapsed().as_secs_f64());
    }
}

const RELOADED: &str = "ok";
const REFUSED: &str = "refused";

const fn rpc_label(rpc: Rpc) -> RpcLabel {
    RpcLabel { rpc: rpc.as_str() }
}

const fn rpc_code(rpc: Rpc, code: Code) -> RpcCode {
    RpcCode {
        rpc: rpc.as_str(),
        code: code_label(code),
    }
}

/// 10 µs to 2.6 s, doubling: a local key answers in microseconds, and no call lasts longer than the deadline.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(1e-5, 2.0, 19))
}

const fn code_label(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_call_is_cancelled_and_never_a_success() {
        let metrics = Metrics::new("1.2.3");
        drop(metrics.start(Rpc::Encrypt));
        metrics.start(Rpc::Decrypt).finish(Code::DataLoss);
        let text = metrics.render(None);
        for line in [
            "kdc_kms_rpcs_total{rpc=\"encrypt\",code=\"cancelled\"} 1",
            "kdc_kms_rpcs_total{rpc=\"encrypt\",code=\"ok\"} 0",
            "kdc_kms_rpcs_total{rpc=\"decrypt\",code=\"data_loss\"} 1",
            "kdc_kms_rpc_duration_seconds_count{rpc=\"encrypt\"} 1",
            "kdc_kms_rpcs_in_flight 0",
            "kdc_kms_healthy 0",
            "kdc_kms_build_info{version=\"1.2.3\"} 1",
            "kdc_kms_keyring_reloads_total{result=\"refused\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
        }
    }
}
