//! Envelope encryption with key encryption keys (KEKs) that rotate, and the formats of Kubernetes encryption at rest.
//!
//! A KEK wraps short secrets: data encryption keys (DEKs), and the seeds that kube-apiserver derives its keys from. What it wrapped
//! names the KEK version, so a new version can take over while the old one still unwraps:
//!
//! ```
//! use kdc_envelope::local::{Keyring, LocalKek};
//! use kdc_envelope::{Aad, KeyEncryptionKey as _};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! # let (now, later) = (1_767_225_600, 1_767_312_000);
//! let mut keyring = Keyring::generate(now)?;
//! let kek = LocalKek::new(Keyring::parse(&keyring.to_text())?)?;
//! let wrapped = kek.wrap(b"a data encryption key", Aad::new(b"invoices")).await?;
//!
//! // With several replicas, each has the new version before one of them wraps with it.
//! let second = keyring.add(later)?;
//! keyring.promote(second)?;
//! kek.replace(keyring)?;
//!
//! let moved = kek.rewrap(&wrapped, Aad::new(b"invoices")).await?.ok_or("not moved")?;
//! assert_ne!(moved.key_id, wrapped.key_id);
//! assert_eq!(kek.unwrap(&moved, Aad::new(b"invoices")).await?.expose(), b"a data encryption key");
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
//! ```
//!
//! # Contents
//!
//! | to | use |
//! |---|---|
//! | encrypt your own data | [`envelope::EnvelopeCipher`] under any [`KeyEncryptionKey`] |
//! | hold a KEK on this machine | [`local::LocalKek`] over a keyring file or a root secret |
//! | go on through an outage of a remote KEK | [`cache::CachedKek`] in front of it |
//! | write a backend of your own | [`KeyEncryptionKey`], and the suite in `kek::conformance` |
//! | read and write rows of KMS v2 plugins | [`kmsv2`] |
//! | read rows of the local providers and of KMS v1 | [`providers`] |
//! | learn which keys rows need, without a key | [`key_usage`] |
//! | read rows of a snapshot or data file of etcd without a server | [`etcd_file`] |
//! | seal snapshots of etcd, open them, and read parts of them | [`snapshot`] |
//! | derive the same keys on two clusters | [`mod@derive`] |
//! | say what follows from what was seen, and what does not | [`evidence`] |
//! | have random bytes | [`random`] |
//!
//! # Protection
//!
//! * Stored data, backups and disks tell nothing but lengths, key ids and times of change: all is AES-256-GCM under keys that a KEK wraps.
//! * Data is bound to its context, a row to its etcd key, a wrapped key to its scope: in another place it does not open.
//! * Nothing that fails to authenticate is returned, and no key is tried in turn: each is found by its id.
//!
//! Out of reach are a reader of this process's memory or of the keyring file, and an old value put back in its own place.
//!
//! The crate reads no clock, needs no async runtime, and opens no file but keyrings; threads live only within a call that seals or
//! opens a snapshot. Secrets are wiped on drop and have no readable `Debug`.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `aws-lc` | AES-GCM and SHA-256 by `aws-lc-rs`: several times faster on long data, needs a C compiler |
//! | `testing` | `kek::conformance`, the suite for backends |
//! | `zstd` | compressed snapshots; needs a C compiler |
#![forbid(unsafe_code)]

mod aead;
pub mod cache;
mod clock;
pub mod deadline;
pub mod derive;
mod digest;
pub mod envelope;
mod error_chain;
pub mod etcd_file;
pub mod evidence;
pub mod kek;
pub mod key_removal;
pub mod key_usage;
pub mod kmsv2;
pub mod local;
mod protobuf;
pub mod providers;
pub mod random;
mod reader;
mod secret;
pub mod snapshot;

pub use clock::Clock;
pub use error_chain::ErrorChain;
pub use kek::{
    Aad, Annotations, KekError, KekErrorKind, KekStatus, KeyEncryptionKey, KeyId, WrappedKey,
};
pub use secret::{Key256, SecretBytes};

/// The example of the README is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
