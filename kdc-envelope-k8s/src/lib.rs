//! Kubernetes objects of encryption at rest: EncryptionConfiguration files, the values in etcd that they open,
//! and how to change them under a running control plane.
#![forbid(unsafe_code)]

pub mod api_server;
#[cfg(feature = "client")]
pub mod cluster;
#[cfg(feature = "client")]
pub mod control_plane;
pub mod encryption_config;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod files;
pub mod object;
mod percent;
#[cfg(feature = "client")]
pub mod rewrite;
pub mod rotation;
pub mod rows;
pub mod value_opener;
mod yaml;

pub use encryption_config::{EncryptionConfiguration, GroupResource, Layout};
pub use rotation::plan;
pub use value_opener::ValueOpener;
