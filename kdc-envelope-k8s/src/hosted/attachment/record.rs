//! What was added to an object, in an annotation of the object itself, so that both are written by one update.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::AttachError;
use super::json::ensure;

const ANNOTATION: &str = "k8s.kube-dc.com/encryption-attachment";
const ANNOTATIONS: &str = "/metadata/annotations";

/// Everything that is not of other writers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Record {
    /// Names.
    pub(super) init_containers: Vec<String>,
    /// Names.
    pub(super) volumes: Vec<String>,
    /// Names of their volumes.
    pub(super) mounts: Vec<String>,
    /// Whole flags.
    pub(super) flags: Vec<String>,
    /// Fields that were set, by their JSON pointers.
    pub(super) fields: BTreeMap<String, Replaced>,
    /// JSON pointers of lists and objects that were made for all of this.
    pub(super) created: BTreeSet<String>,
}

/// A field that was set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Replaced {
    /// To this.
    pub(super) set: Value,
    /// What was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<Value>,
}

impl Record {
    /// The one of `object`.
    pub(super) fn of(object: &Value) -> Result<Option<Self>, AttachError> {
        let annotations = object.pointer(ANNOTATIONS);
        let Some(text) = annotations.and_then(|annotations| annotations.get(ANNOTATION)) else {
            return Ok(None);
        };
        let record = text
            .as_str()
            .and_then(|text| serde_json::from_str(text).ok());
        record.map(Some).ok_or_else(damaged)
    }

    /// Puts it into `object`.
    pub(super) fn store(mut self, object: &mut Value) -> Result<(), AttachError> {
        ensure(object, ANNOTATIONS, &json!({}), &mut self.created)?;
        let text = serde_json::to_string(&self).map_err(|_| damaged())?;
        if let Some(Value::Object(annotations)) = object.pointer_mut(ANNOTATIONS) {
            annotations.insert(ANNOTATION.to_owned(), text.into());
        }
        Ok(())
    }

    /// Takes it out of `object`.
    pub(super) fn remove(object: &mut Value) {
        if let Some(Value::Object(annotations)) = object.pointer_mut(ANNOTATIONS) {
            annotations.remove(ANNOTATION);
        }
    }

    pub(super) fn has_flag(&self, flag: &str) -> bool {
        self.flags.iter().any(|owned| owned == flag)
    }
}

const fn damaged() -> AttachError {
    AttachError::Record {
        annotation: ANNOTATION,
    }
}
