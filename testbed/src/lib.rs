//! Starts the real servers that tests, benches and `cargo xtask testbed` run
//! against, because behaviour is proven on the real etcd, kube-apiserver and OpenBao.
//!
//! | module | what it gives |
//! |---|---|
//! | [`servers`] | builds or installs a pinned server once, into a cache outside `target/` |
//! | [`process`] | a child that ends with this process, even when this is killed |
//! | [`etcd`] | a single-node etcd, and its rows as they are stored |
//! | [`apiserver`] | kube-apiserver on that etcd |
//! | [`client`] | the API calls that tests make |
//! | [`bao`] | OpenBao: [`Bao`] for one server, [`BaoCluster`] for three, and the calls that set up Transit and logins |
//! | [`s3`] | two S3 servers: one in this process, and moto; a third with bad habits |
//! | [`meter`] | a port that counts the bytes on the wire |
//! | [`proxy`] | an HTTP proxy that counts and does what no real server does on demand |
//! | [`node`] | a whole cluster of one machine: kubelet, containerd and what they need, in namespaces |
//! | [`hosted`] | a management cluster, and control planes in it as Kamaji runs them |
//! | [`oci`] | container images, written without an image builder |
//! | [`encryption_config`] | the configuration file that puts a KMS plugin to use |
//! | [`oracle`] | upstream's own Go transformers, to compare with and to race |
//! | [`fixtures`] | what tests of our programs stand on: an API server, a plugin, and clients that use both |
//! | [`programs`] | `kdc` and `kms-plugin` of this workspace |
//! | [`python`] | Pythons with pinned packages, for independent test vectors and OpenBao's wheel |
//! | [`random`] | inputs that are random, and the same in every run |
//! | [`pki`] | the certificates and keys of all of them |
//!
//! Everything listens on 127.0.0.1 on ports taken at start and keeps its data
//! in a temporary folder that goes when the value is dropped.

pub mod apiserver;
pub mod bao;
pub mod client;
pub mod controllers;
pub mod encryption_config;
mod error;
pub mod etcd;
pub mod fixtures;
pub mod hosted;
pub mod meter;
pub mod node;
pub mod oci;
pub mod oracle;
pub mod pki;
mod ports;
pub mod process;
pub mod programs;
pub mod proxy;
pub mod python;
pub mod random;
pub mod s3;
pub mod servers;

pub use apiserver::ApiServer;
pub use bao::{Bao, BaoCluster, BaoVersion};
pub use client::{ApiError, Client, Resource};
pub use controllers::ControllerManager;
pub use error::Error;
pub use etcd::Etcd;
pub use meter::Meter;
pub use node::Node;
pub use oracle::Oracle;
pub use process::Process;
pub use proxy::Proxy;
pub use random::Random;
pub use s3::{Moto, S3};
pub use servers::{KubeMinor, Server};
