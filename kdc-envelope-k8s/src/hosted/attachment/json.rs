//! Values in a JSON document, by pointers whose names need no escapes.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::AttachError;

/// The value at `place`; `leaf` if there is none. Whatever is made on the way is noted in `created`.
pub(super) fn ensure<'v>(
    root: &'v mut Value,
    place: &str,
    leaf: &Value,
    created: &mut BTreeSet<String>,
) -> Result<&'v mut Value, AttachError> {
    let mut at = String::new();
    let mut current = root;
    let mut names = place.split('/').skip(1).peekable();
    while let Some(name) = names.next() {
        let Value::Object(fields) = current else {
            return Err(AttachError::Shape { place: at.into() });
        };
        at.push('/');
        at.push_str(name);
        let slot = fields.entry(name).or_insert(Value::Null);
        if slot.is_null() {
            *slot = match names.peek() {
                Some(_) => json!({}),
                None => leaf.clone(),
            };
            created.insert(at.clone());
        }
        current = slot;
    }
    Ok(current)
}

/// Puts `value` at `place`.
pub(super) fn set(
    root: &mut Value,
    place: &str,
    value: Value,
    created: &mut BTreeSet<String>,
) -> Result<(), AttachError> {
    let (parent, name) = place.rsplit_once('/').unwrap_or_default();
    match ensure(root, parent, &json!({}), created)? {
        Value::Object(fields) => {
            fields.insert(name.to_owned(), value);
            Ok(())
        }
        _ => Err(AttachError::Shape {
            place: parent.into(),
        }),
    }
}

/// Takes away what is at `place`.
pub(super) fn remove(root: &mut Value, place: &str) {
    let (parent, name) = place.rsplit_once('/').unwrap_or_default();
    if let Some(Value::Object(fields)) = root.pointer_mut(parent) {
        fields.remove(name);
    }
}

pub(super) fn list_mut<'v>(
    value: &'v mut Value,
    place: &str,
) -> Result<&'v mut Vec<Value>, AttachError> {
    value.as_array_mut().ok_or_else(|| AttachError::Shape {
        place: place.into(),
    })
}

/// By what entries of lists are told apart.
pub(super) fn entry_name(entry: &Value) -> Option<&str> {
    entry.get("name")?.as_str()
}

/// A flag without its value.
pub(super) fn flag_name(flag: &str) -> &str {
    flag.split_once('=').map_or(flag, |(name, _)| name)
}

/// Whether `stored` has everything of `wanted`, and perhaps more fields.
pub(super) fn covers(stored: &Value, wanted: &Value) -> bool {
    match (stored, wanted) {
        (Value::Object(stored), Value::Object(wanted)) => wanted.iter().all(|(name, wanted)| {
            stored
                .get(name)
                .is_some_and(|stored| covers(stored, wanted))
        }),
        (Value::Array(stored), Value::Array(wanted)) => {
            stored.len() == wanted.len()
                && stored
                    .iter()
                    .zip(wanted)
                    .all(|(stored, wanted)| covers(stored, wanted))
        }
        _ => stored == wanted,
    }
}
