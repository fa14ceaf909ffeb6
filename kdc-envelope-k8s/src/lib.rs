//! Encryption at rest of Kubernetes, from outside of kube-apiserver: what an EncryptionConfiguration means, which rows of etcd
//! are encrypted how, and how keys are changed under a running control plane without a row that some API server cannot read.
//!
//! Nothing here serves a plugin or holds a key encryption key: `kdc-envelope-kms` does the former, and whatever implements
//! [`KeyEncryptionKey`](kdc_envelope::KeyEncryptionKey) the latter.
//!
//! # Example
//!
//! A file is read as strictly as kube-apiserver reads it, changed as a [`Layout`], and written in one canonical form. A value of
//! etcd is opened by the providers of the file, in their order.
//!
//! ```
//! use kdc_envelope_k8s::values::{Opening, ValueOpener};
//! use kdc_envelope_k8s::{EncryptionConfiguration, GroupResource, Layout};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let file = r#"
//! apiVersion: apiserver.config.k8s.io/v1
//! kind: EncryptionConfiguration
//! resources:
//!   - resources: [secrets]
//!     providers:
//!       - kms: {apiVersion: v2, name: vault, endpoint: unix:///run/kms-plugin/kms.sock}
//!       - identity: {}
//! "#;
//! let config = EncryptionConfiguration::parse(file.as_bytes())?;
//! let secrets = GroupResource::new("secrets", "");
//!
//! // Who writes Secrets from now on?
//! let layout = Layout::of(&config);
//! let writer = layout.chain_of(&secrets).writer().clone();
//! assert_eq!(writer.kms_v2().map(|kms| &*kms.name), Some("vault"));
//! let canonical = layout.render()?;
//! assert!(canonical.contains("timeout: 3s"));
//!
//! // A row from before is plain: it is read, and stale.
//! let opener = ValueOpener::for_resource(&config, &secrets);
//! let opening = opener.open(b"k8s\0...", b"/registry/secrets/default/a")?;
//! let Opening::Opened(opened) = opening else {
//!     panic!("nothing is to be unwrapped");
//! };
//! assert_eq!(opened.stale, Some(true));
//! # Ok(())
//! # }
//! ```
//!
//! # Modules
//!
//! | for | module | feature |
//! |---|---|---|
//! | files | [`encryption_config`]: EncryptionConfiguration, what it means, its canonical form | |
//! | | [`api_server`]: how a kube-apiserver is started, from manifests, units and command lines | |
//! | | [`files`]: the files of a node, and the state of a change in a folder | |
//! | values | [`values`]: opening values as kube-apiserver does, and the objects in them as YAML | |
//! | changes of keys | [`rotation`]: the planner, which is pure and model-checked: observed, desired, next actions | |
//! | | `control_plane`: observe, plan and apply on real nodes | `client` |
//! | rows | [`rows`]: rows held against the provider and key that should have written them | reading: `client` and `etcd` |
//! | | `etcd`: rows and snapshots of a live etcd | `etcd` |
//! | | `rewrite`: rewriting every row through an API server, and the proof that none is stale | `client` |
//! | controllers | `controller`: leader election, watches, retries, status and events | `controller` |
//! | | `hosted`: encryption of hosted control planes, from a KdcCluster to proven rows | `hosted` |
//! | custom resources | [`crd`]: intervals of rotation; KMSKey, KdcCluster and Kamaji's objects | objects: `crd` |
//! | keys of tenants | `keys`: KMSKeys become keys in OpenBao, which rotate; clusters get access to them | `controller` |
//! | API servers | `cluster`: kubeconfigs, clients, and what an API server says of itself | `client` |
//!
//! # Features
//!
//! * `client`: what talks to API servers, by `kube`. It runs on tokio.
//! * `controller`: the frame of a controller, with metrics by `prometheus-client`, and what stands on it.
//! * `crd`: the types of custom resources, for `kube`.
//! * `etcd`: what talks to etcd, by `tonic`. It runs on tokio.
//! * `hosted`: the controller of hosted control planes.
//!
//! Without them the crate is formats and planners, and does no network I/O.
//!
//! # What it holds to
//!
//! * A planner never lets a key go while a row or a retained backup may need it; what was not looked at counts as needing it
//!   ([`evidence`](kdc_envelope::evidence)).
//! * Keys and plaintext are wiped after use, and appear in no error and no `Debug`.
//! * Files with keys have mode 0600, and are replaced as a whole or not at all.
#![forbid(unsafe_code)]

pub mod api_server;
#[cfg(feature = "client")]
pub mod cluster;
#[cfg(feature = "client")]
pub mod control_plane;
#[cfg(feature = "controller")]
pub mod controller;
pub mod crd;
pub mod encryption_config;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod files;
#[cfg(feature = "hosted")]
pub mod hosted;
#[cfg(feature = "controller")]
pub mod keys;
mod percent;
#[cfg(feature = "client")]
pub mod rewrite;
pub mod rotation;
pub mod rows;
pub mod values;
mod yaml;

pub use encryption_config::{EncryptionConfiguration, GroupResource, Layout};
pub use rotation::plan;
pub use values::ValueOpener;
