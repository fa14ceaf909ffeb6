//! What kube-apiserver stores in etcd when it encrypts with a key of its own configuration, or not at all.
//!
//! | provider | prefix | body | associated data | key bytes |
//! |---|---|---|---|---|
//! | [`aesgcm`] | `k8s:enc:aesgcm:v1:<key>:` | nonce(12) ‖ ciphertext ‖ tag(16) | etcd key | 16, 24, 32 |
//! | [`aescbc`] | `k8s:enc:aescbc:v1:<key>:` | IV(16) ‖ AES-CBC of PKCS#7 padded data | none: **unauthenticated** | 16, 24, 32 |
//! | [`secretbox`] | `k8s:enc:secretbox:v1:<key>:` | nonce(24) ‖ tag(16) ‖ ciphertext | none | 32 |
//! | [`identity`] | none | the object itself | – | – |
//! | [`kmsv1`] | `k8s:enc:kms:v1:<provider>:` | length(2) ‖ wrapped DEK ‖ body of aesgcm, in old rows of aescbc | as the body | – |
//!
//! Sources: `k8s.io/apiserver`, `pkg/storage/value/encrypt/{aes,secretbox,identity,envelope}` and
//! `pkg/server/options/encryptionconfig`. KMS v2 has a module of its own, [`kmsv2`](crate::kmsv2).
//!
//! Names of keys and of KMS v1 providers may contain `:`. Who knows the configuration compares whole prefixes, as the
//! keys here do. [`classify`] does not know it, and can only take the first split that leaves a possible body.

pub mod aescbc;
pub mod aesgcm;
mod classify;
mod error;
pub mod identity;
pub mod kmsv1;
mod name;
pub mod secretbox;

pub use classify::{LocalValue, PlainFormat, StoredValue, classify};
pub use error::{InvalidKey, OpenError, SealError};
pub use name::KeyName;

/// What every encrypted value begins with. The identity provider neither reads nor may store such bytes.
pub const RESERVED_PREFIX: &[u8] = b"k8s:enc:";
