//! The rights that a KMS plugin needs in OpenBao, written in this one place.

use std::fmt::Write as _;

use crate::transit::TransitKeyName;

/// What a plugin does with a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PluginOperation {
    /// Wraps.
    Encrypt,
    /// Unwraps.
    Decrypt,
    /// Follows the versions of the key.
    ReadKey,
    /// Renews its token.
    RenewToken,
    /// Learns how long its token lasts.
    LookUpToken,
    /// Gives its token back when another one has taken its place.
    RevokeToken,
}

/// A right as policies grant it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PluginRight {
    /// What it is for.
    pub operation: PluginOperation,
    /// The path, within the namespace of the policy.
    pub path: String,
    /// The one capability on it, such as `update`.
    pub capability: &'static str,
}

/// All that a plugin needs for `key`, and nothing more. `update` and not `create`, with which a misspelt name would make a new key.
#[must_use]
pub fn plugin_rights(key: &TransitKeyName) -> Vec<PluginRight> {
    use PluginOperation::{Decrypt, Encrypt, LookUpToken, ReadKey, RenewToken, RevokeToken};

    [
        (Encrypt, key.path("encrypt").to_string(), "update"),
        (Decrypt, key.path("decrypt").to_string(), "update"),
        (ReadKey, key.path("keys").to_string(), "read"),
        (RenewToken, "auth/token/renew-self".to_owned(), "update"),
        (LookUpToken, "auth/token/lookup-self".to_owned(), "read"),
        (RevokeToken, "auth/token/revoke-self".to_owned(), "update"),
    ]
    .map(|(operation, path, capability)| PluginRight {
        operation,
        path,
        capability,
    })
    .into()
}

/// The smallest policy with which a plugin serves `key`, in HCL: what [`plugin_rights`] lists.
///
/// It stands in for the policy `default` too, which the token should not have: evaluating that costs OpenBao about half of its throughput.
/// If the auth method is in another namespace than the key, the paths under `auth/token/` belong into a policy there.
#[must_use]
pub fn policy_for_plugin(key: &TransitKeyName) -> String {
    let mut text = String::new();
    for PluginRight {
        path, capability, ..
    } in plugin_rights(key)
    {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "path \"{path}\" {{ capabilities = [\"{capability}\"] }}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_that_operators_are_given_is_the_same() {
        let file = include_str!("../../../deploy/openbao/policy.hcl");
        let lines = file
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty());
        let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        let written: Vec<String> = words.collect();
        let key = TransitKeyName::new("transit", "acme-shop-prod-etcd").unwrap();
        let ours = policy_for_plugin(&key);
        assert_eq!(ours.lines().collect::<Vec<_>>(), written);
    }
}
