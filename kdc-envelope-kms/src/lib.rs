//! Kubernetes KMS v2 on a Unix socket, both sides: a server for plugins, and a client that calls any plugin as kube-apiserver does.
//!
//! # What is where
//!
//! * [`server`]: serves any number of [`KeyEncryptionKey`](kdc_envelope::KeyEncryptionKey)s to kube-apiserver, with health,
//!   metrics and sockets that look after themselves. Start here to write a plugin.
//! * [`service`]: the three calls alone, for a gRPC server of your own.
//! * [`metrics`]: what the server counts; [`http`]: the pages for probes and scrapers, for other programs too.
//! * `client` (feature `client`): calls any plugin, and behaves as kube-apiserver does.
//! * [`proto`]: the generated messages.
//!
//! A call takes no longer than its client waits, less a little for the answer; the key learns that as its
//! [deadline](kdc_envelope::deadline).
//!
//! # A plugin in five lines
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use kdc_envelope::local::{LocalKek, keyring_file};
//! use kdc_envelope_kms::metrics::Metrics;
//! use kdc_envelope_kms::server::{Server, SocketOptions};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let kek = LocalKek::new(keyring_file::load("/etc/kms-plugin/keyring".as_ref())?)?;
//! let socket = SocketOptions::new("unix:///run/kms-plugin/kms.sock".parse()?);
//! let server = Server::of_one_key(Arc::new(kek), "", socket, Metrics::new("1.0.0"));
//! server.bind().await?.run(std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! * `client`: the module of that name, with a conformance check and a load generator.
#![forbid(unsafe_code)]

#[cfg(feature = "client")]
pub mod client;
mod connections;
mod health;
pub mod http;
pub mod metrics;
mod observe;
pub mod proto;
pub mod server;
pub mod service;
mod throttle;
