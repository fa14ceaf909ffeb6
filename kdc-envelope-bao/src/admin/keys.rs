//! Transit keys: that they are there with the properties which keep them safe, and what may change about them.

use core::time::Duration;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use super::change::differing;
use super::error::may_have_happened;
use super::{Admin, AdminError, Change, MountPath};
use crate::client::{Method, Operation, Request, Response};
use crate::error::BaoError;
use crate::transit::{TransitKey, TransitKeyName};

/// The cipher of a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyKind {
    /// AES-256 in Galois/Counter Mode: that of Kubernetes' own providers.
    #[default]
    Aes256Gcm96,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305,
}

impl KeyKind {
    /// As OpenBao calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aes256Gcm96 => "aes256-gcm96",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }
}

/// The Transit keys of a namespace; from [`Admin::keys`].
///
/// Changes of one key through clones of one [`Admin`] wait for each other. Between processes the operator must see to it that only one changes a
/// key at a time. Dropping the future of a change leaves it open whether it happened.
#[derive(Debug, Clone, Copy)]
pub struct TransitKeys<'a> {
    pub(super) admin: &'a Admin,
}

/// What can be changed about a key. `None` leaves it as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeyConfig {
    /// Older versions do not decrypt. Raising it makes unreadable what they wrapped, and nothing here looks whether there is any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_decryption_version: Option<u32>,
    /// Older versions do not encrypt; 0 allows all. Otherwise not below `min_decryption_version`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_encryption_version: Option<u32>,
    /// Whether the key may be deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_allowed: Option<bool>,
    /// How often OpenBao rotates the key by itself: zero for never, otherwise at least an hour, in whole seconds.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    pub auto_rotate_period: Option<Duration>,
}

fn seconds<S: Serializer>(period: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    period.map(|period| period.as_secs()).serialize(serializer)
}

impl KeyConfig {
    /// Neither deleted nor rotated but on demand.
    #[must_use]
    pub fn safe() -> Self {
        Self {
            deletion_allowed: Some(false),
            auto_rotate_period: Some(Duration::ZERO),
            ..Self::default()
        }
    }

    /// The part of this that `key` does not have.
    fn lacking(&self, key: &TransitKey) -> Self {
        // OpenBao makes 1 of 0.
        let min_decryption_version = self.min_decryption_version.map(|version| version.max(1));
        let period = Duration::from_secs(key.auto_rotate_period);
        Self {
            min_decryption_version: min_decryption_version
                .filter(|version| *version != key.min_decryption_version),
            min_encryption_version: self
                .min_encryption_version
                .filter(|version| *version != key.min_encryption_version),
            deletion_allowed: self
                .deletion_allowed
                .filter(|allowed| *allowed != key.deletion_allowed),
            auto_rotate_period: self
                .auto_rotate_period
                .filter(|wanted| wanted.as_secs() != period.as_secs()),
        }
    }

    fn fields(&self) -> Vec<&'static str> {
        differing([
            (
                "min_decryption_version",
                self.min_decryption_version.is_none(),
            ),
            (
                "min_encryption_version",
                self.min_encryption_version.is_none(),
            ),
            ("deletion_allowed", self.deletion_allowed.is_none()),
            ("auto_rotate_period", self.auto_rotate_period.is_none()),
        ])
    }
}

#[derive(Serialize)]
struct NewKey {
    #[serde(rename = "type")]
    kind: &'static str,
    derived: bool,
    exportable: bool,
    allow_plaintext_backup: bool,
}

impl<'a> TransitKeys<'a> {
    pub(super) const fn new(admin: &'a Admin) -> Self {
        Self { admin }
    }

    /// Makes the key unless it is there, and gives it `config`: AES-256-GCM, not derived, and never to leave OpenBao, neither exported nor
    /// as a plaintext backup.
    ///
    /// # Errors
    /// [`AdminError::KeyMismatch`] if the key is there with other properties, which OpenBao would not say; [`BaoError::Profile`] if it is
    /// deleted; otherwise as [`Self::ensure_config`].
    pub async fn ensure(
        self,
        name: &TransitKeyName,
        config: &KeyConfig,
    ) -> Result<(Change, TransitKey), AdminError> {
        self.ensure_of_kind(name, KeyKind::default(), config).await
    }

    /// As [`Self::ensure`], with another cipher.
    ///
    /// # Errors
    /// As [`Self::ensure`].
    pub async fn ensure_of_kind(
        self,
        name: &TransitKeyName,
        kind: KeyKind,
        config: &KeyConfig,
    ) -> Result<(Change, TransitKey), AdminError> {
        let path = name.path("keys");
        let wanted = NewKey::of_kind(kind);
        let found = self.read(name).await?;
        let is_new = found.is_none();
        let key = match found {
            Some(key) => key,
            None => {
                let made = self.admin.write(&path, &wanted).await?;
                let made = TransitKey::from_answer(&made)?;
                check(name, &made, &wanted)?;
                self.admin.observe_until(&path, |_| true).await?
            }
        };
        check(name, &key, &wanted)?;
        let (change, key) = if config.lacking(&key).fields().is_empty() {
            (Change::Unchanged, key)
        } else {
            self.ensure_config(name, config).await?
        };
        Ok((if is_new { Change::Created } else { change }, key))
    }

    /// Gives an existing key `config`, as far as it has not that already.
    ///
    /// # Errors
    /// [`AdminError::Unstored`] if it is not known whether it was stored; [`AdminError::Bao`]: `NotFound` if there is no such key,
    /// `Rejected` for versions that there are not.
    pub async fn ensure_config(
        self,
        name: &TransitKeyName,
        config: &KeyConfig,
    ) -> Result<(Change, TransitKey), AdminError> {
        let work = async {
            let key = self.existing(name).await?;
            let lacking = config.lacking(&key);
            let fields = lacking.fields();
            if fields.is_empty() {
                return Ok((Change::Unchanged, key));
            }
            let path = format!("{}/config", name.path("keys"));
            let request = Request::new(Operation::Admin, Method::Post, &path).json(&lacking);
            let answer = self.change(name, "config", request).await?;
            Ok((Change::Updated { fields }, answer.data()?))
        };
        self.admin.alone(name, work).await
    }

    /// The key, if there is one.
    ///
    /// # Errors
    /// [`AdminError::Bao`]
    pub async fn read(self, name: &TransitKeyName) -> Result<Option<TransitKey>, AdminError> {
        Ok(self.admin.read(&name.path("keys")).await?)
    }

    /// The names of the keys of the Transit engine at `mount`.
    ///
    /// # Errors
    /// [`AdminError::Bao`]
    pub async fn list(self, mount: &MountPath) -> Result<Vec<String>, AdminError> {
        Ok(self.admin.list(&format!("{mount}/keys")).await?)
    }

    /// Destroys the versions below `min_available_version`, for ever. Both minimums of the key must be set, and not lower.
    ///
    /// # Errors
    /// [`AdminError::Unstored`] if it is not known whether it was stored; [`AdminError::Bao`]: `Rejected` if the minimums do not allow it.
    pub async fn trim(
        self,
        name: &TransitKeyName,
        min_available_version: u32,
    ) -> Result<TransitKey, AdminError> {
        #[derive(Serialize)]
        struct Trim {
            min_available_version: u32,
        }
        let path = format!("{}/trim", name.path("keys"));
        let body = Trim {
            min_available_version,
        };
        let request = Request::new(Operation::Admin, Method::Post, &path).json(&body);
        self.alter(name, "trim", request).await
    }

    /// Puts the key out of use: it neither encrypts nor decrypts until it is [restored](Self::restore). OpenBao only.
    ///
    /// # Errors
    /// [`AdminError::Unstored`] if it is not known whether it was stored; [`AdminError::Bao`]: `NotFound` if there is no such key.
    pub async fn soft_delete(self, name: &TransitKeyName) -> Result<TransitKey, AdminError> {
        let path = format!("{}/soft-delete", name.path("keys"));
        let request = Request::new(Operation::Admin, Method::Delete, &path);
        self.alter(name, "soft-delete", request).await
    }

    /// Undoes [`Self::soft_delete`].
    ///
    /// # Errors
    /// As [`Self::soft_delete`].
    pub async fn restore(self, name: &TransitKeyName) -> Result<TransitKey, AdminError> {
        let path = format!("{}/soft-delete-restore", name.path("keys"));
        let request = Request::new(Operation::Admin, Method::Post, &path);
        self.alter(name, "soft-delete-restore", request).await
    }

    /// Deletes the key with all versions, for ever, unless it is gone already. [`KeyConfig::deletion_allowed`] must be set before.
    ///
    /// # Errors
    /// [`AdminError::Bao`]: `Rejected` if the key does not allow it.
    pub async fn delete(self, name: &TransitKeyName) -> Result<(), AdminError> {
        let path = name.path("keys");
        match self.admin.alone(name, self.admin.delete(&path)).await {
            Err(BaoError::Rejected { message, .. }) if message.ends_with("not found") => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(()),
        }
    }

    /// Keeps encrypting under the name of a key that does not exist from making that key, as OpenBao does at first.
    ///
    /// # Errors
    /// [`AdminError::Bao`]
    pub async fn ensure_no_upsert(self, mount: &MountPath) -> Result<Change, AdminError> {
        #[derive(Serialize, Deserialize)]
        struct Keys {
            disable_upsert: bool,
        }
        let path = format!("{mount}/config/keys");
        let found: Keys = self.admin.get(&path).await?.data()?;
        if found.disable_upsert {
            return Ok(Change::Unchanged);
        }
        let wanted = Keys {
            disable_upsert: true,
        };
        self.admin.write(&path, &wanted).await?;
        Ok(Change::Updated {
            fields: vec!["disable_upsert"],
        })
    }

    /// Makes the active node forget what it holds in memory of the keys at `mount`, and read them from storage again. The remedy for
    /// [`AdminError::Unstored`]. What a version that was never stored has wrapped is lost by it.
    ///
    /// # Errors
    /// [`AdminError::Bao`]
    pub async fn reload(self, mount: &MountPath) -> Result<(), AdminError> {
        #[derive(Serialize)]
        struct Which {
            mounts: [String; 1],
        }
        let which = Which {
            mounts: [format!("{mount}/")],
        };
        self.admin
            .write("sys/plugins/reload/backend", &which)
            .await?;
        Ok(())
    }

    pub(super) async fn existing(self, name: &TransitKeyName) -> Result<TransitKey, BaoError> {
        let path = name.path("keys");
        let key = self.admin.read(&path).await?;
        key.ok_or_else(|| self.missing(path))
    }

    fn missing(self, path: Arc<str>) -> BaoError {
        let client = self.admin.session().client();
        BaoError::NotFound {
            place: client.place(path, self.admin.namespace()),
            message: String::new(),
        }
    }

    /// Sends a change when it is its turn, and gives the key in the answer.
    async fn alter(
        self,
        name: &TransitKeyName,
        operation: &'static str,
        request: Request<'_>,
    ) -> Result<TransitKey, AdminError> {
        let work = self.change(name, operation, request);
        let answer = self.admin.alone(name, work).await?;
        if answer.status() == NO_CONTENT {
            return Err(self.missing(name.path("keys")).into());
        }
        Ok(answer.data()?)
    }

    /// Sends a change once: what failed to be stored shows as done, so a second attempt would succeed by doing nothing.
    async fn change(
        self,
        name: &TransitKeyName,
        operation: &'static str,
        request: Request<'_>,
    ) -> Result<Response, AdminError> {
        self.admin.send(request.once()).await.map_err(|cause| {
            if may_have_happened(&cause) {
                AdminError::Unstored {
                    key: name.to_string().into(),
                    operation,
                    cause,
                }
            } else {
                cause.into()
            }
        })
    }
}

/// How OpenBao answers a soft deletion of nothing.
const NO_CONTENT: u16 = 204;

impl NewKey {
    const fn of_kind(kind: KeyKind) -> Self {
        Self {
            kind: kind.as_str(),
            derived: false,
            exportable: false,
            allow_plaintext_backup: false,
        }
    }
}

/// Refuses a key with properties that no write changes.
fn check(name: &TransitKeyName, key: &TransitKey, wanted: &NewKey) -> Result<(), AdminError> {
    let fields = differing([
        ("type", key.kind == wanted.kind),
        ("derived", key.derived == wanted.derived),
        ("exportable", key.exportable == wanted.exportable),
        (
            "allow_plaintext_backup",
            key.allow_plaintext_backup == wanted.allow_plaintext_backup,
        ),
    ]);
    if !fields.is_empty() {
        return Err(AdminError::KeyMismatch {
            key: name.to_string().into(),
            fields: fields.join(", "),
        });
    }
    Ok(key.check(name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(change: impl FnOnce(&mut serde_json::Value)) -> TransitKey {
        let mut json = serde_json::json!({
            "type": "aes256-gcm96", "latest_version": 2, "keys": {"1": 5, "2": 6},
            "min_decryption_version": 1, "min_encryption_version": 0,
        });
        change(&mut json);
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn only_what_differs_is_written() {
        let config = KeyConfig {
            min_decryption_version: Some(0),
            min_encryption_version: Some(2),
            ..KeyConfig::safe()
        };
        let lacking = config.lacking(&key(|_| {}));
        assert_eq!(lacking.fields(), ["min_encryption_version"]);
        assert_eq!(
            serde_json::to_string(&lacking).unwrap(),
            r#"{"min_encryption_version":2}"#
        );
        let drifted = key(|json| {
            json["deletion_allowed"] = true.into();
            json["auto_rotate_period"] = 7_200.into();
            json["min_decryption_version"] = 2.into();
        });
        let lacking = KeyConfig::safe().lacking(&drifted);
        assert_eq!(lacking.fields(), ["deletion_allowed", "auto_rotate_period"]);
        assert_eq!(
            serde_json::to_string(&lacking).unwrap(),
            r#"{"deletion_allowed":false,"auto_rotate_period":0}"#
        );
        assert!(KeyConfig::default().lacking(&drifted).fields().is_empty());
    }

    #[test]
    fn parts_of_seconds_are_no_difference() {
        let config = KeyConfig {
            auto_rotate_period: Some(Duration::from_millis(7_200_500)),
            ..KeyConfig::default()
        };
        let rotated = key(|json| json["auto_rotate_period"] = 7_200.into());
        assert!(config.lacking(&rotated).fields().is_empty());
    }

    #[test]
    fn what_cannot_be_changed_is_named() {
        let name = TransitKeyName::new("transit", "k").unwrap();
        let wanted = NewKey::of_kind(KeyKind::Aes256Gcm96);
        assert!(check(&name, &key(|_| {}), &wanted).is_ok());
        let other = key(|json| {
            json["type"] = "aes128-gcm96".into();
            json["exportable"] = true.into();
        });
        assert_eq!(
            check(&name, &other, &wanted).unwrap_err().to_string(),
            "Transit key `transit/k` exists, but not with the type, exportable that it must have, which cannot be changed; choose another name"
        );
        let deleted = key(|json| json["soft_deleted"] = true.into());
        assert!(matches!(
            check(&name, &deleted, &wanted),
            Err(AdminError::Bao(BaoError::Profile { .. }))
        ));
    }
}
