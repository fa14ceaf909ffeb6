//! Kubernetes objects of encryption at rest: EncryptionConfiguration files, and the values in etcd that they open.
#![forbid(unsafe_code)]

pub mod encryption_config;
pub mod value_opener;

pub use encryption_config::{EncryptionConfiguration, GroupResource};
pub use value_opener::ValueOpener;
