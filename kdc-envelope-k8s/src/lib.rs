//! Kubernetes objects of encryption at rest: EncryptionConfiguration files, the values in etcd that they open,
//! and how to change them under a running control plane.
#![forbid(unsafe_code)]

pub mod encryption_config;
pub mod object;
#[cfg(feature = "client")]
pub mod rewrite;
pub mod rotation;
pub mod value_opener;

pub use encryption_config::{EncryptionConfiguration, GroupResource, Layout};
pub use rotation::plan;
pub use value_opener::ValueOpener;
