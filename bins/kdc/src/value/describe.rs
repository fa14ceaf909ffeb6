//! What a value tells about itself without a key.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kdc_envelope::key_usage::{Provider, ValueEncryption};
use kdc_envelope::kmsv2;
use kdc_envelope::providers::{LocalValue, PlainFormat, StoredValue, classify};
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

impl Description {
    pub(super) fn of(value: &[u8], etcd_key: Option<&[u8]>) -> Self {
        let encryption = ValueEncryption::of(value);
        let mut description = Self {
            provider: encryption.provider.as_str(),
            encrypted: encryption.provider != Provider::Identity,
            name: encryption.name.map(Cow::into_owned),
            key_id: encryption.key_id.map(str::to_owned),
            problem: encryption.damage.map(|damage| damage.to_string()),
            ..Self::default()
        };
        match classify(value) {
            StoredValue::KmsV2(Ok(row)) => description.add_kms_v2(&row.object),
            StoredValue::KmsV1(Some(row)) => {
                description.dek_source = Some(DekSource::new(None, row.wrapped_dek));
                description.bytes.ciphertext = Some(row.body.len());
            }
            StoredValue::Aesgcm(value) => description.add_local(&value, Some(GCM)),
            StoredValue::Aescbc(value) => description.add_local(&value, None),
            StoredValue::Secretbox(value) => description.add_local(&value, Some(SECRETBOX)),
            StoredValue::Identity(format) if description.problem.is_none() => {
                description.plain_format = Some(name_of(format));
                description.bytes.plaintext = Some(value.len());
            }
            _ => {}
        }
        description.bytes.value = value.len();
        description.etcd_key = etcd_key.map(|key| String::from_utf8_lossy(key).into_owned());
        description
    }

    fn add_kms_v2(&mut self, object: &kmsv2::EncryptedObject<'_>) {
        let overhead = match object.dek_source_type {
            kmsv2::DekSourceType::HkdfSha256XnonceAesGcmSeed => INFO + GCM,
            _ => GCM,
        };
        let kind = object.dek_source_type.as_str();
        self.dek_source = Some(DekSource::new(Some(kind), object.encrypted_dek_source));
        self.annotations = object
            .annotations
            .iter()
            .map(|(key, value)| ((*key).to_owned(), STANDARD.encode(value)))
            .collect();
        let ciphertext = object.encrypted_data.len();
        self.bytes.ciphertext = Some(ciphertext);
        self.bytes.plaintext = ciphertext.checked_sub(overhead);
    }

    fn add_local(&mut self, value: &LocalValue<'_>, overhead: Option<usize>) {
        if value.key_name.is_some() {
            let ciphertext = value.body.len();
            self.bytes.ciphertext = Some(ciphertext);
            self.bytes.plaintext = overhead.and_then(|overhead| ciphertext.checked_sub(overhead));
        }
    }
}

const fn name_of(format: PlainFormat) -> &'static str {
    match format {
        PlainFormat::Protobuf => "protobuf",
        PlainFormat::Json => "json",
        PlainFormat::Cbor => "cbor",
        _ => "other",
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
