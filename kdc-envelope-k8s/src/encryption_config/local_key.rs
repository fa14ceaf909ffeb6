//! Keys that stand in the file itself.

use core::fmt;
use core::hash::{Hash, Hasher};
use core::ops::Deref;
use std::sync::Arc;

use kdc_envelope::SecretBytes;
use kdc_envelope::providers::{InvalidKey, KeyName, aescbc, aesgcm, secretbox};

/// A provider whose keys stand in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LocalProvider {
    /// AES-GCM.
    Aesgcm,
    /// AES-CBC, unauthenticated.
    Aescbc,
    /// XSalsa20-Poly1305.
    Secretbox,
}

impl LocalProvider {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Aesgcm, Self::Aescbc, Self::Secretbox];

    /// The field that configures it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aesgcm => "aesgcm",
            Self::Aescbc => "aescbc",
            Self::Secretbox => "secretbox",
        }
    }

    /// The provider that the file calls `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|provider| provider.as_str() == name)
    }
}

impl fmt::Display for LocalProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A key in a configuration: prepared for use, beside the secret that it was made of.
pub struct ConfiguredKey<K> {
    cipher: K,
    secret: Arc<SecretBytes>,
}

impl<K> ConfiguredKey<K> {
    pub(super) const fn new(cipher: K, secret: Arc<SecretBytes>) -> Self {
        Self { cipher, secret }
    }

    pub(super) const fn secret(&self) -> &Arc<SecretBytes> {
        &self.secret
    }
}

impl<K> Deref for ConfiguredKey<K> {
    type Target = K;

    fn deref(&self) -> &K {
        &self.cipher
    }
}

impl<K: fmt::Debug> fmt::Debug for ConfiguredKey<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cipher.fmt(f)
    }
}

/// A key of a local provider, as something to put into a configuration. Copies share one secret, which is wiped with the
/// last of them.
///
/// Two are equal if provider, name and secret are; [`Debug`](fmt::Debug) and [`Hash`] know nothing of the secret.
#[derive(Clone)]
pub struct LocalKey {
    provider: LocalProvider,
    name: KeyName,
    secret: Arc<SecretBytes>,
}

impl LocalKey {
    /// A key that kube-apiserver takes.
    ///
    /// # Errors
    /// [`InvalidKey`] if the provider takes no key of this length.
    pub fn new(
        provider: LocalProvider,
        name: KeyName,
        secret: SecretBytes,
    ) -> Result<Self, InvalidKey> {
        match provider {
            LocalProvider::Aesgcm => aesgcm::Key::new(name.clone(), &secret).map(drop)?,
            LocalProvider::Aescbc => aescbc::Key::new(name.clone(), &secret).map(drop)?,
            LocalProvider::Secretbox => secretbox::Key::new(name.clone(), &secret).map(drop)?,
        }
        Ok(Self::checked(provider, name, Arc::new(secret)))
    }

    pub(super) const fn checked(
        provider: LocalProvider,
        name: KeyName,
        secret: Arc<SecretBytes>,
    ) -> Self {
        Self {
            provider,
            name,
            secret,
        }
    }

    /// Whose key it is.
    #[must_use]
    pub const fn provider(&self) -> LocalProvider {
        self.provider
    }

    /// The name that rows carry.
    #[must_use]
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// The key itself. Copies made from it are the caller's to wipe.
    #[must_use]
    pub fn secret(&self) -> &SecretBytes {
        &self.secret
    }
}

impl PartialEq for LocalKey {
    fn eq(&self, other: &Self) -> bool {
        // Both sides are ours, so no attacker can time the comparison.
        self.provider == other.provider
            && self.name == other.name
            && (Arc::ptr_eq(&self.secret, &other.secret)
                || self.secret.expose() == other.secret.expose())
    }
}

impl Eq for LocalKey {}

impl Hash for LocalKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.provider.hash(state);
        self.name.hash(state);
    }
}

impl fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalKey({self})")
    }
}

impl fmt::Display for LocalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} key `{}`", self.provider, self.name)
    }
}
