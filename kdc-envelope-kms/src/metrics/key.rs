//! The series of one key.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use kdc_envelope::KeyId;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use tonic::Code;

use super::families::{Families, KeyLabel, ReloadLabels, RpcCode, RpcLabels, WrapLabels};
use super::rpc::{Rpc, code_label};

/// What happens to one key; clones share it. A good call allocates nothing and looks nothing up.
#[derive(Debug, Clone)]
pub struct KeyMetrics(Arc<Series>);

#[derive(Debug)]
struct Series {
    name: Arc<str>,
    families: Families,
    status: RpcSeries,
    encrypt: RpcSeries,
    decrypt: RpcSeries,
    in_flight: Gauge,
    recreations: Counter,
    refused_peers: Counter,
    /// The key id that wrapped last: nearly always the one that wraps next.
    wraps: RwLock<Option<(KeyId, Counter)>>,
}

#[derive(Debug)]
struct RpcSeries {
    ok: Counter,
    duration: Histogram,
}

impl KeyMetrics {
    pub(super) fn new(name: Arc<str>, families: Families) -> Self {
        let key = KeyLabel {
            key: Arc::clone(&name),
        };
        Self(Arc::new(Series {
            status: RpcSeries::new(&name, &families, Rpc::Status),
            encrypt: RpcSeries::new(&name, &families, Rpc::Encrypt),
            decrypt: RpcSeries::new(&name, &families, Rpc::Decrypt),
            in_flight: families.in_flight.get_or_create_owned(&key),
            recreations: families.recreations.get_or_create_owned(&key),
            refused_peers: families.refused_peers.get_or_create_owned(&key),
            wraps: RwLock::new(None),
            name,
            families,
        }))
    }

    /// The value of the label `key`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
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

    /// A data key was wrapped for a client under `key_id`, which must come from the key encryption key's answer.
    pub fn wrapped(&self, key_id: &KeyId) {
        let wraps = &self.0.wraps;
        if let Some((last, counter)) = &*wraps.read().unwrap_or_else(PoisonError::into_inner)
            && last == key_id
        {
            counter.inc();
            return;
        }
        let counter = self.0.families.wraps.get_or_create_owned(&WrapLabels {
            key: Arc::clone(&self.0.name),
            key_id: key_id.to_string(),
        });
        counter.inc();
        *wraps.write().unwrap_or_else(PoisonError::into_inner) = Some((key_id.clone(), counter));
    }

    /// The counters of a keyring file, at zero, and its state, which is usable; a key without such a file has none.
    #[must_use]
    pub fn keyring_reloads(&self) -> KeyringReloads {
        let counter = |result| {
            self.0.families.reloads.get_or_create_owned(&ReloadLabels {
                key: Arc::clone(&self.0.name),
                result,
            })
        };
        let label = KeyLabel {
            key: Arc::clone(&self.0.name),
        };
        let usable = self.0.families.keyring_usable.get_or_create_owned(&label);
        usable.set(1);
        KeyringReloads {
            taken: counter("ok"),
            refused: counter("refused"),
            usable,
        }
    }

    /// The socket was made anew because it had vanished or been replaced.
    pub fn socket_recreated(&self) {
        self.0.recreations.inc();
    }

    /// A connection was closed because of the uid behind it.
    pub fn peer_refused(&self) {
        self.0.refused_peers.inc();
    }
}

impl Series {
    const fn of(&self, rpc: Rpc) -> &RpcSeries {
        match rpc {
            Rpc::Status => &self.status,
            Rpc::Encrypt => &self.encrypt,
            Rpc::Decrypt => &self.decrypt,
        }
    }

    fn count(&self, rpc: Rpc, code: Code) {
        if code == Code::Ok {
            self.of(rpc).ok.inc();
        } else {
            let labels = rpc_code(&self.name, rpc, code);
            self.families.rpcs.get_or_create(&labels).inc();
        }
    }
}

impl RpcSeries {
    fn new(name: &Arc<str>, families: &Families, rpc: Rpc) -> Self {
        let labels = RpcLabels {
            key: Arc::clone(name),
            rpc: rpc.as_str(),
        };
        Self {
            ok: families
                .rpcs
                .get_or_create_owned(&rpc_code(name, rpc, Code::Ok)),
            duration: families.durations.get_or_create_owned(&labels),
        }
    }
}

fn rpc_code(name: &Arc<str>, rpc: Rpc, code: Code) -> RpcCode {
    RpcCode {
        key: Arc::clone(name),
        rpc: rpc.as_str(),
        code: code_label(code),
    }
}

/// A call in flight; dropping it early counts it as cancelled.
#[derive(Debug)]
pub struct RunningCall {
    metrics: KeyMetrics,
    rpc: Rpc,
    started: Instant,
    code: Code,
}

impl RunningCall {
    /// The name of the key that is called.
    pub(crate) fn key(&self) -> &str {
        self.metrics.name()
    }

    /// Ends the call with `code`.
    pub fn finish(mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for RunningCall {
    fn drop(&mut self) {
        let series = &self.metrics.0;
        series.in_flight.dec();
        series.count(self.rpc, self.code);
        let seconds = self.started.elapsed().as_secs_f64();
        series.of(self.rpc).duration.observe(seconds);
    }
}

/// How often a keyring file changed, and whether it is usable.
#[derive(Debug)]
pub struct KeyringReloads {
    taken: Counter,
    refused: Counter,
    usable: Gauge,
}

impl KeyringReloads {
    /// The file changed, and what it holds now is in use.
    pub fn taken(&self) {
        self.taken.inc();
        self.usable.set(1);
    }

    /// The file is again as it was when it was taken.
    pub fn restored(&self) {
        self.usable.set(1);
    }

    /// The file changed, and the key in use stays as it was.
    pub fn refused(&self) {
        self.refused.inc();
        self.usable.set(0);
    }
}
