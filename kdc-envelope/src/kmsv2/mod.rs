//! What kube-apiserver stores in etcd when a KMS v2 plugin protects a resource.
//!
//! ```text
//! k8s:enc:kms:v2:<provider>:<EncryptedObject as protobuf>
//! ```
//!
//! kube-apiserver makes a random *seed* per process and key id, lets the plugin wrap it once, and derives a
//! fresh AES-256-GCM key from it for every row. This module reads and writes those rows byte for byte as
//! kube-apiserver 1.29 and later do, with the limits of `k8s.io/apiserver` (`pkg/storage/value/encrypt/envelope/kmsv2` and
//! `pkg/storage/value/encrypt/aes`):
//!
//! | `encryptedDEKSourceType` | key | `encryptedData` |
//! |---|---|---|
//! | 1, written since 1.29 | HKDF-Expand-SHA256(seed, info), 32 bytes | info(32) ‖ nonce(12) ‖ ciphertext ‖ tag(16) |
//! | 0, written by 1.27 and 1.28 | the unwrapped key itself | nonce(12) ‖ ciphertext ‖ tag(16) |
//!
//! The associated data of both is the complete etcd key, so a row that is moved to another key does not open.

mod error;
mod object;
mod open;
mod seal;
mod value;
mod wire;

pub use error::{InvalidObject, OpenError, ParseError, SealError};
pub use object::{DekSourceType, EncryptedObject};
pub use open::{DekSource, Seed};
pub use seal::{LegacyKey, LegacyRowSealer, RowSealer};
pub use value::{ProviderName, Value};

/// What every KMS v2 row begins with (`k8s.io/apiserver/pkg/server/options/encryptionconfig`).
pub const PREFIX: &[u8] = b"k8s:enc:kms:v2:";

/// Length of a seed in bytes as kube-apiserver makes it.
pub const SEED_LEN: usize = 32;

/// The associated data under which a plugin wraps the seeds of a cluster: keeps them apart from other wrapped
/// keys of the same KEK, and from those of other clusters. `cluster` may be empty.
#[must_use]
pub fn seed_aad(cluster: &str) -> Vec<u8> {
    [b"kdc-envelope kms-v2 seed\0", cluster.as_bytes()].concat()
}
