//! The custom resources of hosted control planes, as far as they are read or written here.
//!
//! * [`KmsKey`] is ours: all of it is typed, and [`KMS_KEYS`] is its CustomResourceDefinition.
//! * [`KdcCluster`] belongs to the platform; what is typed is `spec.encryption`, what it needs of `spec.backup`, and
//!   `status.encryption` with the conditions.
//! * [`kamaji`] belongs to Kamaji.
//!
//! The types of objects need the feature `crd`.
//!
//! Objects of others are never written as a whole, so that no field of a newer version is lost: their types cannot be serialized,
//! and writes are patches of single fields. All types ignore fields that they do not know.

pub mod cluster_names;
pub mod conditions;
mod definition;
pub mod interval;
#[cfg(feature = "crd")]
pub mod kamaji;
#[cfg(feature = "crd")]
pub mod kdc_cluster;
#[cfg(feature = "crd")]
pub mod kms_key;
#[cfg(feature = "crd")]
mod object;

pub use cluster_names::ClusterNames;
pub use conditions::{Condition, ConditionStatus, Conditions};
pub use definition::{Definition, KDC_CLUSTERS, KMS_KEYS};
#[cfg(feature = "crd")]
pub use kdc_cluster::KdcCluster;
#[cfg(feature = "crd")]
pub use kms_key::KmsKey;
#[cfg(feature = "crd")]
use object::{null_is_default, resource};
