//! What a value tells about itself without a key.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kdc_envelope::kmsv2;
use kdc_envelope::providers::{
    LocalValue, PlainFormat, RESERVED_PREFIX, StoredValue, classify, kmsv1,
};
use kdc_envelope_bao::TransitCiphertext;
use serde::Serialize;

/// A description; every field that a value does not have is absent.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Description {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) etcd_key: Option<String>,
    /// `kms-v2`, `kms-v1`, `aesgcm`, `aescbc`, `secretbox`, `identity` or `unknown`.
    pub(super) provider: &'static str,
    pub(super) encrypted: bool,
    /// The name of the KMS provider, or of the local key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dek_source: Option<DekSource>,
    /// In base64.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
    /// `protobuf`, `json`, `cbor` or `other`, of a value that is not encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) plain_format: Option<&'static str>,
    pub(super) bytes: Sizes,
    /// Why kube-apiserver would refuse the value, whatever keys it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<String>,
}

/// How the key of a KMS row is stored with it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DekSource {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<&'static str>,
    pub(super) bytes: usize,
    /// The version of the Transit key that wrapped it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) transit_version: Option<u32>,
}

/// Lengths in bytes.
#[derive(Debug, Default, Serialize)]
pub(super) struct Sizes {
    pub(super) value: usize,
    /// What is encrypted, with nonces and tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ciphertext: Option<usize>,
    /// The object; absent where only a key can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) plaintext: Option<usize>,
}

/// Overheads around the plaintext: nonce and tag of AES-GCM, the `info` before them, nonce and tag of secretbox.
const GCM: usize = 12 + 16;
const INFO: usize = 32;
const SECRETBOX: usize = 24 + 16;

/// What is said of a value that [`is_cut_off`].
pub(super) const CUT_OFF: &str = "the value ends within the prefix `k8s:enc:`";

/// Whether a value is the beginning of `k8s:enc:` and no more. kube-apiserver takes it for a plain object, which it cannot be.
pub(super) fn is_cut_off(value: &[u8]) -> bool {
    value.len() < RESERVED_PREFIX.len() && RESERVED_PREFIX.starts_with(value)
}

impl Description {
    pub(super) fn of(value: &[u8], etcd_key: Option<&[u8]>) -> Self {
        let mut description = match classify(value) {
            _ if is_cut_off(value) => damaged("unknown", CUT_OFF),
            StoredValue::KmsV2(Ok(row)) => kms_v2(&row),
            StoredValue::KmsV2(Err(error)) => damaged("kms-v2", error.to_string()),
            StoredValue::KmsV1(Some(row)) => kms_v1(&row),
            StoredValue::KmsV1(None) => {
                damaged("kms-v1", "no wrapped DEK and ciphertext follow the prefix")
            }
            StoredValue::Aesgcm(value) => local("aesgcm", &value, Some(GCM)),
            StoredValue::Aescbc(value) => local("aescbc", &value, None),
            StoredValue::Secretbox(value) => local("secretbox", &value, Some(SECRETBOX)),
            StoredValue::Identity(format) => plain(value, format),
            _ => damaged(
                "unknown",
                "the prefix `k8s:enc:` is reserved, but no provider writes what follows",
            ),
        };
        description.bytes.value = value.len();
        description.etcd_key = etcd_key.map(|key| String::from_utf8_lossy(key).into_owned());
        description
    }
}

fn kms_v2(row: &kmsv2::Value<'_>) -> Description {
    let object = &row.object;
    let overhead = match object.dek_source_type {
        kmsv2::DekSourceType::HkdfSha256XnonceAesGcmSeed => INFO + GCM,
        _ => GCM,
    };
    let ciphertext = object.encrypted_data.len();
    let plaintext = ciphertext.checked_sub(overhead);
    Description {
        provider: "kms-v2",
        encrypted: true,
        name: Some(String::from_utf8_lossy(row.provider).into_owned()),
        key_id: Some(object.key_id.to_owned()),
        dek_source: Some(DekSource::new(
            Some(object.dek_source_type.as_str()),
            object.encrypted_dek_source,
        )),
        annotations: object
            .annotations
            .iter()
            .map(|(key, value)| ((*key).to_owned(), STANDARD.encode(value)))
            .collect(),
        bytes: Sizes {
            value: 0,
            ciphertext: Some(ciphertext),
            plaintext,
        },
        problem: plaintext
            .is_none()
            .then(|| kmsv2::OpenError::Truncated(ciphertext).to_string()),
        ..Description::default()
    }
}

fn kms_v1(row: &kmsv1::Value<'_>) -> Description {
    Description {
        provider: "kms-v1",
        encrypted: true,
        name: Some(row.provider.to_owned()),
        dek_source: Some(DekSource::new(None, row.wrapped_dek)),
        bytes: Sizes {
            value: 0,
            ciphertext: Some(row.body.len()),
            plaintext: None,
        },
        ..Description::default()
    }
}

fn local(provider: &'static str, value: &LocalValue<'_>, overhead: Option<usize>) -> Description {
    let Some(name) = value.key_name else {
        return damaged(
            provider,
            "no key name and ciphertext of a possible length follow the prefix",
        );
    };
    Description {
        provider,
        encrypted: true,
        name: Some(name.to_owned()),
        bytes: Sizes {
            value: 0,
            ciphertext: Some(value.body.len()),
            plaintext: overhead.and_then(|overhead| value.body.len().checked_sub(overhead)),
        },
        ..Description::default()
    }
}

fn plain(value: &[u8], format: PlainFormat) -> Description {
    let format = match format {
        PlainFormat::Protobuf => "protobuf",
        PlainFormat::Json => "json",
        PlainFormat::Cbor => "cbor",
        _ => "other",
    };
    Description {
        provider: "identity",
        encrypted: false,
        plain_format: Some(format),
        bytes: Sizes {
            value: 0,
            ciphertext: None,
            plaintext: Some(value.len()),
        },
        ..Description::default()
    }
}

fn damaged(provider: &'static str, problem: impl Into<String>) -> Description {
    Description {
        provider,
        encrypted: true,
        problem: Some(problem.into()),
        ..Description::default()
    }
}

impl DekSource {
    fn new(kind: Option<&'static str>, wrapped: &[u8]) -> Self {
        let transit = TransitCiphertext::parse(wrapped).ok();
        Self {
            kind,
            bytes: wrapped.len(),
            transit_version: transit.map(|ciphertext| ciphertext.version().get()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_every_provider_is_described() {
        let gcm = [b"k8s:enc:aesgcm:v1:key1:".as_slice(), &[0; 12 + 5 + 16]].concat();
        let gcm = Description::of(&gcm, Some(b"/registry/secrets/a/b"));
        assert_eq!(
            (gcm.provider, gcm.name.as_deref(), gcm.bytes.plaintext),
            ("aesgcm", Some("key1"), Some(5))
        );
        assert_eq!(gcm.etcd_key.as_deref(), Some("/registry/secrets/a/b"));

        let cbc = [b"k8s:enc:aescbc:v1:k:".as_slice(), &[0; 48]].concat();
        let cbc = Description::of(&cbc, None);
        assert_eq!(
            (cbc.bytes.ciphertext, cbc.bytes.plaintext),
            (Some(48), None)
        );

        let boxed = [b"k8s:enc:secretbox:v1:k:".as_slice(), &[0; 24 + 16 + 7]].concat();
        assert_eq!(Description::of(&boxed, None).bytes.plaintext, Some(7));

        let wrapped = b"vault:v12:YWJj";
        let v1 = [b"k8s:enc:kms:v1:p:".as_slice(), &[0, 14], wrapped, &[0; 40]].concat();
        let v1 = Description::of(&v1, None);
        assert_eq!(v1.dek_source.unwrap().transit_version, Some(12));

        let plain = Description::of(b"k8s\0rest", None);
        assert_eq!(
            (plain.encrypted, plain.plain_format),
            (false, Some("protobuf"))
        );
        assert!(Description::of(b"k8s:enc:new:v1:", None).problem.is_some());
    }
}
