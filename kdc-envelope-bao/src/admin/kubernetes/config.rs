//! How OpenBao reaches the cluster whose tokens it accepts.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::admin::Admin;
use crate::admin::change::differing;
use crate::client::or_default;
use crate::credential::{self, Privacy};
use crate::error::BaoError;

/// How OpenBao shall reach the cluster. Where nothing is said it has the defaults of OpenBao.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KubernetesConfig {
    /// URL of the API server.
    pub kubernetes_host: String,
    /// PEM certificates of its authority. May only be empty if OpenBao runs in a pod and `disable_local_ca_jwt` is not set.
    pub kubernetes_ca_cert: String,
    /// PEM public keys or certificates that tokens must be signed with; if empty, only the cluster checks them.
    pub pem_keys: BTreeSet<String>,
    /// Whether the ServiceAccount of OpenBao's own pod is left alone.
    pub disable_local_ca_jwt: bool,
    /// A file with the token that reviews others. Without it, that of OpenBao's own pod does, or each token reviews itself.
    pub reviewer_token_file: Option<PathBuf>,
}

/// The configuration as OpenBao shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct StoredKubernetesConfig {
    /// URL of the API server.
    pub kubernetes_host: String,
    /// PEM certificates of its authority.
    #[serde(default, deserialize_with = "or_default")]
    pub kubernetes_ca_cert: String,
    /// PEM public keys that tokens must be signed with.
    #[serde(default, deserialize_with = "or_default")]
    pub pem_keys: BTreeSet<String>,
    /// Whether the ServiceAccount of OpenBao's own pod is left alone.
    #[serde(default)]
    pub disable_local_ca_jwt: bool,
    /// Whether there is a token that reviews others; which one it is, OpenBao does not show.
    #[serde(default)]
    pub token_reviewer_jwt_set: bool,
    /// Whether the issuer of tokens is left to the review; outdated.
    #[serde(default)]
    pub disable_iss_validation: bool,
    /// The issuer that tokens must have; outdated.
    #[serde(default, deserialize_with = "or_default")]
    pub issuer: String,
}

#[derive(Serialize)]
struct Write<'a> {
    kubernetes_host: &'a str,
    kubernetes_ca_cert: &'a str,
    pem_keys: &'a BTreeSet<String>,
    disable_local_ca_jwt: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_reviewer_jwt: Option<&'a str>,
}

impl KubernetesConfig {
    /// The API server at this URL, whose certificate is from this authority, and each token reviews itself.
    #[must_use]
    pub fn new(kubernetes_host: impl Into<String>, kubernetes_ca_cert: impl Into<String>) -> Self {
        Self {
            kubernetes_host: kubernetes_host.into(),
            kubernetes_ca_cert: kubernetes_ca_cert.into(),
            pem_keys: BTreeSet::new(),
            disable_local_ca_jwt: true,
            reviewer_token_file: None,
        }
    }

    pub(super) async fn write(&self, admin: &Admin, path: &str) -> Result<(), BaoError> {
        let reviewer = self
            .reviewer_token_file
            .as_ref()
            .map(|file| credential::read_word("reviewer token", file, Privacy::Any))
            .transpose()?;
        let body = Write {
            kubernetes_host: &self.kubernetes_host,
            kubernetes_ca_cert: &self.kubernetes_ca_cert,
            pem_keys: &self.pem_keys,
            disable_local_ca_jwt: self.disable_local_ca_jwt,
            token_reviewer_jwt: reviewer.as_ref().map(|token| token.expose()),
        };
        admin.write(path, &body).await.map(drop)
    }

    pub(super) fn differences(&self, found: &StoredKubernetesConfig) -> Vec<&'static str> {
        differing([
            (
                "kubernetes_host",
                self.kubernetes_host == found.kubernetes_host,
            ),
            (
                "kubernetes_ca_cert",
                self.kubernetes_ca_cert.trim() == found.kubernetes_ca_cert.trim(),
            ),
            (
                "pem_keys",
                trimmed(&self.pem_keys) == trimmed(&found.pem_keys),
            ),
            (
                "disable_local_ca_jwt",
                self.disable_local_ca_jwt == found.disable_local_ca_jwt,
            ),
            (
                "token_reviewer_jwt",
                self.reviewer_token_file.is_some() == found.token_reviewer_jwt_set,
            ),
            ("disable_iss_validation", found.disable_iss_validation),
            ("issuer", found.issuer.is_empty()),
        ])
    }
}

/// Some PEM texts come back without the line break at their end.
fn trimmed(pems: &BTreeSet<String>) -> BTreeSet<&str> {
    pems.iter().map(|pem| pem.trim()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_differs_by_what_openbao_shows() {
        let mut wanted = KubernetesConfig::new("https://k:6443", "PEM\n");
        wanted.pem_keys = ["b\n".to_owned(), "a".to_owned()].into();
        let shown = serde_json::json!({
            "kubernetes_host": "https://k:6443", "kubernetes_ca_cert": "PEM\n", "pem_keys": ["b", "a"],
            "disable_local_ca_jwt": true, "disable_iss_validation": true, "issuer": "",
            "token_reviewer_jwt_set": false,
        });
        let found = |field: &str, value: serde_json::Value| {
            let mut shown = shown.clone();
            shown[field] = value;
            serde_json::from_value::<StoredKubernetesConfig>(shown).unwrap()
        };
        assert!(
            wanted
                .differences(&found("kubernetes_ca_cert", "PEM".into()))
                .is_empty()
        );
        for (field, value) in [
            ("kubernetes_host", "https://other:6443".into()),
            ("kubernetes_ca_cert", "other".into()),
            ("pem_keys", serde_json::json!(["a"])),
            ("disable_local_ca_jwt", false.into()),
            ("disable_iss_validation", false.into()),
            ("issuer", "x".into()),
        ] {
            assert_eq!(wanted.differences(&found(field, value)), [field]);
        }
        let reviewed = found("token_reviewer_jwt_set", true.into());
        assert_eq!(wanted.differences(&reviewed), ["token_reviewer_jwt"]);
        wanted.reviewer_token_file = Some("/run/token".into());
        assert!(wanted.differences(&reviewed).is_empty());
    }
}
