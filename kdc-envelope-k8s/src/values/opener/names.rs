//! Who wrote a value, and who could have, by their names alone.

use kdc_envelope::kmsv2;
use kdc_envelope::providers::{LocalValue, StoredValue, classify};

use super::{Candidate, Key};
use crate::encryption_config::KmsApi;

/// More candidates are only counted.
const MAX_SHOWN: usize = 8;

/// Who wrote an encrypted value, as far as it says; `None` for a plain one.
pub(super) fn writer(value: &[u8]) -> Option<Box<str>> {
    let local = |provider: &str, value: &LocalValue<'_>| match value.key_name {
        Some(name) => shown(&format!("{provider} key"), name),
        None => format!("a key of {provider} whose name cannot be read"),
    };
    let writer = match classify(value) {
        StoredValue::Aesgcm(value) => local("aesgcm", &value),
        StoredValue::Aescbc(value) => local("aescbc", &value),
        StoredValue::Secretbox(value) => local("secretbox", &value),
        StoredValue::KmsV2(Ok(row)) => {
            let key_id = shown(", key id", row.object.key_id);
            let provider = kms_v2_name(value).unwrap_or_default();
            shown("KMS v2 provider", provider) + &key_id
        }
        StoredValue::KmsV2(Err(_)) => match kms_v2_name(value) {
            Some(name) => shown("KMS v2 provider", name),
            None => "a KMS v2 provider whose name cannot be read".to_owned(),
        },
        StoredValue::KmsV1(Some(value)) => shown("KMS v1 provider", value.provider),
        StoredValue::KmsV1(None) => "a KMS v1 provider whose name cannot be read".to_owned(),
        StoredValue::UnknownEncrypted => "a provider that kube-apiserver does not have".to_owned(),
        _ => return None,
    };
    Some(writer.into())
}

fn kms_v2_name(value: &[u8]) -> Option<&str> {
    let rest = value.strip_prefix(kmsv2::PREFIX)?;
    let name = rest.split(|byte| *byte == b':').next()?;
    core::str::from_utf8(name).ok()
}

/// The names of all candidates, each once.
pub(super) fn candidates(candidates: &[Candidate<'_>]) -> Box<str> {
    let mut names: Vec<String> = Vec::new();
    for candidate in candidates {
        let name = match candidate.key {
            Key::Aesgcm(key) => shown("aesgcm key", key.name().as_str()),
            Key::Aescbc(key) => shown("aescbc key", key.name().as_str()),
            Key::Secretbox(key) => shown("secretbox key", key.name().as_str()),
            Key::Identity => "identity".to_owned(),
            Key::Kms(kms) => match kms.api {
                KmsApi::V1 { .. } => shown("KMS v1 provider", &kms.name),
                KmsApi::V2 => shown("KMS v2 provider", &kms.name),
            },
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let more = names.len().saturating_sub(MAX_SHOWN);
    names.truncate(MAX_SHOWN);
    match (names.as_slice(), more) {
        ([], _) => "none for this resource".into(),
        (names, 0) => names.join(", ").into(),
        (names, more) => format!("{} and {more} more", names.join(", ")).into(),
    }
}

fn shown(what: &str, name: &str) -> String {
    format!("{what} `{}`", name.escape_debug())
}
