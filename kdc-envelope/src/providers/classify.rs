//! What a value is, as far as it can be known without keys and configuration.

use super::{RESERVED_PREFIX, aescbc, aesgcm, kmsv1, secretbox};
use crate::kmsv2;

/// A value by its prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoredValue<'a> {
    /// A row of a KMS v2 plugin, or why kube-apiserver would refuse it.
    KmsV2(Result<kmsv2::Value<'a>, kmsv2::ParseError>),
    /// A row of a KMS v1 plugin; `None` if no split leaves a wrapped DEK and a body.
    KmsV1(Option<kmsv1::Value<'a>>),
    /// Sealed by the `aesgcm` provider.
    Aesgcm(LocalValue<'a>),
    /// Sealed by the `aescbc` provider.
    Aescbc(LocalValue<'a>),
    /// Sealed by the `secretbox` provider.
    Secretbox(LocalValue<'a>),
    /// Not encrypted.
    Identity(PlainFormat),
    /// Begins with `k8s:enc:`, but no provider of kube-apiserver writes what follows.
    UnknownEncrypted,
}

/// A value that a key of the configuration sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalValue<'a> {
    /// The name of the key; `None` if no split leaves a possible body, so that the value is damaged.
    pub key_name: Option<&'a str>,
    /// What follows the name, or the prefix if there is none.
    pub body: &'a [u8],
}

/// How a plain object is encoded, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PlainFormat {
    /// `k8s\0` and a protobuf `runtime.Unknown`, as built-in resources mostly are.
    Protobuf,
    /// `{`, as custom resources are.
    Json,
    /// The self-described CBOR tag of RFC 8949 §3.4.6, with the feature gate `CBORServingAndStorage`.
    Cbor,
    /// None of these, such as the bare numbers and ranges that some resources without a REST API hold.
    Other,
}

/// Tells which provider wrote `value`, and what can be read of it without a key.
///
/// Names of keys and of KMS v1 providers may contain `:`, which nothing in a value escapes. The name reported is the
/// shortest that leaves a body of a possible length, which is right for all names without `:`. For others it may be only
/// the part before a `:`; the rest is then at the front of the body.
#[must_use]
pub fn classify(value: &[u8]) -> StoredValue<'_> {
    if value.starts_with(kmsv2::PREFIX) {
        return StoredValue::KmsV2(kmsv2::Value::parse(value));
    }
    if let Some(rest) = value.strip_prefix(kmsv1::PREFIX) {
        return StoredValue::KmsV1(kms_v1(rest));
    }
    if let Some(rest) = value.strip_prefix(aesgcm::PREFIX) {
        return StoredValue::Aesgcm(local(rest, |len| len >= aesgcm::MIN_BODY_LEN));
    }
    if let Some(rest) = value.strip_prefix(aescbc::PREFIX) {
        let possible = |len: usize| len >= aescbc::MIN_BODY_LEN && len.is_multiple_of(16);
        return StoredValue::Aescbc(local(rest, possible));
    }
    if let Some(rest) = value.strip_prefix(secretbox::PREFIX) {
        return StoredValue::Secretbox(local(rest, |len| len >= secretbox::MIN_BODY_LEN));
    }
    if value.starts_with(RESERVED_PREFIX) {
        return StoredValue::UnknownEncrypted;
    }
    StoredValue::Identity(plain_format(value))
}

fn plain_format(value: &[u8]) -> PlainFormat {
    match value {
        [b'k', b'8', b's', 0, ..] => PlainFormat::Protobuf,
        [b'{', ..] => PlainFormat::Json,
        [0xd9, 0xd9, 0xf7, ..] => PlainFormat::Cbor,
        _ => PlainFormat::Other,
    }
}

fn kms_v1(rest: &[u8]) -> Option<kmsv1::Value<'_>> {
    splits(rest)
        .filter_map(|(name, rest)| kmsv1::Value::parse_rest(name, rest))
        .find(|value| !value.wrapped_dek.is_empty() && value.body.len() >= aesgcm::MIN_BODY_LEN)
}

fn local(rest: &[u8], is_possible: impl Fn(usize) -> bool) -> LocalValue<'_> {
    match splits(rest).find(|(_, body)| is_possible(body.len())) {
        Some((name, body)) => LocalValue {
            key_name: Some(name),
            body,
        },
        None => LocalValue {
            key_name: None,
            body: rest,
        },
    }
}

/// All splits of `rest` at a `:` into a name and what follows, shortest name first.
///
/// Ends where the name would no longer be text, so that a long body is not searched for nothing.
fn splits(rest: &[u8]) -> impl Iterator<Item = (&str, &[u8])> {
    let text = rest.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    text.match_indices(':').filter_map(|(end, _)| {
        let name = text.get(..end).filter(|name| !name.is_empty())?;
        Some((name, rest.get(end + 1..)?))
    })
}
