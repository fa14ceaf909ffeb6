//! What a run found out.

use core::time::Duration;
use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::worker::Tally;
use super::{LoadOptions, Rpc};
use crate::client::check::as_seconds;

/// The result of [`run`](super::run).
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct LoadReport {
    /// What was called.
    pub rpc: Rpc,
    /// Calls in flight.
    pub concurrency: usize,
    /// Connections that shared them.
    pub connections: usize,
    /// Distinct wrapped seeds that Decrypt asked for.
    pub seeds: usize,
    /// The figures.
    #[serde(flatten)]
    pub measured: Measured,
}

/// The figures of a run. Durations are serialised in seconds.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Measured {
    /// From the first call to the end of the last.
    #[serde(rename = "seconds", serialize_with = "as_seconds")]
    pub elapsed: Duration,
    /// Calls with a good answer.
    pub calls: u64,
    /// The same per second.
    pub calls_per_second: f64,
    /// How long good answers took; `None` if there were none.
    pub latency_seconds: Option<Latency>,
    /// Other calls by gRPC code; an answer with wrong bytes counts as `WrongPlaintext`.
    pub errors: BTreeMap<String, u64>,
}

/// Percentiles of the time from request to answer. Serialised in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Latency {
    /// Half of the calls were at most this long.
    #[serde(serialize_with = "as_seconds")]
    pub p50: Duration,
    /// 90 %.
    #[serde(serialize_with = "as_seconds")]
    pub p90: Duration,
    /// 99 %.
    #[serde(serialize_with = "as_seconds")]
    pub p99: Duration,
    /// 99.9 %.
    #[serde(rename = "p99.9", serialize_with = "as_seconds")]
    pub p999: Duration,
    /// The longest.
    #[serde(serialize_with = "as_seconds")]
    pub max: Duration,
}

impl LoadReport {
    pub(super) fn new(options: &LoadOptions, tally: Tally, elapsed: Duration) -> Self {
        Self {
            rpc: options.rpc,
            concurrency: options.concurrency,
            connections: options.connections,
            seeds: options.seeds,
            measured: Measured::new(tally, elapsed),
        }
    }
}

impl Measured {
    pub(super) fn new(tally: Tally, elapsed: Duration) -> Self {
        let Tally { latencies, errors } = tally;
        let calls = latencies.len();
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no 53 bits")]
        let calls_per_second = calls as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        Self {
            elapsed,
            calls,
            calls_per_second,
            latency_seconds: (calls > 0).then(|| Latency::new(&latencies)),
            errors,
        }
    }
}

impl Latency {
    fn new(latencies: &Histogram<u64>) -> Self {
        let quantile = |part| Duration::from_nanos(latencies.value_at_quantile(part));
        Self {
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: Duration::from_nanos(latencies.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut latencies = Histogram::new_with_bounds(1_000, 100_000_000_000, 3).unwrap();
        for micros in 1..=1_000 {
            latencies.record(micros * 1_000).unwrap();
        }
        let errors = BTreeMap::from([("Unavailable".to_owned(), 2)]);
        let measured = Measured::new(Tally { latencies, errors }, Duration::from_secs(2));
        assert_eq!(measured.calls, 1_000);
        assert!((measured.calls_per_second - 500.0).abs() < 1e-9);
        let latency = measured.latency_seconds.unwrap();
        for (found, micros) in [
            (latency.p50, 500),
            (latency.p90, 900),
            (latency.p99, 990),
            (latency.p999, 999),
            (latency.max, 1_000),
        ] {
            let error = found.abs_diff(Duration::from_micros(micros));
            assert!(
                error <= Duration::from_micros(2),
                "{found:?} for {micros} µs"
            );
        }
    }

    #[test]
    fn without_a_good_answer_there_are_no_percentiles() {
        let measured = Measured::new(Tally::new(), Duration::from_secs(1));
        assert_eq!((measured.calls, measured.latency_seconds), (0, None));
    }
}
