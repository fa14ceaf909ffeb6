//! Metrics of Transit keys for `prometheus-client`, read from the keys at each scrape.
//!
//! Every name begins with `bao_`, after the prefix of the registry that [`BaoMetrics`] is registered in.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::client::{BreakerState, Operation, Outcome};
use crate::transit::TransitKek;

/// Requests, logins, breakers and versions of Transit keys.
#[derive(Debug)]
pub struct BaoMetrics(Vec<(String, TransitKek)>);

/// Name and value of each label.
type Labels<'a> = Vec<(&'static str, &'a str)>;
/// A value and what it is of, beside the key.
type Sample<M> = (
    Option<(&'static str, &'static str)>,
    Option<(&'static str, &'static str)>,
    M,
);

impl Collector for BaoMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.requests(&mut encoder)?;
        self.sessions(&mut encoder)?;
        self.state(&mut encoder)
    }
}

impl BaoMetrics {
    /// Of these keys. The name of each is its label `key`.
    #[must_use]
    pub const fn new(keys: Vec<(String, TransitKek)>) -> Self {
        Self(keys)
    }

    fn requests(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.family(
            encoder,
            (
                "bao_requests",
                "HTTP requests to OpenBao, every try for itself.",
            ),
            |kek| {
                let stats = kek.session().client().stats();
                let all = Operation::ALL.into_iter().flat_map(|operation| {
                    Outcome::ALL
                        .into_iter()
                        .map(move |outcome| (operation, outcome))
                });
                all.map(|(operation, outcome)| {
                    (operation, outcome, stats.requests(operation, outcome))
                })
                // Most pairs never happen; those that do are worth a series.
                .filter(|(_, outcome, count)| *count > 0 || *outcome == Outcome::Ok)
                .map(|(operation, outcome, count)| {
                    let operation = ("operation", operation.as_str());
                    let outcome = ("outcome", outcome.as_str());
                    (Some(operation), Some(outcome), ConstCounter::new(count))
                })
                .collect()
            },
        )?;
        self.family(
            encoder,
            (
                "bao_request_seconds",
                "Time that HTTP requests to OpenBao took together.",
            ),
            |kek| {
                let stats = kek.session().client().stats();
                let all = Operation::ALL.into_iter();
                all.map(|operation| {
                    let took = std::time::Duration::from_nanos(stats.nanoseconds(operation));
                    let operation = ("operation", operation.as_str());
                    (Some(operation), None, ConstCounter::new(took.as_secs_f64()))
                })
                .collect()
            },
        )?;
        self.counter(
            encoder,
            (
                "bao_batched_keys",
                "Keys that were wrapped, unwrapped or rewrapped within requests; by requests, the size of a batch.",
            ),
            |kek| kek.session().client().stats().batched_items(),
        )?;
        self.counter(
            encoder,
            (
                "bao_tls_reloads",
                "Changed certificate files that were taken over.",
            ),
            |kek| kek.session().client().stats().tls_reloads(),
        )
    }

    fn sessions(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let by_result = |ok: u64, failed: u64| {
            [("ok", ok), ("failed", failed)]
                .map(|(result, count)| (Some(("result", result)), None, ConstCounter::new(count)))
                .into()
        };
        self.family(
            encoder,
            ("bao_logins", "Logins that gave a token, and that did not."),
            |kek| {
                let status = kek.session().status();
                by_result(status.logins, status.failed_logins)
            },
        )?;
        self.family(
            encoder,
            (
                "bao_token_renewals",
                "Renewals of the token, done and not done.",
            ),
            |kek| {
                let status = kek.session().status();
                by_result(status.renewals, status.failed_renewals)
            },
        )?;
        self.gauge(
            encoder,
            (
                "bao_token_ttl_seconds",
                "How long the token is still good; absent if for ever or without one.",
            ),
            |kek| seconds(kek.session().status().ttl_left?),
        )
    }

    fn state(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.gauge(
            encoder,
            (
                "bao_breaker_state",
                "Whether calls go through: 0 all, 1 one to try, 2 none.",
            ),
            |kek| match kek.session().client().breaker_state() {
                BreakerState::Closed => Some(0),
                BreakerState::HalfOpen => Some(1),
                BreakerState::Open => Some(2),
            },
        )?;
        self.gauge(
            encoder,
            (
                "bao_key_latest_version",
                "The newest version of the Transit key; ahead of kdc_kms_bao_key_wrapping_version during the hold.",
            ),
            |kek| some_version(kek.latest_version()),
        )?;
        self.gauge(
            encoder,
            (
                "bao_key_wrapping_version",
                "The version of the Transit key that wraps, whether OpenBao is well or not.",
            ),
            |kek| some_version(kek.wrapping_version()),
        )
    }

    fn counter(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        about: (&str, &str),
        value: impl Fn(&TransitKek) -> u64,
    ) -> Result<(), fmt::Error> {
        self.family(encoder, about, |kek| {
            vec![(None, None, ConstCounter::new(value(kek)))]
        })
    }

    fn gauge(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        about: (&str, &str),
        value: impl Fn(&TransitKek) -> Option<i64>,
    ) -> Result<(), fmt::Error> {
        self.family(encoder, about, |kek| {
            let value = value(kek);
            value
                .map(|value| (None, None, ConstGauge::new(value)))
                .into_iter()
                .collect()
        })
    }

    /// All samples of one metric; nothing at all if there are none.
    fn family<M: EncodeMetric>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help): (&str, &str),
        samples: impl Fn(&TransitKek) -> Vec<Sample<M>>,
    ) -> Result<(), fmt::Error> {
        let all: Vec<(Labels<'_>, M)> = self
            .0
            .iter()
            .flat_map(|(key, kek)| {
                samples(kek).into_iter().map(|(first, second, metric)| {
                    let labels = [Some(("key", key.as_str())), first, second];
                    (labels.into_iter().flatten().collect(), metric)
                })
            })
            .collect();
        let Some((_, first)) = all.first() else {
            return Ok(());
        };
        let mut family = encoder.encode_descriptor(name, help, None, first.metric_type())?;
        for (labels, metric) in &all {
            metric.encode(family.encode_family(labels)?)?;
        }
        Ok(())
    }
}

/// None before OpenBao showed the key.
fn some_version(version: u32) -> Option<i64> {
    (version > 0).then_some(i64::from(version))
}

fn seconds(left: std::time::Duration) -> Option<i64> {
    i64::try_from(left.as_secs()).ok()
}
