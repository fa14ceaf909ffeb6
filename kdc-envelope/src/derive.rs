//! Deterministic data keys: algorithm `hkdf-sha512-v1`.
//!
//! Two clusters that share a root key, a replication group id and the seed of a revision reach the same key for that
//! revision without ever sending it. HKDF with HMAC-SHA-512 (RFC 5869):
//!
//! ```text
//! PRK  = HKDF-Extract(salt = SHA-512("hkdf-sha512-v1"), IKM = root key)
//! info = field(algorithm) ‖ field(replication group id) ‖ field(dimension) ‖ field(provider type)
//!        ‖ field(revision as 8 bytes big-endian) ‖ field(seed)
//! key  = HKDF-Expand(PRK, info, 32)
//! field(x) = length of x as 4 bytes big-endian ‖ x
//! ```
//!
//! Every field tells its length, so no two sets of inputs give the same `info`. The check value of a revision, which
//! shows a standby that its root key or group id is another, is the same with the algorithm `hkdf-sha512-v1/check`; it is public.

use hkdf::Hkdf;
use sha2::{Digest, Sha512};

use crate::Key256;

/// The algorithm's name as users write it.
pub const ALGORITHM: &str = "hkdf-sha512-v1";
const CHECK: &str = "hkdf-sha512-v1/check";

/// The longest group id, dimension or provider type, in bytes.
pub const MAX_TEXT_LEN: usize = 253;

/// Length of a check value in bytes.
pub const CHECK_LEN: usize = 32;

/// What a key is derived for, beside root key and seed. Nothing in it is secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Derivation<'a> {
    replication_group_id: &'a str,
    dimension: &'a str,
    provider_type: &'a str,
    revision: u64,
}

/// An input that no key is derived for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDerivation {
    /// A text is empty or too long.
    #[error("{field} has {len} bytes; 1 to {MAX_TEXT_LEN} are allowed")]
    TextLength {
        /// Which text is empty or too long.
        field: &'static str,
        /// Length of the value in bytes.
        len: usize,
    },
    /// Revisions count from 1.
    #[error("revision 0 does not exist; revisions count from 1")]
    Revision,
}

impl<'a> Derivation<'a> {
    /// Checks the inputs. `provider_type` is that of the EncryptionConfiguration, such as `aesgcm`.
    ///
    /// # Errors
    /// [`InvalidDerivation`].
    pub fn new(
        replication_group_id: &'a str,
        dimension: &'a str,
        provider_type: &'a str,
        revision: u64,
    ) -> Result<Self, InvalidDerivation> {
        let texts = [
            ("the replication group id", replication_group_id),
            ("the dimension", dimension),
            ("the provider type", provider_type),
        ];
        for (field, text) in texts {
            let len = text.len();
            if !(1..=MAX_TEXT_LEN).contains(&len) {
                return Err(InvalidDerivation::TextLength { field, len });
            }
        }
        if revision == 0 {
            return Err(InvalidDerivation::Revision);
        }
        Ok(Self {
            replication_group_id,
            dimension,
            provider_type,
            revision,
        })
    }

    /// The data key of this revision.
    #[must_use]
    pub fn key(&self, root: &Key256, seed: &Key256) -> Key256 {
        Key256::new(self.expand(ALGORITHM, root, seed))
    }

    /// The public check value of this revision: equal on two clusters if and only if their keys are.
    #[must_use]
    pub fn check_value(&self, root: &Key256, seed: &Key256) -> [u8; CHECK_LEN] {
        self.expand(CHECK, root, seed)
    }

    fn expand(&self, algorithm: &str, root: &Key256, seed: &Key256) -> [u8; 32] {
        let salt = Sha512::digest(ALGORITHM);
        let revision = self.revision.to_be_bytes();
        let fields: [&[u8]; 6] = [
            algorithm.as_bytes(),
            self.replication_group_id.as_bytes(),
            self.dimension.as_bytes(),
            self.provider_type.as_bytes(),
            &revision,
            seed.expose(),
        ];
        let lengths =
            fields.map(|field| u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
        let mut info: [&[u8]; 12] = [&[]; 12];
        for (pair, (length, field)) in info.chunks_exact_mut(2).zip(lengths.iter().zip(fields)) {
            pair.copy_from_slice(&[length, field]);
        }
        let mut output = [0; 32];
        let expanded =
            Hkdf::<Sha512>::new(Some(&salt), root.expose()).expand_multi_info(&info, &mut output);
        debug_assert!(expanded.is_ok(), "32 bytes are within RFC 5869's limit");
        output
    }
}
