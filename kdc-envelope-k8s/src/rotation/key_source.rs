//! Where the secrets of new local keys come from.
//!
//! A cluster by itself takes random ones. Two clusters of which one takes over when the other is lost derive them, so that both
//! reach the same key without ever sending it.

use core::fmt;

use kdc_envelope::derive::{Derivation, InvalidDerivation};
use kdc_envelope::providers::{InvalidKey, KeyName};
use kdc_envelope::random::RandomError;
use kdc_envelope::{Key256, SecretBytes};

use crate::encryption_config::{LocalKey, LocalProvider};

/// Makes local keys. Each has 32 bytes, which every local provider takes.
pub trait KeySource: Send + Sync {
    /// The key of `revision` for `provider`, with its name. Revisions count up and are never used again.
    ///
    /// # Errors
    /// [`KeySourceError`]; there is no key then, and another source is no substitute.
    fn key(&self, provider: LocalProvider, revision: u64) -> Result<LocalKey, KeySourceError>;
}

/// There is no key for a revision.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeySourceError {
    /// The kernel has no random bytes.
    #[error("no random bytes for a key")]
    Random(#[from] RandomError),
    /// No seed exists for this revision.
    #[error("there is no seed for revision {0}")]
    NoSeed(u64),
    /// The inputs are not those of a derivation.
    #[error("no key can be derived")]
    Derivation(#[from] InvalidDerivation),
    /// The provider does not take the key.
    #[error(transparent)]
    Key(#[from] InvalidKey),
}

/// Random keys, called `key1`, `key2` and so on.
#[derive(Debug, Clone, Copy, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "it has no state, and callers name it"
)]
pub struct RandomKeys;

impl KeySource for RandomKeys {
    fn key(&self, provider: LocalProvider, revision: u64) -> Result<LocalKey, KeySourceError> {
        let name = KeyName::new(format!("key{revision}"))?;
        local_key(provider, name, &Key256::random()?)
    }
}

/// The public seeds from which keys are derived, by revision.
pub trait Seeds: Send + Sync {
    /// The seed of `revision`, if there is one.
    fn seed(&self, revision: u64) -> Option<Key256>;
}

/// Keys derived by `hkdf-sha512-v1` ([`kdc_envelope::derive`]), called `key<revision>-<8 hex digits>`. The digits begin the check
/// value of the revision, so keys of another root key or group have other names.
pub struct DerivedKeys<S> {
    /// The root key that the clusters of the group share.
    root: Key256,
    replication_group_id: Box<str>,
    dimension: Box<str>,
    seeds: S,
}

impl<S> DerivedKeys<S> {
    /// Keys of the group `replication_group_id`.
    #[must_use]
    pub const fn new(
        root: Key256,
        replication_group_id: Box<str>,
        dimension: Box<str>,
        seeds: S,
    ) -> Self {
        Self {
            root,
            replication_group_id,
            dimension,
            seeds,
        }
    }
}

impl<S: Seeds> KeySource for DerivedKeys<S> {
    fn key(&self, provider: LocalProvider, revision: u64) -> Result<LocalKey, KeySourceError> {
        let derivation = Derivation::new(
            &self.replication_group_id,
            &self.dimension,
            provider.as_str(),
            revision,
        )?;
        let seed = self.seeds.seed(revision);
        let seed = seed.ok_or(KeySourceError::NoSeed(revision))?;
        let check = derivation.check_value(&self.root, &seed);
        let digits = check.iter().take(4).map(|byte| format!("{byte:02x}"));
        let name = KeyName::new(format!("key{revision}-{}", digits.collect::<String>()))?;
        local_key(provider, name, &derivation.key(&self.root, &seed))
    }
}

/// Shows no key.
impl<S> fmt::Debug for DerivedKeys<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DerivedKeys")
            .field("replication_group_id", &self.replication_group_id)
            .field("dimension", &self.dimension)
            .finish_non_exhaustive()
    }
}

fn local_key(
    provider: LocalProvider,
    name: KeyName,
    key: &Key256,
) -> Result<LocalKey, KeySourceError> {
    let secret = SecretBytes::new(key.expose().to_vec());
    Ok(LocalKey::new(provider, name, secret)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Upto(u64);

    impl Seeds for Upto {
        fn seed(&self, revision: u64) -> Option<Key256> {
            (revision <= self.0).then(|| Key256::new([9; 32]))
        }
    }

    fn derived(root: u8, group: &str) -> DerivedKeys<Upto> {
        DerivedKeys::new(
            Key256::new([root; 32]),
            group.into(),
            "default".into(),
            Upto(2),
        )
    }

    #[test]
    fn two_clusters_with_one_root_key_derive_the_same_keys_and_others_other_names() {
        let key = |keys: DerivedKeys<Upto>, revision| keys.key(LocalProvider::Aesgcm, revision);
        let first = key(derived(1, "pair"), 1).unwrap();
        assert_eq!(first, key(derived(1, "pair"), 1).unwrap());
        assert!(first.name().as_str().starts_with("key1-"), "{first}");
        let name = |key: &LocalKey| key.name().as_str().to_owned();
        for other in [derived(2, "pair"), derived(1, "other")] {
            let other = key(other, 1).unwrap();
            assert_ne!(name(&other), name(&first));
        }
        assert_ne!(
            key(derived(1, "pair"), 2).unwrap().secret().expose(),
            first.secret().expose()
        );
        let error = key(derived(1, "pair"), 3).unwrap_err();
        assert!(matches!(error, KeySourceError::NoSeed(3)), "{error}");
        assert!(!format!("{:?}", derived(1, "pair")).contains("root"));
    }

    #[test]
    fn random_keys_are_named_by_their_revision_and_never_the_same() {
        let key = || RandomKeys.key(LocalProvider::Secretbox, 7).unwrap();
        assert_eq!(key().name().as_str(), "key7");
        assert_ne!(key().secret().expose(), key().secret().expose());
    }
}
