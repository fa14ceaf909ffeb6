//! What a token may do and how long.

use std::time::Duration;

use serde_json::{Map, Value, json};

/// The properties of a token: of one that is created, or of those that logins
/// to a role yield. Without further calls it is a service token that lives as
/// long as the server's default of 32 days and has the `default` policy too.
#[derive(Debug, Clone)]
#[must_use]
pub struct Grant {
    fields: Map<String, Value>,
}

impl Grant {
    /// A token with these policies.
    pub fn of<'a>(policies: impl IntoIterator<Item = &'a str>) -> Self {
        let policies: Vec<&str> = policies.into_iter().collect();
        Self { fields: Map::new() }.with("policies", json!(policies))
    }

    /// Expires after `ttl`, in whole seconds, unless it is renewed.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.with("ttl", json!(ttl.as_secs()))
    }

    /// Cannot be renewed beyond this age, in whole seconds.
    pub fn explicit_max_ttl(self, limit: Duration) -> Self {
        self.with("explicit_max_ttl", json!(limit.as_secs()))
    }

    /// Is periodic: each renewal gives it this many whole seconds, for ever.
    pub fn period(self, period: Duration) -> Self {
        self.with("period", json!(period.as_secs()))
    }

    /// Is revoked after so many requests.
    pub fn uses(self, count: u32) -> Self {
        self.with("num_uses", json!(count))
    }

    /// Is a batch token: not stored, so neither renewable nor revocable.
    pub fn batch(self) -> Self {
        self.with("type", json!("batch"))
    }

    /// Lacks the `default` policy, which costs time on each request.
    pub fn without_default_policy(self) -> Self {
        self.with("no_default_policy", json!(true))
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        self.fields.insert(name.to_owned(), value);
        self
    }

    /// The fields of a request; those of a role begin with `token_`.
    pub(super) fn fields(&self, prefix: &str) -> Map<String, Value> {
        self.fields
            .iter()
            .map(|(name, value)| (format!("{prefix}{name}"), value.clone()))
            .collect()
    }
}
