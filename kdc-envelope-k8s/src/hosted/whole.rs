//! Objects of other programs as they are, with every field, also those that no type here knows.

use core::fmt;
use core::marker::PhantomData;
use std::borrow::Cow;

use kube::Resource;
use kube::api::ObjectMeta;
use serde::Deserialize;
use serde_json::{Map, Value};

/// An object of kind `K`.
#[derive(Deserialize)]
#[serde(bound = "")]
pub(super) struct Whole<K> {
    metadata: ObjectMeta,
    #[serde(flatten)]
    fields: Map<String, Value>,
    #[serde(skip)]
    kind: PhantomData<fn() -> K>,
}

impl<K> Whole<K> {
    /// As one value.
    pub(super) fn into_value(self) -> Result<Value, serde_json::Error> {
        let mut fields = self.fields;
        fields.insert("metadata".to_owned(), serde_json::to_value(self.metadata)?);
        Ok(Value::Object(fields))
    }
}

impl<K> Clone for Whole<K> {
    fn clone(&self) -> Self {
        Self {
            metadata: self.metadata.clone(),
            fields: self.fields.clone(),
            kind: PhantomData,
        }
    }
}

impl<K> fmt::Debug for Whole<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Whole")
            .field("name", &self.metadata.name)
            .finish_non_exhaustive()
    }
}

impl<K: Resource<DynamicType = ()>> Resource for Whole<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
