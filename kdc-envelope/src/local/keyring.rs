//! The versions of a local KEK and the steps that lead from one to the next.

use std::collections::BTreeMap;

use super::schedule::{self, KEYRING_ID_LEN};
use crate::random::{self, RandomError};
use crate::{Key256, KeyId};

/// The most living versions to which another may be [added](Keyring::add). A rotation needs two; far more are a program that
/// adds and never retires, and would end in a file that is too large to be read.
pub const MAX_LIVING_VERSIONS: usize = 64;

/// An ordered set of key versions, one of which is current. Holds secrets; wiped when dropped.
#[derive(Debug)]
pub struct Keyring {
    pub(super) id: [u8; KEYRING_ID_LEN],
    pub(super) versions: BTreeMap<u32, Version>,
    pub(super) current: u32,
}

/// One version of a keyring, living or retired.
#[derive(Debug)]
pub struct Version {
    pub(super) created: u64,
    pub(super) key_id: KeyId,
    pub(super) material: Material,
}

#[derive(Debug)]
pub(super) enum Material {
    Live(Key256),
    Retired { at: u64 },
}

/// Where a version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum VersionState {
    /// Unwraps; newer than the current one, or older.
    Readable,
    /// Wraps and unwraps.
    Current,
    /// The key is gone, the number stays.
    Retired {
        /// When, in seconds since 1970-01-01 UTC.
        at: u64,
    },
}

/// A step that would lose data or break the order of versions; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// There is no such version.
    #[error("the keyring has no version {0}")]
    NoSuchVersion(u32),
    /// The key is gone, the number stays.
    #[error("version {0} is retired")]
    Retired(u32),
    /// Promotion only goes forward: a key id that was left must not come back (KEP-3299, "key_id and rotation").
    #[error(
        "version {version} is not newer than the current version {current}; add a new version instead"
    )]
    NotNewer {
        /// The version to promote.
        version: u32,
        /// The current version.
        current: u32,
    },
    /// The current version cannot be retired.
    #[error("version {0} is the current one; promote a newer version before it is retired")]
    Current(u32),
    /// The version has another key id than the one that was meant.
    #[error("the file changed meanwhile: version {0} has another key id now")]
    Replaced(u32),
    /// There are [`MAX_LIVING_VERSIONS`] already.
    #[error(
        "the keyring has {0} living versions; retire those that no row needs before another is added"
    )]
    TooManyLiving(usize),
    /// No version number is left.
    #[error("the keyring has used all its version numbers")]
    Full,
    /// No random bytes could be had.
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl Keyring {
    /// A new keyring with one version, which is current. `now` is in seconds since 1970-01-01 UTC.
    ///
    /// # Errors
    /// [`RandomError`] if no random bytes can be had.
    pub fn generate(now: u64) -> Result<Self, RandomError> {
        let mut keyring = Self {
            id: random::array()?,
            versions: BTreeMap::new(),
            current: 1,
        };
        keyring.insert_live(1, now, Key256::random()?);
        Ok(keyring)
    }

    /// The keyring that a bare root secret stands for: one version, made at an unknown time.
    #[must_use]
    pub fn from_root_secret(root: Key256) -> Self {
        let mut keyring = Self {
            id: schedule::root_secret_keyring(&root),
            versions: BTreeMap::new(),
            current: 1,
        };
        keyring.insert_live(1, 0, root);
        keyring
    }

    /// Adds a readable version and returns its number. It wraps only after [`promote`](Self::promote).
    ///
    /// # Errors
    /// [`EditError::TooManyLiving`], [`EditError::Full`] or [`EditError::Random`].
    pub fn add(&mut self, now: u64) -> Result<u32, EditError> {
        let living = self.living();
        if living >= MAX_LIVING_VERSIONS {
            return Err(EditError::TooManyLiving(living));
        }
        let newest = self.versions.keys().next_back().copied().unwrap_or(0);
        let number = newest.checked_add(1).ok_or(EditError::Full)?;
        self.insert_live(number, now, Key256::random()?);
        Ok(number)
    }

    /// Makes a newer version the one that wraps.
    ///
    /// # Errors
    /// [`EditError::NoSuchVersion`], [`EditError::Retired`], [`EditError::NotNewer`].
    pub fn promote(&mut self, number: u32) -> Result<(), EditError> {
        self.live(number)?;
        if number <= self.current {
            return Err(EditError::NotNewer {
                version: number,
                current: self.current,
            });
        }
        self.current = number;
        Ok(())
    }

    /// Wipes the key of a version. What it wrapped can no longer be opened; its number and id stay known.
    ///
    /// # Errors
    /// [`EditError::NoSuchVersion`], [`EditError::Retired`], [`EditError::Current`].
    pub fn retire(&mut self, number: u32, now: u64) -> Result<(), EditError> {
        self.live(number)?;
        if number == self.current {
            return Err(EditError::Current(number));
        }
        if let Some(version) = self.versions.get_mut(&number) {
            version.material = Material::Retired { at: now };
        }
        Ok(())
    }

    /// The number of the version that wraps.
    #[must_use]
    pub const fn current(&self) -> u32 {
        self.current
    }

    /// All versions, oldest first, with their numbers.
    #[must_use]
    pub fn versions(&self) -> impl DoubleEndedIterator<Item = (u32, &Version)> {
        self.versions
            .iter()
            .map(|(number, version)| (*number, version))
    }

    /// Where version `number` stands; `None` if there is no such version.
    #[must_use]
    pub fn state(&self, number: u32) -> Option<VersionState> {
        match self.versions.get(&number)?.material {
            Material::Retired { at } => Some(VersionState::Retired { at }),
            Material::Live(_) if number == self.current => Some(VersionState::Current),
            Material::Live(_) => Some(VersionState::Readable),
        }
    }

    fn living(&self) -> usize {
        let versions = self.versions.values();
        versions
            .filter(|version| matches!(version.material, Material::Live(_)))
            .count()
    }

    pub(super) fn live(&self, number: u32) -> Result<(&Version, &Key256), EditError> {
        let version = self
            .versions
            .get(&number)
            .ok_or(EditError::NoSuchVersion(number))?;
        match &version.material {
            Material::Live(key) => Ok((version, key)),
            Material::Retired { .. } => Err(EditError::Retired(number)),
        }
    }

    pub(super) fn insert_live(&mut self, number: u32, created: u64, key: Key256) {
        let key_id = schedule::key_id(&key, &self.id, number, created);
        if let Ok(key_id) = KeyId::new(key_id) {
            let material = Material::Live(key);
            self.versions.insert(
                number,
                Version {
                    created,
                    key_id,
                    material,
                },
            );
        }
    }
}

impl Version {
    /// When it was made, in seconds since 1970-01-01 UTC; 0 if unknown.
    #[must_use]
    pub const fn created(&self) -> u64 {
        self.created
    }

    /// The public name of the version.
    #[must_use]
    pub const fn key_id(&self) -> &KeyId {
        &self.key_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_added_then_promoted_then_retired() {
        let mut keyring = Keyring::generate(100).unwrap();
        assert_eq!(keyring.state(1), Some(VersionState::Current));
        assert_eq!(keyring.add(200), Ok(2));
        assert_eq!(keyring.state(2), Some(VersionState::Readable));
        assert_eq!(keyring.current(), 1);
        keyring.promote(2).unwrap();
        assert_eq!(keyring.state(1), Some(VersionState::Readable));
        keyring.retire(1, 300).unwrap();
        assert_eq!(keyring.state(1), Some(VersionState::Retired { at: 300 }));
        assert_eq!(keyring.promote(1), Err(EditError::Retired(1)));
    }

    #[test]
    fn steps_that_would_lose_data_are_refused() {
        let mut keyring = Keyring::generate(0).unwrap();
        assert_eq!(keyring.retire(1, 0), Err(EditError::Current(1)));
        assert_eq!(keyring.promote(7), Err(EditError::NoSuchVersion(7)));
        keyring.add(0).unwrap();
        keyring.promote(2).unwrap();
        let backwards = EditError::NotNewer {
            version: 1,
            current: 2,
        };
        assert_eq!(keyring.promote(1), Err(backwards));
    }

    #[test]
    fn a_retired_number_never_comes_back() {
        let mut keyring = Keyring::generate(0).unwrap();
        keyring.add(0).unwrap();
        keyring.retire(2, 0).unwrap();
        assert_eq!(keyring.add(0), Ok(3));
    }

    #[test]
    fn nothing_is_added_to_too_many_living_versions() {
        let mut keyring = Keyring::generate(0).unwrap();
        for number in 2..=MAX_LIVING_VERSIONS {
            assert_eq!(keyring.add(0).map(usize::try_from), Ok(Ok(number)));
        }
        let full = Err(EditError::TooManyLiving(MAX_LIVING_VERSIONS));
        assert_eq!(keyring.add(0), full);
        assert_eq!(keyring.versions().count(), MAX_LIVING_VERSIONS);
        keyring.retire(2, 0).unwrap();
        assert_eq!(keyring.add(0), Ok(65), "a retired one makes room");
        keyring.promote(65).unwrap();
        assert!(Keyring::parse(&keyring.to_text()).is_ok());
    }

    #[test]
    fn key_ids_differ_between_keyrings_versions_and_root_secrets() {
        let mut first = Keyring::generate(5).unwrap();
        first.add(5).unwrap();
        let second = Keyring::generate(5).unwrap();
        let root = Keyring::from_root_secret(Key256::new([1; 32]));
        let again = Keyring::from_root_secret(Key256::new([1; 32]));
        let id = |keyring: &Keyring, number| keyring.versions[&number].key_id().clone();
        assert_ne!(id(&first, 1), id(&first, 2));
        assert_ne!(id(&first, 1), id(&second, 1));
        assert_ne!(id(&first, 1), id(&root, 1));
        assert_eq!(id(&again, 1), id(&root, 1));
    }
}
