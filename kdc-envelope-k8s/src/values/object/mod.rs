//! Kubernetes objects as etcd holds them once they are decrypted, shown as `kubectl get -o yaml` shows them.
//!
//! Built-in resources are `k8s\0` and a protobuf `runtime.Unknown`; others are JSON. Of the former, Secrets and ConfigMaps
//! of `v1` are known, because these are what clusters encrypt. As with kubectl, `metadata.managedFields` is left out.

mod messages;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use serde_json::{Map, Value, json};

use messages::{ConfigMap, ObjectMeta, Secret, Time, TypeMeta, Unknown};

/// What built-in resources begin with (`protoEncodingPrefix` in `k8s.io/apimachinery/pkg/runtime/serializer/protobuf`).
const PROTOBUF: &[u8] = b"k8s\0";

/// An object cannot be shown. Never contains any of it but its kind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The protobuf message is damaged.
    #[error("malformed protobuf message {message}")]
    Protobuf {
        /// Which message.
        message: &'static str,
        /// What is wrong with it.
        source: prost::DecodeError,
    },
    /// The JSON text is damaged. Of the text itself, which may be secret, nothing is told.
    #[error("malformed JSON at line {line}, column {column}")]
    Json {
        /// The line where it breaks, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// The protobuf of another kind than Secret and ConfigMap.
    #[error(
        "the object is `{}` of `{}`; only Secret and ConfigMap of `v1` and objects in JSON can be decoded",
        .kind.escape_debug(),
        .api_version.escape_debug()
    )]
    UnknownKind {
        /// Its `apiVersion`.
        api_version: String,
        /// Its `kind`.
        kind: String,
    },
    /// Every object that was ever stored has metadata.
    #[error("the object has no metadata; it is truncated")]
    NoMetadata,
    /// The inner bytes are encoded once more, which no release of Kubernetes does.
    #[error("the object has the unknown content encoding `{}`", .0.escape_debug())]
    Encoding(String),
    /// Neither protobuf nor JSON.
    #[error("the object is neither Kubernetes protobuf nor JSON")]
    Format,
}

/// The object in `stored` as JSON.
///
/// # Errors
/// [`DecodeError`].
pub fn decode(stored: &[u8]) -> Result<Value, DecodeError> {
    if let Some(message) = stored.strip_prefix(PROTOBUF) {
        return decode_protobuf(message);
    }
    if stored.first() == Some(&b'{') {
        return serde_json::from_slice(stored).map_err(|error| DecodeError::Json {
            line: error.line(),
            column: error.column(),
        });
    }
    Err(DecodeError::Format)
}

/// The object in YAML, fields in alphabetical order.
///
/// # Errors
/// Never for what [`decode`] gives.
pub fn to_yaml(object: &Value) -> Result<String, serde_saphyr::SerializeError> {
    let mut yaml = serde_saphyr::to_string(object)?;
    if !yaml.ends_with('\n') {
        yaml.push('\n');
    }
    Ok(yaml)
}

/// An Opaque Secret as kube-apiserver stores it. `created` is in seconds since 1970-01-01 UTC.
#[must_use]
pub fn encode_secret(
    namespace: &str,
    name: &str,
    data: &BTreeMap<String, Vec<u8>>,
    created: u64,
) -> Vec<u8> {
    let secret = Secret {
        metadata: Some(ObjectMeta {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            creation_timestamp: i64::try_from(created)
                .ok()
                .map(|seconds| Time { seconds, nanos: 0 }),
            ..ObjectMeta::default()
        }),
        data: data.clone(),
        secret_type: "Opaque".to_owned(),
        ..Secret::default()
    };
    let unknown = Unknown {
        type_meta: Some(TypeMeta {
            api_version: "v1".to_owned(),
            kind: "Secret".to_owned(),
        }),
        raw: secret.encode_to_vec(),
        ..Unknown::default()
    };
    [PROTOBUF, &unknown.encode_to_vec()].concat()
}

fn decode_protobuf(message: &[u8]) -> Result<Value, DecodeError> {
    let malformed = |message| move |source| DecodeError::Protobuf { message, source };
    let unknown = Unknown::decode(message).map_err(malformed("runtime.Unknown"))?;
    if !unknown.content_encoding.is_empty() {
        return Err(DecodeError::Encoding(unknown.content_encoding));
    }
    let raw = unknown.raw.as_slice();
    let kind = unknown.type_meta.unwrap_or_default();
    match (kind.api_version.as_str(), kind.kind.as_str()) {
        ("v1", "Secret") => Secret::decode(raw)
            .map_err(malformed("v1.Secret"))
            .and_then(secret),
        ("v1", "ConfigMap") => ConfigMap::decode(raw)
            .map_err(malformed("v1.ConfigMap"))
            .and_then(config_map),
        _ => Err(DecodeError::UnknownKind {
            api_version: kind.api_version,
            kind: kind.kind,
        }),
    }
}

fn secret(secret: Secret) -> Result<Value, DecodeError> {
    let mut object = Fields::of("Secret", secret.metadata)?;
    object.put("data", in_base64(secret.data));
    object.put("stringData", secret.string_data);
    object.put("type", secret.secret_type);
    object.put("immutable", secret.immutable);
    Ok(object.into())
}

fn config_map(config_map: ConfigMap) -> Result<Value, DecodeError> {
    let mut object = Fields::of("ConfigMap", config_map.metadata)?;
    object.put("data", config_map.data);
    object.put("binaryData", in_base64(config_map.binary_data));
    object.put("immutable", config_map.immutable);
    Ok(object.into())
}

fn metadata(metadata: ObjectMeta) -> Value {
    let mut fields = Fields::default();
    fields.put("name", metadata.name);
    fields.put("generateName", metadata.generate_name);
    fields.put("namespace", metadata.namespace);
    fields.put("selfLink", metadata.self_link);
    fields.put("uid", metadata.uid);
    fields.put("resourceVersion", metadata.resource_version);
    fields.put(
        "generation",
        (metadata.generation != 0).then_some(metadata.generation),
    );
    fields.put(
        "creationTimestamp",
        metadata.creation_timestamp.and_then(time),
    );
    fields.put(
        "deletionTimestamp",
        metadata.deletion_timestamp.and_then(time),
    );
    fields.put(
        "deletionGracePeriodSeconds",
        metadata.deletion_grace_period_seconds,
    );
    fields.put("labels", metadata.labels);
    fields.put("annotations", metadata.annotations);
    let owners: Vec<Value> = metadata
        .owner_references
        .into_iter()
        .map(|owner| {
            let mut fields = Fields::default();
            fields.put("apiVersion", owner.api_version);
            fields.put("kind", owner.kind);
            fields.put("name", owner.name);
            fields.put("uid", owner.uid);
            fields.put("controller", owner.controller);
            fields.put("blockOwnerDeletion", owner.block_owner_deletion);
            fields.into()
        })
        .collect();
    fields.put("ownerReferences", owners);
    fields.put("finalizers", metadata.finalizers);
    fields.into()
}

/// Kubernetes keeps whole seconds; the zero message stands for no time.
fn time(time: Time) -> Option<String> {
    if (time.seconds, time.nanos) == (0, 0) {
        return None;
    }
    let time = jiff::Timestamp::from_second(time.seconds).ok()?;
    Some(time.to_string())
}

/// As `data` is shown.
#[must_use]
pub fn in_base64(map: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, String> {
    map.into_iter()
        .map(|(key, value)| (key, STANDARD.encode(value)))
        .collect()
}

/// An object under construction, without its empty fields.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn of(kind: &str, meta: Option<ObjectMeta>) -> Result<Self, DecodeError> {
        let mut fields = Self::default();
        fields.put("apiVersion", "v1");
        fields.put("kind", kind);
        let meta = meta.ok_or(DecodeError::NoMetadata)?;
        fields.put("metadata", metadata(meta));
        Ok(fields)
    }

    fn put(&mut self, name: &str, value: impl serde::Serialize) {
        let value = json!(value);
        let is_empty = match &value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            Value::Bool(_) | Value::Number(_) => false,
        };
        if !is_empty {
            self.0.insert(name.to_owned(), value);
        }
    }
}

impl From<Fields> for Value {
    fn from(fields: Fields) -> Self {
        Self::Object(fields.0)
    }
}

#[cfg(test)]
mod tests;
