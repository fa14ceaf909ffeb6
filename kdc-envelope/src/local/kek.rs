//! [`LocalKek`]: the trait over a keyring.

use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::keyring::{Keyring, Material, Version};
use super::schedule;
use super::wrapped::{self, Wrapped};
use crate::kek::check_plaintext;
use crate::random::{self, RandomError};
use crate::{Aad, KekError, KekStatus, KeyEncryptionKey, KeyId, SecretBytes, WrappedKey};

/// The most messages that one AES-GCM key of a [`LocalKek`] encrypts: 2^32, the bound of NIST SP 800-38D §8.3 for
/// random nonces, which those of a `LocalKek` equal.
///
/// Every process derives its own key from the version and a random salt, and counts. When the count is reached it
/// draws a new salt, so the bound holds across restarts and replicas, and never stops a caller.
pub const MAX_WRAPS_PER_KEY: u64 = 1 << 32;

/// A key encryption key made of a [`Keyring`]. Wraps and unwraps in about a microsecond, and is always healthy.
#[derive(Debug)]
pub struct LocalKek {
    state: RwLock<Arc<State>>,
    wraps_per_key: u64,
}

/// A keyring that must not take the place of the one in use; that one stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplaceError {
    /// It has another identity.
    #[error("the file holds another keyring than the one in use")]
    AnotherKeyring,
    /// Its current version is older than the one in use.
    #[error("the current version went back from {from} to {to}; versions only go forward")]
    Backwards {
        /// The version in use.
        from: u32,
        /// The one in the new keyring.
        to: u32,
    },
    /// A version has another key than before.
    #[error("version {0} has another key than before")]
    ChangedVersion(u32),
    /// A version is not there at all. One that was retired leaves a line, so this is a copy from before it was added.
    #[error(
        "version {0} is missing: the file is a copy from before it was added, and what version {0} wrote could not be read; \
         bring the newest file"
    )]
    Lost(u32),
    /// No random bytes could be had.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// A keyring with what is derived from it; replaced as a whole.
#[derive(Debug)]
struct State {
    keyring: Arc<Keyring>,
    by_id: Arc<BTreeMap<KeyId, u32>>,
    writer: Writer,
}

/// What wraps: one AES-GCM key under the current version, and how often it may still be used.
#[derive(Debug)]
struct Writer {
    status: KekStatus,
    keys: wrapped::Writer,
    used: AtomicU64,
}

impl LocalKek {
    /// Takes over a keyring.
    ///
    /// # Errors
    /// [`RandomError`] if no random bytes can be had.
    pub fn new(keyring: Keyring) -> Result<Self, RandomError> {
        Self::with_limit(keyring, MAX_WRAPS_PER_KEY)
    }

    fn with_limit(keyring: Keyring, wraps_per_key: u64) -> Result<Self, RandomError> {
        let by_id = keyring
            .versions()
            .map(|(number, version)| (version.key_id().clone(), number))
            .collect();
        let state = State::new(Arc::new(keyring), Arc::new(by_id))?;
        Ok(Self {
            state: RwLock::new(Arc::new(state)),
            wraps_per_key,
        })
    }

    /// Puts a newer state of the same keyring in place of the present one. Calls in flight finish with what they began with.
    ///
    /// # Errors
    /// [`ReplaceError`]; the keyring in use is then unchanged.
    pub fn replace(&self, keyring: Keyring) -> Result<(), ReplaceError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        check_successor(&state.keyring, &keyring)?;
        let next = Self::with_limit(keyring, self.wraps_per_key)?;
        *state = next.snapshot();
        Ok(())
    }

    fn snapshot(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A view whose key may encrypt one more message, and the number of that message.
    fn writable(&self) -> Result<(Arc<State>, u64), RandomError> {
        loop {
            let state = self.snapshot();
            let count = state.writer.used.fetch_add(1, Ordering::Relaxed);
            if count < self.wraps_per_key {
                return Ok((state, count));
            }
            let mut slot = self.state.write().unwrap_or_else(PoisonError::into_inner);
            if Arc::ptr_eq(&slot, &state) {
                let (keyring, by_id) = (Arc::clone(&state.keyring), Arc::clone(&state.by_id));
                *slot = Arc::new(State::new(keyring, by_id)?);
            }
        }
    }
}

fn check_successor(present: &Keyring, next: &Keyring) -> Result<(), ReplaceError> {
    if present.id != next.id {
        return Err(ReplaceError::AnotherKeyring);
    }
    if next.current < present.current {
        return Err(ReplaceError::Backwards {
            from: present.current,
            to: next.current,
        });
    }
    let mut numbers = present.versions.keys();
    if let Some(lost) = numbers.find(|number| !next.versions.contains_key(number)) {
        return Err(ReplaceError::Lost(*lost));
    }
    let changed = next.versions().find(|(number, version)| {
        present
            .versions
            .get(number)
            .is_some_and(|before| before.key_id != version.key_id)
    });
    changed.map_or(Ok(()), |(number, _)| {
        Err(ReplaceError::ChangedVersion(number))
    })
}

impl State {
    fn new(keyring: Arc<Keyring>, by_id: Arc<BTreeMap<KeyId, u32>>) -> Result<Self, RandomError> {
        let salt = random::array()?;
        let number = keyring.current();
        // Parsing and every edit keep the current version alive.
        let (version, key) = keyring.live(number).map_err(|_| RandomError)?;
        let writer = Writer {
            status: KekStatus::new(version.key_id().clone(), number),
            keys: wrapped::Writer::new(version.key_id(), key, salt),
            used: AtomicU64::new(0),
        };
        Ok(Self {
            keyring,
            by_id,
            writer,
        })
    }

    fn version(&self, key_id: &KeyId) -> Option<&Version> {
        self.keyring.versions.get(self.by_id.get(key_id)?)
    }
}

#[async_trait::async_trait]
impl KeyEncryptionKey for LocalKek {
    async fn wrap(&self, plaintext: &[u8], aad: Aad<'_>) -> Result<WrappedKey, KekError> {
        check_plaintext(plaintext)?;
        let (state, count) = self.writable()?;
        let Writer { status, keys, .. } = &state.writer;
        let ciphertext = keys.seal(count, plaintext, aad)?;
        Ok(WrappedKey::new(status.key_id.clone(), ciphertext))
    }

    async fn unwrap(&self, wrapped: &WrappedKey, aad: Aad<'_>) -> Result<SecretBytes, KekError> {
        let state = self.snapshot();
        let key_id = &wrapped.key_id;
        let version = state
            .version(key_id)
            .ok_or_else(|| KekError::UnknownKey(key_id.clone()))?;
        let Material::Live(key) = &version.material else {
            return Err(KekError::RetiredKey(key_id.clone()));
        };
        if !wrapped.annotations.is_empty() {
            return Err(KekError::Malformed {
                field: "annotations, of which a local key has none",
                offset: 0,
            });
        }
        let parsed = Wrapped::parse(&wrapped.ciphertext)?;
        // Most of what this process opens it wrapped itself, and needs no new derivation.
        let Writer { status, keys, .. } = &state.writer;
        let own = keys.key_for(parsed.salt());
        if let Some(own) = own.filter(|_| status.key_id == *key_id) {
            return parsed.open(key_id, own, aad);
        }
        parsed.open(key_id, &schedule::wrapping_key(key, parsed.salt()), aad)
    }

    fn status(&self) -> Result<KekStatus, KekError> {
        Ok(self.snapshot().writer.status.clone())
    }
}

#[cfg(test)]
mod tests;
