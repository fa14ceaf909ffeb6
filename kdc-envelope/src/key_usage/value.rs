//! What encrypts a value, and what that tells of the key.

use core::fmt;
use core::num::NonZeroU32;
use std::borrow::Cow;

use crate::kek::{TransitCiphertext, version_in_key_id};
use crate::kmsv2::{self, DekSourceType};
use crate::providers::{LocalValue, RESERVED_PREFIX, StoredValue, classify, kmsv1};

/// The kind of provider that wrote a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Provider {
    /// A KMS v2 plugin.
    KmsV2,
    /// A KMS v1 plugin.
    KmsV1,
    /// The `aesgcm` provider.
    Aesgcm,
    /// The `aescbc` provider.
    Aescbc,
    /// The `secretbox` provider.
    Secretbox,
    /// None: the value is not encrypted.
    Identity,
    /// None that kube-apiserver knows, though the value begins as an encrypted one.
    Unknown,
}

impl Provider {
    /// `kms-v2`, `kms-v1`, `aesgcm`, `aescbc`, `secretbox`, `identity` or `unknown`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KmsV2 => "kms-v2",
            Self::KmsV1 => "kms-v1",
            Self::Aesgcm => "aesgcm",
            Self::Aescbc => "aescbc",
            Self::Secretbox => "secretbox",
            Self::Identity => "identity",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why kube-apiserver would refuse a value, whatever keys it has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The value is the beginning of `k8s:enc:` and no more. kube-apiserver takes it for a plain object, which it cannot be.
    #[error("the value ends within the prefix `k8s:enc:`")]
    CutOff,
    /// No provider writes what follows `k8s:enc:`.
    #[error("the prefix `k8s:enc:` is reserved, but no provider writes what follows")]
    UnknownPrefix,
    /// The frame of a KMS v2 row does not parse.
    #[error(transparent)]
    KmsV2(#[from] kmsv2::ParseError),
    /// A KMS v2 row is too short for what is around its plaintext.
    #[error(transparent)]
    TooShort(#[from] kmsv2::OpenError),
    /// A KMS v1 row has no wrapped DEK or no ciphertext.
    #[error("no wrapped DEK and ciphertext follow the prefix")]
    KmsV1,
    /// A value of a local provider has no key name or no ciphertext that could be one.
    #[error("no key name and ciphertext of a possible length follow the prefix")]
    Local,
}

/// A value as far as it can be known without a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ValueEncryption<'a> {
    /// The kind of provider.
    pub provider: Provider,
    /// The name of the KMS provider, or of the local key.
    pub name: Option<Cow<'a, str>>,
    /// The key id in a KMS v2 row.
    pub key_id: Option<&'a str>,
    /// The version of the KEK, where the row says: in a Transit ciphertext `vault:vN:…`, or in a key id `local-vN-…` or
    /// `bao-vN-…` of this project's KEKs.
    pub version: Option<u32>,
    /// What is wrong with it.
    pub damage: Option<Damage>,
}

/// Overheads around the plaintext in a KMS v2 row: nonce and tag of AES-GCM, and the `info` before them.
const GCM: usize = 12 + 16;
const INFO: usize = 32;

impl<'a> ValueEncryption<'a> {
    /// Reads a value as etcd stores it.
    #[must_use]
    pub fn of(value: &'a [u8]) -> Self {
        if is_cut_off(value) {
            return Self::damaged(Provider::Unknown, Damage::CutOff);
        }
        match classify(value) {
            StoredValue::KmsV2(Ok(row)) => Self::kms_v2(&row),
            StoredValue::KmsV2(Err(error)) => Self::damaged(Provider::KmsV2, error.into()),
            StoredValue::KmsV1(Some(row)) => Self::kms_v1(&row),
            StoredValue::KmsV1(None) => Self::damaged(Provider::KmsV1, Damage::KmsV1),
            StoredValue::Aesgcm(value) => Self::local(Provider::Aesgcm, &value),
            StoredValue::Aescbc(value) => Self::local(Provider::Aescbc, &value),
            StoredValue::Secretbox(value) => Self::local(Provider::Secretbox, &value),
            StoredValue::Identity(_) => Self::new(Provider::Identity),
            StoredValue::UnknownEncrypted => {
                Self::damaged(Provider::Unknown, Damage::UnknownPrefix)
            }
        }
    }

    const fn new(provider: Provider) -> Self {
        Self {
            provider,
            name: None,
            key_id: None,
            version: None,
            damage: None,
        }
    }

    fn damaged(provider: Provider, damage: Damage) -> Self {
        Self {
            damage: Some(damage),
            ..Self::new(provider)
        }
    }

    fn kms_v2(row: &kmsv2::Value<'a>) -> Self {
        let object = &row.object;
        let overhead = match object.dek_source_type {
            DekSourceType::HkdfSha256XnonceAesGcmSeed => INFO + GCM,
            DekSourceType::AesGcmKey => GCM,
        };
        let len = object.encrypted_data.len();
        let damage = (len < overhead).then_some(kmsv2::OpenError::Truncated(len).into());
        let wrapped = object.encrypted_dek_source;
        Self {
            name: Some(String::from_utf8_lossy(row.provider)),
            key_id: Some(object.key_id),
            version: transit_version(wrapped).or_else(|| version_in_key_id(object.key_id)),
            damage,
            ..Self::new(Provider::KmsV2)
        }
    }

    fn kms_v1(row: &kmsv1::Value<'a>) -> Self {
        Self {
            name: Some(Cow::Borrowed(row.provider)),
            version: transit_version(row.wrapped_dek),
            ..Self::new(Provider::KmsV1)
        }
    }

    fn local(provider: Provider, value: &LocalValue<'a>) -> Self {
        Self {
            name: value.key_name.map(Cow::Borrowed),
            damage: value.key_name.is_none().then_some(Damage::Local),
            ..Self::new(provider)
        }
    }
}

fn is_cut_off(value: &[u8]) -> bool {
    value.len() < RESERVED_PREFIX.len() && RESERVED_PREFIX.starts_with(value)
}

/// The version of the Transit key that wrapped a DEK source, if one did.
fn transit_version(wrapped: &[u8]) -> Option<u32> {
    TransitCiphertext::version_of(wrapped).map(NonZeroU32::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_every_provider_is_told() {
        let told = |value: &[u8]| {
            let encryption = ValueEncryption::of(value);
            let name = encryption.name.map(Cow::into_owned);
            (encryption.provider.as_str(), name, encryption.damage)
        };
        let name = |name: &str| Some(name.to_owned());
        let gcm = [b"k8s:enc:aesgcm:v1:key1:".as_slice(), &[0; 33]].concat();
        assert_eq!(told(&gcm), ("aesgcm", name("key1"), None));
        let cbc = [b"k8s:enc:aescbc:v1:k:".as_slice(), &[0; 48]].concat();
        assert_eq!(told(&cbc), ("aescbc", name("k"), None));
        let boxed = [b"k8s:enc:secretbox:v1:k:".as_slice(), &[0; 47]].concat();
        assert_eq!(told(&boxed), ("secretbox", name("k"), None));
        let v1 = [
            b"k8s:enc:kms:v1:p:\0\x0evault:v12:YWJj".as_slice(),
            &[0; 40],
        ]
        .concat();
        assert_eq!(told(&v1), ("kms-v1", name("p"), None));
        assert_eq!(ValueEncryption::of(&v1).version, Some(12));
        assert_eq!(told(b"k8s\0rest"), ("identity", None, None));
    }

    #[test]
    fn what_no_kube_apiserver_would_read_is_damaged() {
        let damage = |value: &[u8]| ValueEncryption::of(value).damage;
        assert_eq!(damage(b""), Some(Damage::CutOff));
        assert_eq!(damage(b"k8s:enc"), Some(Damage::CutOff));
        assert_eq!(damage(b"k8s:enc:new:v1:"), Some(Damage::UnknownPrefix));
        assert_eq!(damage(b"k8s:enc:aesgcm:v1:k:short"), Some(Damage::Local));
        assert_eq!(damage(b"k8s:enc:kms:v1:p:\0\x01"), Some(Damage::KmsV1));
        let v2 = ValueEncryption::of(b"k8s:enc:kms:v2::x");
        assert_eq!(v2.provider, Provider::KmsV2);
        assert_eq!(v2.damage, Some(kmsv2::ParseError::ProviderName.into()));
        // One byte of data, key id `local-v7-a`, one byte of wrapped seed, type 1.
        let short = b"k8s:enc:kms:v2:p:\x0a\x01d\x12\x0alocal-v7-a\x1a\x01w\x28\x01";
        let short = ValueEncryption::of(short);
        assert_eq!((short.key_id, short.version), (Some("local-v7-a"), Some(7)));
        assert_eq!(short.damage, Some(kmsv2::OpenError::Truncated(1).into()));
    }
}
