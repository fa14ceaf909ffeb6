//! A Transit key as OpenBao shows it, and the names that its versions have outside.

use core::fmt;
use core::str::FromStr;
use std::collections::BTreeMap;
use std::sync::Arc;

use kdc_envelope::KeyId;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};

use crate::client::{Namespace, Response};
use crate::error::BaoError;

/// Mount and name of a Transit key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TransitKeyName {
    mount: Arc<str>,
    name: Arc<str>,
}

/// A mount or a name that OpenBao does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKeyName {
    /// The mount.
    #[error(
        "`{0}` is not the path of a mount: letters, digits, `-`, `_`, `.` and `/` between them, at most 512"
    )]
    Mount(String),
    /// The key.
    #[error(
        "`{0}` is not the name of a Transit key: letters, digits, `_`, and between them `-` and `.`, at most 255"
    )]
    Name(String),
}

impl TransitKeyName {
    /// The key `name` of the Transit engine at `mount`, such as `transit`.
    ///
    /// # Errors
    /// [`InvalidKeyName`]
    pub fn new(mount: &str, name: &str) -> Result<Self, InvalidKeyName> {
        let mount = check_mount(mount)?;
        let is_word =
            |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
        let bytes = name.as_bytes();
        if !is_segment(name) || !is_word(bytes.first()) || !is_word(bytes.last()) {
            return Err(InvalidKeyName::Name(shortened(name)));
        }
        Ok(Self {
            mount: mount.into(),
            name: name.into(),
        })
    }

    /// The mount, without slashes around it.
    #[must_use]
    pub fn mount(&self) -> &str {
        &self.mount
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Mount and name, as messages show them.
    pub(crate) fn shown(&self) -> Arc<str> {
        self.to_string().into()
    }

    /// The path of an operation on it, such as `transit/encrypt/NAME`.
    pub(crate) fn path(&self, operation: &str) -> Arc<str> {
        format!("{}/{operation}/{}", self.mount, self.name).into()
    }
}

impl fmt::Display for TransitKeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.mount, self.name)
    }
}

/// The path of a mount without slashes at its end, if it is one.
pub(crate) fn check_mount(path: &str) -> Result<&str, InvalidKeyName> {
    let path = path.trim_end_matches('/');
    if path.len() <= MAX_PATH_LEN && path.split('/').all(is_segment) {
        return Ok(path);
    }
    Err(InvalidKeyName::Mount(shortened(path)))
}

/// The longest name that is taken, in bytes. OpenBao sets no limit of its own; what lies behind it and before it does.
pub(crate) const MAX_NAME_LEN: usize = 255;
/// The longest path of several names that is taken, in bytes.
pub(crate) const MAX_PATH_LEN: usize = 512;
/// So much of a text that is no name is repeated, in characters.
const MAX_SHOWN: usize = 80;

/// What a message repeats of a text that is refused.
pub(crate) fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown.escape_debug().to_string()
}

/// One name of a path that OpenBao takes as it is.
pub(crate) fn is_segment(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
        && segment.len() <= MAX_NAME_LEN
        && segment
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// What OpenBao tells about a key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct TransitKey {
    /// The cipher, such as `aes256-gcm96`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The newest version.
    pub latest_version: u32,
    /// When each version that still decrypts was made, in seconds since 1970.
    #[serde(rename = "keys", default, deserialize_with = "creation_times")]
    pub versions: BTreeMap<u32, u64>,
    /// Older versions do not decrypt.
    #[serde(default)]
    pub min_decryption_version: u32,
    /// Older versions do not encrypt; 0 allows all.
    #[serde(default)]
    pub min_encryption_version: u32,
    /// Older versions are gone for good.
    #[serde(default)]
    pub min_available_version: u32,
    /// Whether every use derives a key from a context.
    #[serde(default)]
    pub derived: bool,
    /// Whether the key may leave OpenBao.
    #[serde(default)]
    pub exportable: bool,
    /// Whether the key may leave OpenBao as a backup.
    #[serde(default)]
    pub allow_plaintext_backup: bool,
    /// Whether the key may be deleted.
    #[serde(default)]
    pub deletion_allowed: bool,
    /// Whether the key was deleted and may be restored (OpenBao).
    #[serde(default)]
    pub soft_deleted: bool,
    /// Seconds after which OpenBao itself makes a new version; 0 for never.
    #[serde(default)]
    pub auto_rotate_period: u64,
}

/// Symmetric keys have a time for each version. Others, which we refuse later, have objects or nothing at all.
fn creation_times<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<u32, u64>, D::Error> {
    deserializer.deserialize_any(CreationTimes)
}

/// Takes versions as they come: a key can have so many that all at once, as text, would take most of the memory of a plugin.
struct CreationTimes;

#[derive(Deserialize)]
#[serde(untagged)]
enum CreationTime {
    Seconds(u64),
    Other(IgnoredAny),
}

impl<'de> Visitor<'de> for CreationTimes {
    type Value = BTreeMap<u32, u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of versions")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut all = BTreeMap::new();
        while let Some((version, time)) = entries.next_entry::<String, CreationTime>()? {
            if let (Ok(version), CreationTime::Seconds(time)) = (version.parse(), time) {
                all.insert(version, time);
            }
        }
        Ok(all)
    }
}

/// No key has more versions: one for each minute of two years.
const MAX_VERSION: u32 = 1_000_000;

/// The first second of the year 10000: no version is made then or later.
const END_OF_TIME: u64 = 253_402_300_800;

/// The ciphers that authenticate associated data.
const AEAD_KINDS: [&str; 4] = [
    "aes256-gcm96",
    "aes128-gcm96",
    "chacha20-poly1305",
    "xchacha20-poly1305",
];

impl TransitKey {
    /// The key in the answer to reading it.
    ///
    /// # Errors
    /// [`BaoError::Unintelligible`] also for a version or a time that no key has: once believed, it would keep the true ones from being used.
    pub(crate) fn from_answer(answer: &Response) -> Result<Self, BaoError> {
        let key: Self = answer.data()?;
        let is_beyond = |version: &u32| *version > key.latest_version;
        let fault = if key.latest_version > MAX_VERSION {
            "a key with over a million versions"
        } else if key
            .versions
            .last_key_value()
            .is_some_and(|(last, _)| is_beyond(last))
        {
            "a key with a version above its newest"
        } else if key.versions.values().any(|made| *made >= END_OF_TIME) {
            "a key with a version made after the year 9999"
        } else {
            return Ok(key);
        };
        Err(answer.strange(fault))
    }

    /// Refuses a key that cannot wrap, or would do so unsafely.
    ///
    /// # Errors
    /// [`BaoError::Profile`] for a cipher without associated data, a derived key, a deleted key, and no usable version.
    pub fn check(&self, name: &TransitKeyName) -> Result<(), BaoError> {
        let refuse = |reason: String| {
            Err(BaoError::Profile {
                key: name.shown(),
                reason,
            })
        };
        if !AEAD_KINDS.contains(&self.kind.as_str()) {
            let kind = self.kind.escape_debug();
            return refuse(format!(
                "its type is `{kind}`, which authenticates no associated data; make one of type aes256-gcm96"
            ));
        }
        if self.derived {
            return refuse(
                "it is derived, which binds nothing without a context; make one with derived=false"
                    .to_owned(),
            );
        }
        if self.soft_deleted {
            return refuse("it is deleted; restore it with soft-delete-restore".to_owned());
        }
        if self.latest_version == 0 || !self.versions.contains_key(&self.latest_version) {
            return refuse("it shows no version".to_owned());
        }
        Ok(())
    }

    /// What is allowed and yet unwise, each with its cure.
    #[must_use]
    pub fn warnings(&self) -> Vec<&'static str> {
        let all = [
            (
                self.exportable,
                "it is exportable: the key can leave OpenBao, and this cannot be undone; make another key",
            ),
            (
                self.allow_plaintext_backup,
                "it allows plaintext backups: the key can leave OpenBao, and this cannot be undone; make another key",
            ),
            (
                self.deletion_allowed,
                "it may be deleted, and with it all that it encrypts; set deletion_allowed=false",
            ),
            (
                self.kind == "aes128-gcm96",
                "it has 128 bits; aes256-gcm96 is what Kubernetes uses itself",
            ),
        ];
        all.into_iter()
            .filter_map(|(applies, text)| applies.then_some(text))
            .collect()
    }
}

/// Where a key lives and what it is called: the same for all replicas and all addresses of OpenBao.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyIdentity {
    pub(crate) namespace: Option<Namespace>,
    pub(crate) key: TransitKeyName,
}

/// What own key ids begin with.
const OWN_PREFIX: &str = "bao-v";
const FINGERPRINT_LEN: usize = 12;

impl KeyIdentity {
    /// Whether `key_id` is that of the version which was made at `created`.
    pub(crate) fn is_id_of(&self, key_id: &KeyId, version: u32, created: u64) -> bool {
        let is_own = |identity: &Self| identity.key_id(version, created).as_ref() == Some(key_id);
        // The root namespace could once be named, which made other ids of the same key.
        is_own(self)
            || (self.namespace.is_none()
                && is_own(&Self {
                    namespace: Some(Namespace::named_root()),
                    key: self.key.clone(),
                }))
    }

    /// The key id of a version: `bao-vN-` and 24 hexadecimal digits.
    ///
    /// The digits are the first 12 bytes of SHA-256 over namespace, mount, name, version and creation time of the version, each
    /// with its length in front. A key that is deleted and made again has other creation times, and so other ids.
    pub(crate) fn key_id(&self, version: u32, created: u64) -> Option<KeyId> {
        let mut hash = Sha256::new();
        let namespace = self.namespace.as_ref().map_or("", Namespace::as_str);
        let parts: [&[u8]; 6] = [
            b"kdc-envelope transit key id v1",
            namespace.as_bytes(),
            self.key.mount().as_bytes(),
            self.key.name().as_bytes(),
            &version.to_be_bytes(),
            &created.to_be_bytes(),
        ];
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest = hash.finalize();
        let fingerprint = digest.get(..FINGERPRINT_LEN)?;
        KeyId::new(format!(
            "{OWN_PREFIX}{version}-{}",
            hex::encode(fingerprint)
        ))
        .ok()
    }
}

/// The version in a key id of ours, whichever key it names.
pub(crate) fn own_version(key_id: &KeyId) -> Option<u32> {
    let (version, fingerprint) = key_id.as_str().strip_prefix(OWN_PREFIX)?.split_once('-')?;
    let is_fingerprint = fingerprint.len() == 2 * FINGERPRINT_LEN
        && fingerprint
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_number = matches!(version.bytes().next(), Some(b'1'..=b'9'));
    (is_fingerprint && is_number)
        .then(|| u32::from_str(version).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(namespace: Option<&str>, mount: &str, name: &str) -> KeyIdentity {
        KeyIdentity {
            namespace: namespace.map(|text| text.parse().unwrap()),
            key: TransitKeyName::new(mount, name).unwrap(),
        }
    }

    #[test]
    fn key_ids_name_the_version_and_depend_on_all_that_identifies_it() {
        let base = identity(None, "transit", "k");
        let id = base.key_id(3, 1_795_315_719).unwrap();
        assert_eq!(id, base.key_id(3, 1_795_315_719).unwrap());
        assert!(id.as_str().len() <= KeyId::MAX_OWN_LEN);
        assert_eq!(own_version(&id), Some(3));
        let others = [
            base.key_id(4, 1_795_315_719),
            base.key_id(3, 1_795_315_720),
            identity(Some("a"), "transit", "k").key_id(3, 1_795_315_719),
            identity(None, "transit2", "k").key_id(3, 1_795_315_719),
            identity(None, "transit", "k2").key_id(3, 1_795_315_719),
        ];
        for other in others {
            assert_ne!(id, other.unwrap());
        }
    }

    /// Computed with Python's hashlib from the description of [`KeyIdentity::key_id`].
    #[test]
    fn key_ids_never_change() {
        let id = identity(Some("org"), "transit", "etcd").key_id(7, 1_700_000_000);
        assert_eq!(id.unwrap().as_str(), "bao-v7-c6712a4842431ebbb880e933");
    }

    #[test]
    fn ids_of_the_root_namespace_are_known_by_its_name_too() {
        let named = KeyIdentity {
            namespace: Some(Namespace::named_root()),
            ..identity(None, "transit", "k")
        };
        let former = named.key_id(2, 1_700_000_000).unwrap();
        let root = identity(None, "transit", "k");
        assert_ne!(root.key_id(2, 1_700_000_000).unwrap(), former);
        assert!(root.is_id_of(&former, 2, 1_700_000_000));
        assert!(!root.is_id_of(&former, 2, 1_700_000_001));
        assert!(!identity(Some("org"), "transit", "k").is_id_of(&former, 2, 1_700_000_000));
    }

    #[test]
    fn a_key_of_another_kind_is_told_by_its_kind() {
        let name = TransitKeyName::new("transit", "k").unwrap();
        // As OpenBao 2.6 and 2.7 show it, without versions.
        let hmac = serde_json::json!({"type": "hmac", "key_size": 32, "latest_version": 1});
        let hmac: TransitKey = serde_json::from_value(hmac).unwrap();
        let message = hmac.check(&name).unwrap_err().to_string();
        assert!(message.contains("its type is `hmac`"), "{message}");
    }

    #[test]
    fn only_ids_of_our_form_have_a_version() {
        for text in [
            "bao-v0-0123456789abcdef01234567",
            "bao-v01-0123456789abcdef01234567",
            "bao-v1-0123456789ABCDEF01234567",
            "bao-v1-0123",
            "bao-v1",
            "3",
            "local-v1-0123456789abcdef01234567",
        ] {
            assert_eq!(own_version(&KeyId::new(text).unwrap()), None, "{text}");
        }
    }

    #[test]
    fn names_are_those_that_transit_takes() {
        for (mount, name) in [
            ("transit", "a"),
            ("a/b", "org-project_x.y"),
            ("transit/", "9"),
            (&["abc"; 128].join("/"), &"a".repeat(255)),
        ] {
            assert!(TransitKeyName::new(mount, name).is_ok(), "{mount} {name}");
        }
        for (mount, name) in [
            ("", "a"),
            ("/", "a"),
            ("a//b", "a"),
            ("..", "a"),
            ("transit", ""),
            ("transit", "-a"),
            ("transit", "a-"),
            ("transit", "a/b"),
            ("transit", "ü"),
            ("transit", "a b"),
            ("transit", &"a".repeat(256)),
            (&"a".repeat(256), "a"),
            (&["abc"; 130].join("/"), "a"),
        ] {
            assert!(TransitKeyName::new(mount, name).is_err(), "{mount} {name}");
        }
    }

    #[test]
    fn unfit_keys_are_refused_and_unwise_ones_named() {
        let name = TransitKeyName::new("transit", "k").unwrap();
        let good =
            serde_json::json!({"type": "aes256-gcm96", "latest_version": 1, "keys": {"1": 5}});
        let with = |field: &str, value: serde_json::Value| {
            let mut key = good.clone();
            key[field] = value;
            serde_json::from_value::<TransitKey>(key).unwrap()
        };
        assert!(with("derived", false.into()).check(&name).is_ok());
        for (field, value) in [
            ("type", "rsa-2048".into()),
            ("type", "hmac".into()),
            ("derived", true.into()),
            ("soft_deleted", true.into()),
            ("latest_version", 2.into()),
            ("keys", serde_json::json!({"1": {"name": "P-256"}})),
            ("keys", serde_json::Value::Null),
        ] {
            assert!(with(field, value).check(&name).is_err(), "{field}");
        }
        assert!(with("derived", false.into()).warnings().is_empty());
        for field in ["exportable", "allow_plaintext_backup", "deletion_allowed"] {
            assert_eq!(with(field, true.into()).warnings().len(), 1, "{field}");
        }
    }
}
