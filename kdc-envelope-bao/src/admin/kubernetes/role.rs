//! Who may log in, and what the token is good for.

use core::time::Duration;
use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::network;
use crate::admin::change::differing;
use crate::admin::{AdminError, LowerName};
use crate::client::or_default;
use crate::transit::shortened;

/// A role of the Kubernetes auth method: all its fields, so that what another administrator sets shows as a difference. Durations are in whole
/// seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KubernetesRole {
    /// Names of ServiceAccounts; `*` stands for all.
    #[serde(default, deserialize_with = "or_default")]
    pub bound_service_account_names: BTreeSet<String>,
    /// Namespaces of the cluster that they may be in.
    #[serde(default, deserialize_with = "or_default")]
    pub bound_service_account_namespaces: BTreeSet<String>,
    /// A label selector for such namespaces, as JSON or YAML; empty for none.
    #[serde(default, deserialize_with = "or_default")]
    pub bound_service_account_namespace_selector: String,
    /// The audience that tokens must have; empty for any.
    #[serde(default, deserialize_with = "or_default")]
    pub audience: String,
    /// What names the entity behind a login.
    pub alias_name_source: AliasNameSource,
    /// Policies of the token.
    #[serde(default, deserialize_with = "or_default")]
    pub token_policies: BTreeSet<String>,
    /// Whether the token goes without the policy `default`, which costs OpenBao much time in each request.
    #[serde(default)]
    pub token_no_default_policy: bool,
    /// How long a token is good before it must be renewed; zero for the default of the mount.
    #[serde(default, with = "whole_seconds")]
    pub token_ttl: Duration,
    /// How long renewals can keep it; zero for the maximum of the mount.
    #[serde(default, with = "whole_seconds")]
    pub token_max_ttl: Duration,
    /// If not zero, each renewal gives this much, without a maximum.
    #[serde(default, with = "whole_seconds")]
    pub token_period: Duration,
    /// A maximum that even a period does not exceed; zero for none.
    #[serde(default, with = "whole_seconds")]
    pub token_explicit_max_ttl: Duration,
    /// How often it can be used; 0 for as often as one likes.
    #[serde(default)]
    pub token_num_uses: u64,
    /// Addresses and networks that it can be used from; empty for all.
    #[serde(default, deserialize_with = "or_default")]
    pub token_bound_cidrs: BTreeSet<String>,
    /// Whether it can only be used from the address that logged in.
    #[serde(default)]
    pub token_strictly_bind_ip: bool,
    /// `default`, which is that of the mount, `service` or `batch`.
    #[serde(default = "default_type")]
    pub token_type: String,
}

/// What names the entity behind a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum AliasNameSource {
    /// The uid of the ServiceAccount: another one of the same name is another entity.
    #[serde(rename = "serviceaccount_uid")]
    Uid,
    /// Its namespace and name.
    #[serde(rename = "serviceaccount_name")]
    Name,
}

fn default_type() -> String {
    DEFAULT_TYPE.to_owned()
}

impl KubernetesRole {
    /// A role for one ServiceAccount, given by namespace and name, whose tokens have this audience, with one policy and without `default`.
    #[must_use]
    pub fn new(namespace: &str, service_account: &str, audience: &str, policy: &LowerName) -> Self {
        Self {
            bound_service_account_names: [service_account.to_owned()].into(),
            bound_service_account_namespaces: [namespace.to_owned()].into(),
            bound_service_account_namespace_selector: String::new(),
            audience: audience.to_owned(),
            alias_name_source: AliasNameSource::Uid,
            token_policies: [policy.to_string()].into(),
            token_no_default_policy: true,
            token_ttl: Duration::ZERO,
            token_max_ttl: Duration::ZERO,
            token_period: Duration::ZERO,
            token_explicit_max_ttl: Duration::ZERO,
            token_num_uses: 0,
            token_bound_cidrs: BTreeSet::new(),
            token_strictly_bind_ip: false,
            token_type: default_type(),
        }
    }

    /// Refuses what OpenBao would store in other words than it understands.
    pub(super) fn check(&self, name: &LowerName) -> Result<(), AdminError> {
        let is_strange = |text: &&String| network::canonical(text).is_none();
        match self.token_bound_cidrs.iter().find(is_strange) {
            None => Ok(()),
            Some(text) => Err(AdminError::StoredOtherwise {
                what: "role",
                name: name.as_str().into(),
                reason: format!(
                    "`{}` in token_bound_cidrs is neither an address nor a network such as 10.0.0.0/8",
                    shortened(text)
                ),
            }),
        }
    }

    /// The fields in which `found` is another role. OpenBao writes networks in other words than it was given, and names without spaces
    /// around them.
    pub(super) fn differences(&self, found: &Self) -> Vec<&'static str> {
        let whole = |a: Duration, b: Duration| a.as_secs() == b.as_secs();
        let same = |a: &BTreeSet<String>, b: &BTreeSet<String>| trimmed(a) == trimmed(b);
        differing([
            (
                "bound_service_account_names",
                same(
                    &self.bound_service_account_names,
                    &found.bound_service_account_names,
                ),
            ),
            (
                "bound_service_account_namespaces",
                same(
                    &self.bound_service_account_namespaces,
                    &found.bound_service_account_namespaces,
                ),
            ),
            (
                "bound_service_account_namespace_selector",
                self.bound_service_account_namespace_selector
                    == found.bound_service_account_namespace_selector,
            ),
            ("audience", self.audience == found.audience),
            (
                "alias_name_source",
                self.alias_name_source == found.alias_name_source,
            ),
            (
                "token_policies",
                same(&self.token_policies, &found.token_policies),
            ),
            (
                "token_no_default_policy",
                self.token_no_default_policy == found.token_no_default_policy,
            ),
            ("token_ttl", whole(self.token_ttl, found.token_ttl)),
            (
                "token_max_ttl",
                whole(self.token_max_ttl, found.token_max_ttl),
            ),
            ("token_period", whole(self.token_period, found.token_period)),
            (
                "token_explicit_max_ttl",
                whole(self.token_explicit_max_ttl, found.token_explicit_max_ttl),
            ),
            (
                "token_num_uses",
                self.token_num_uses == found.token_num_uses,
            ),
            (
                "token_bound_cidrs",
                network::set(&self.token_bound_cidrs) == network::set(&found.token_bound_cidrs),
            ),
            (
                "token_strictly_bind_ip",
                self.token_strictly_bind_ip == found.token_strictly_bind_ip,
            ),
            (
                "token_type",
                type_or_default(&self.token_type) == type_or_default(&found.token_type),
            ),
        ])
    }
}

fn trimmed(names: &BTreeSet<String>) -> BTreeSet<&str> {
    names.iter().map(|name| name.trim()).collect()
}

fn type_or_default(text: &str) -> &str {
    match text {
        "" => DEFAULT_TYPE,
        text => text,
    }
}

const DEFAULT_TYPE: &str = "default";

mod whole_seconds {
    use super::{Deserialize, Deserializer, Duration, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration.as_secs().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role() -> KubernetesRole {
        let mut role = KubernetesRole::new("ns", "sa", "openbao", &"tcp-demo".parse().unwrap());
        role.token_ttl = Duration::from_secs(600);
        role
    }

    #[test]
    fn a_role_is_compared_in_every_field_it_has() {
        let wanted = role();
        let shown = serde_json::to_value(&wanted).unwrap();
        let names: Vec<_> = shown.as_object().unwrap().keys().cloned().collect();
        assert_eq!(names.len(), 15);
        for name in names {
            let other = match &shown[&name] {
                serde_json::Value::Array(_) => serde_json::json!(["other"]),
                serde_json::Value::Bool(value) => (!value).into(),
                serde_json::Value::Number(_) => 77.into(),
                _ if name == "alias_name_source" => "serviceaccount_name".into(),
                _ => "other".into(),
            };
            let mut drifted = shown.clone();
            drifted[&name] = other;
            let found: KubernetesRole = serde_json::from_value(drifted).unwrap();
            assert_eq!(wanted.differences(&found), [name]);
        }
    }

    #[test]
    fn order_repetition_and_parts_of_seconds_are_no_difference() {
        let mut wanted = role();
        wanted.token_policies = ["b".to_owned(), "a".to_owned()].into();
        wanted.token_ttl = Duration::from_millis(600_900);
        let shown = serde_json::json!({
            "alias_name_source": "serviceaccount_uid", "audience": "openbao",
            "bound_service_account_names": ["sa"], "bound_service_account_namespaces": ["ns"],
            "token_policies": ["b", "a", "a"], "token_ttl": 600, "token_no_default_policy": true,
            "token_bound_cidrs": null,
        });
        let found: KubernetesRole = serde_json::from_value(shown).unwrap();
        assert!(wanted.differences(&found).is_empty());
    }

    #[test]
    fn what_openbao_writes_in_other_words_is_no_difference() {
        let mut wanted = role();
        wanted.token_bound_cidrs = ["10.0.0.1/32".to_owned(), "::1/128".to_owned()].into();
        wanted.token_policies = [" tcp-demo ".to_owned()].into();
        wanted.token_type = String::new();
        let mut found = role();
        found.token_bound_cidrs = ["10.0.0.1".to_owned(), "::1".to_owned()].into();
        assert!(wanted.differences(&found).is_empty());
        found.token_bound_cidrs = ["10.0.0.2".to_owned(), "::1".to_owned()].into();
        assert_eq!(wanted.differences(&found), ["token_bound_cidrs"]);
    }
}
