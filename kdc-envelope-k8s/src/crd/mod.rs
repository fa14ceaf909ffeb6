//! The custom resources of hosted control planes, as far as they are read or written here.
//!
//! * [`KmsKey`] is ours: all of it is typed, and [`KMS_KEYS`] is its CustomResourceDefinition.
//! * [`KdcCluster`] belongs to the platform; what is typed is `spec.encryption`, what it needs of `spec.backup`, and
//!   `status.encryption` with the conditions.
//! * [`kamaji`] belongs to Kamaji.
//!
//! Objects of others are never written as a whole, so that no field of a newer version is lost: their types cannot be serialized,
//! and writes are patches of single fields. All types ignore fields that they do not know.

pub mod conditions;
mod definition;
pub mod interval;
pub mod kamaji;
pub mod kdc_cluster;
pub mod kms_key;

pub use conditions::{Condition, ConditionStatus, Conditions};
pub use definition::{Definition, KDC_CLUSTERS, KMS_KEYS};
pub use kdc_cluster::KdcCluster;
pub use kms_key::KmsKey;

/// Names a type to `kube`.
macro_rules! resource {
    ($type:ident, $scope:ident, $kind:literal, $plural:literal, $group:literal, $version:literal) => {
        impl kube::Resource for $type {
            type DynamicType = ();
            type Scope = kube::core::$scope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                $kind.into()
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                $group.into()
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &kube::api::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut kube::api::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
use resource;

/// Reads `null` as what is there without the field.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + serde::Deserialize<'de>,
{
    let given: Option<T> = serde::Deserialize::deserialize(deserializer)?;
    Ok(given.unwrap_or_default())
}
