//! Status and finalizers: the least that has to be written, and nothing if nothing changed.

use kube::api::ObjectMeta;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{CallError, Object, ObjectKey, Objects};

/// Brings the status of an object from what was `seen` to what is `wanted`, and says whether anything was written.
///
/// Fields that are in neither are left alone. It is a [conflict](super::ErrorKind::Conflict) if the object changed since `meta` was
/// read; so conditions of others, which are in the same list as ours, are never lost.
///
/// # Errors
/// [`CallError`]
pub async fn write_status<K: Object>(
    objects: &Objects,
    meta: &ObjectMeta,
    seen: &impl Serialize,
    wanted: &impl Serialize,
) -> Result<bool, CallError> {
    let key = key_of(meta);
    let to_json = |status: Result<Value, serde_json::Error>| {
        status.map_err(|source| CallError::Format {
            verb: super::objects::Verb::PatchStatus,
            kind: K::kind(&()).into(),
            key: key.clone(),
            source,
        })
    };
    let seen = to_json(serde_json::to_value(seen))?;
    let wanted = to_json(serde_json::to_value(wanted))?;
    let Some(change) = difference(&seen, &wanted) else {
        return Ok(false);
    };
    let patch = json!({
        "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
        "status": change,
    });
    objects.patch_status::<K>(&key, &patch).await?;
    Ok(true)
}

/// Whether an object waits for `finalizer` before it goes.
#[must_use]
pub fn has_finalizer(meta: &ObjectMeta, finalizer: &str) -> bool {
    let finalizers = meta.finalizers.iter().flatten();
    finalizers.into_iter().any(|found| found == finalizer)
}

/// Makes an object wait for `finalizer` before it goes, and says whether anything was written. An object that is about to go takes
/// no new one.
///
/// # Errors
/// [`CallError`]
pub async fn add_finalizer<K: Object>(
    objects: &Objects,
    meta: &ObjectMeta,
    finalizer: &str,
) -> Result<bool, CallError> {
    if has_finalizer(meta, finalizer) || meta.deletion_timestamp.is_some() {
        return Ok(false);
    }
    let mut finalizers = meta.finalizers.clone().unwrap_or_default();
    finalizers.push(finalizer.to_owned());
    write_finalizers::<K>(objects, meta, &finalizers).await
}

/// Takes `finalizer` away, and says whether anything was written. The object goes if it was to be deleted and no other is left.
///
/// # Errors
/// [`CallError`]
pub async fn remove_finalizer<K: Object>(
    objects: &Objects,
    meta: &ObjectMeta,
    finalizer: &str,
) -> Result<bool, CallError> {
    if !has_finalizer(meta, finalizer) {
        return Ok(false);
    }
    let mut finalizers = meta.finalizers.clone().unwrap_or_default();
    finalizers.retain(|found| found != finalizer);
    write_finalizers::<K>(objects, meta, &finalizers).await
}

async fn write_finalizers<K: Object>(
    objects: &Objects,
    meta: &ObjectMeta,
    finalizers: &[String],
) -> Result<bool, CallError> {
    let patch = json!({
        "metadata": {
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
            "finalizers": finalizers,
        },
    });
    objects.patch::<K>(&key_of(meta), &patch).await?;
    Ok(true)
}

fn key_of(meta: &ObjectMeta) -> ObjectKey {
    ObjectKey::new(
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default(),
    )
}

/// The JSON merge patch (RFC 7386) from one value to the other; `None` if they are equal.
#[must_use]
pub fn difference(from: &Value, to: &Value) -> Option<Value> {
    let (Value::Object(from), Value::Object(to)) = (from, to) else {
        return (from != to).then(|| to.clone());
    };
    let mut patch = Map::new();
    for (name, value) in to {
        let change = match from.get(name) {
            Some(before) => difference(before, value),
            None => Some(value.clone()),
        };
        if let Some(change) = change {
            patch.insert(name.clone(), change);
        }
    }
    for name in from.keys().filter(|name| !to.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    (!patch.is_empty()).then(|| patch.into())
}

/// Lays `over` over `value`, maps name by name.
pub(super) fn merge(value: &mut Value, over: &Value) {
    match (value, over) {
        (Value::Object(map), Value::Object(over)) => {
            for (name, value) in over {
                merge(map.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (value, over) => *value = over.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_has_only_what_changed() {
        let seen = json!({"a": 1, "b": {"c": [1], "d": 2}, "gone": true});
        let wanted = json!({"a": 1, "b": {"c": [1, 2], "d": 2}, "new": {"x": 1}});
        let patch = json!({"b": {"c": [1, 2]}, "gone": null, "new": {"x": 1}});
        assert_eq!(difference(&seen, &wanted), Some(patch));
        assert_eq!(difference(&seen, &seen), None);
        assert_eq!(difference(&json!({}), &json!({})), None);
    }

    #[test]
    fn what_is_laid_over_keeps_the_rest() {
        let mut value = json!({"metadata": {"labels": {"a": "b"}}, "spec": 1});
        merge(&mut value, &json!({"metadata": {"name": "x"}}));
        let merged = json!({"metadata": {"labels": {"a": "b"}, "name": "x"}, "spec": 1});
        assert_eq!(value, merged);
    }
}
