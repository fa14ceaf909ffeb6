//! What went through the proxy.

use std::collections::BTreeMap;

use serde_json::Value;

use super::exchange::Request;

/// Connections and requests that the proxy saw.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Connections accepted.
    pub connections: usize,
    /// Connections open now.
    pub open: usize,
    /// The most connections that were open at once.
    pub most_open: usize,
    /// By `METHOD /PATH`.
    requests: BTreeMap<String, Tally>,
}

#[derive(Debug, Clone, Default)]
struct Tally {
    requests: usize,
    batch_items: usize,
    largest_batch: usize,
}

impl Counts {
    /// Requests whose `METHOD /PATH`, such as `POST /v1/transit/encrypt/k`,
    /// contains `part`. A request counts when it has come in whole.
    #[must_use]
    pub fn requests(&self, part: &str) -> usize {
        self.tallies(part).map(|tally| tally.requests).sum()
    }

    /// Items in the `batch_input` of those requests, together.
    #[must_use]
    pub fn batch_items(&self, part: &str) -> usize {
        self.tallies(part).map(|tally| tally.batch_items).sum()
    }

    /// The most items in the `batch_input` of one of those requests.
    #[must_use]
    pub fn largest_batch(&self, part: &str) -> usize {
        self.tallies(part)
            .map(|tally| tally.largest_batch)
            .max()
            .unwrap_or_default()
    }

    fn tallies(&self, part: &str) -> impl Iterator<Item = &Tally> {
        self.requests
            .iter()
            .filter(move |(line, _)| line.contains(part))
            .map(|(_, tally)| tally)
    }

    pub(super) fn connection_opened(&mut self) {
        self.connections += 1;
        self.open += 1;
        self.most_open = self.most_open.max(self.open);
    }

    pub(super) fn connection_closed(&mut self) {
        self.open -= 1;
    }

    pub(super) fn add_request(&mut self, request: &Request) {
        let items = serde_json::from_slice::<Value>(&request.body)
            .ok()
            .and_then(|body| body.get("batch_input")?.as_array().map(Vec::len))
            .unwrap_or_default();
        let tally = self.requests.entry(request.line()).or_default();
        tally.requests += 1;
        tally.batch_items += items;
        tally.largest_batch = tally.largest_batch.max(items);
    }

    pub(super) fn reset(&mut self) {
        *self = Self {
            open: self.open,
            most_open: self.open,
            ..Self::default()
        };
    }
}
