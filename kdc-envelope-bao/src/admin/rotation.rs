//! Rotation of a Transit key, which can go wrong in a way that loses data.
//!
//! When two rotations of one key overlap, or one meets another change, OpenBao answers one of them with 500 and yet goes on with the
//! version that it did not store: it encrypts with it until the node restarts or another takes over, and then nothing decrypts it (seen
//! with 2.6.2 and 2.7.2). So a rotation is sent once, its outcome is looked at, and the new version is tried before it is reported.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kdc_envelope::Key256;
use serde::{Deserialize, Serialize};

use super::AdminError;
use super::error::may_have_happened;
use super::key_lock::alone;
use super::keys::TransitKeys;
use crate::client::{Method, Namespace, Operation, Request};
use crate::error::BaoError;
use crate::transit::{TransitKey, TransitKeyName};

/// What the trial of a new version is bound to.
const TRIAL_AAD: &[u8] = b"kdc-envelope rotation";
/// What OpenBao says when it did not store what it goes on with.
const NOT_STORED: &str = "transaction commit failed";

impl TransitKeys<'_> {
    /// Makes a new version of the key, and proves that it is the only new one and that it encrypts and decrypts. Gives the key as it is
    /// then, with the new version as `latest_version`.
    ///
    /// The present version is tried before. So whoever lacks a right, or meets an OpenBao that is not well, makes no version, however often
    /// he tries. A present version that does not decrypt what it encrypts is no hindrance: another one is the cure.
    ///
    /// The token needs `update` on `encrypt` and `decrypt` of the key too. Only one process may rotate a key.
    ///
    /// # Errors
    /// [`AdminError::NotRotated`] if nothing happened; [`AdminError::PhantomSuspected`], [`AdminError::ConcurrentRotation`] and
    /// [`AdminError::Unproven`] if something did, and each says what to do; [`AdminError::RotatesItself`]; [`AdminError::Bao`]: `NotFound`
    /// if there is no such key, `Profile` if it cannot be used, `Canary` if the new version does not decrypt what it encrypted.
    pub async fn rotate(self, name: &TransitKeyName) -> Result<TransitKey, AdminError> {
        alone(self.admin.namespace(), name, self.rotate_alone(name)).await
    }

    async fn rotate_alone(self, name: &TransitKeyName) -> Result<TransitKey, AdminError> {
        let before = self.existing(name).await?;
        before.check(name)?;
        if before.auto_rotate_period != 0 {
            return Err(AdminError::RotatesItself {
                key: name.to_string().into(),
                period: before.auto_rotate_period,
            });
        }
        let latest = before.latest_version;
        if self.admin.unproven.take(self.admin.namespace(), name) == Some(newest(&before)) {
            // The rotation that is asked for again was made; only its proof is missing.
            return self.confirm(name, latest.saturating_sub(1), &before).await;
        }
        match self.try_out(name, latest).await {
            Ok(()) | Err(BaoError::Canary { .. }) => {}
            Err(cause) => {
                return Err(AdminError::NotRotated {
                    key: name.to_string().into(),
                    version: latest,
                    cause,
                });
            }
        }
        let path = format!("{}/rotate", name.path("keys"));
        let request = Request::new(Operation::Admin, Method::Post, &path).once();
        let answer = self.admin.send(request).await;
        match answer.and_then(|answer| TransitKey::from_answer(&answer)) {
            Ok(made) => self.confirm(name, latest, &made).await,
            Err(problem) => Err(self.examine(name, latest, problem).await),
        }
    }

    /// What became of a rotation that failed.
    async fn examine(self, name: &TransitKeyName, before: u32, cause: BaoError) -> AdminError {
        if !may_have_happened(&cause) {
            return cause.into();
        }
        let key = name.to_string().into();
        let seen = self.existing(name).await.ok().map(|key| key.latest_version);
        // A standby shows what is stored, so that it shows nothing new proves nothing against what the active node says.
        let is_phantom =
            matches!(&cause, BaoError::Unready { message, .. } if message.contains(NOT_STORED));
        if seen == Some(before) && !is_phantom {
            return AdminError::NotRotated {
                key,
                version: before,
                cause,
            };
        }
        AdminError::PhantomSuspected {
            key,
            before,
            seen,
            cause,
        }
    }

    /// Tries the newest version of `made`, and looks whether it is the only new one.
    async fn confirm(
        self,
        name: &TransitKeyName,
        before: u32,
        made: &TransitKey,
    ) -> Result<TransitKey, AdminError> {
        let version = made.latest_version;
        let key = match self.proven(name, version).await {
            Ok(key) => key,
            Err(cause @ BaoError::Canary { .. }) => return Err(cause.into()),
            Err(cause) => {
                let unproven = &self.admin.unproven;
                unproven.note(self.admin.namespace(), name, newest(made));
                return Err(AdminError::Unproven {
                    key: name.to_string().into(),
                    version,
                    cause,
                });
            }
        };
        if version == before.saturating_add(1) && key.latest_version == version {
            return Ok(key);
        }
        Err(AdminError::ConcurrentRotation {
            key: name.to_string().into(),
            before,
            made: version,
            latest: key.latest_version,
        })
    }

    /// The key, once it shows `version` and that was tried.
    async fn proven(self, name: &TransitKeyName, version: u32) -> Result<TransitKey, BaoError> {
        let path = name.path("keys");
        let knows = |key: &TransitKey| key.latest_version >= version;
        self.admin.look_until(&path, knows).await?;
        self.try_out(name, version).await?;
        // Read after the trial, so that whoever rotated at the same time shows.
        self.existing(name).await
    }

    /// Encrypts with `version`, decrypts and compares.
    async fn try_out(self, name: &TransitKeyName, version: u32) -> Result<(), BaoError> {
        let failed = || BaoError::Canary {
            key: name.shown(),
            version,
        };
        let secret = STANDARD.encode(Key256::random()?.expose());
        let associated_data = STANDARD.encode(TRIAL_AAD);
        let body = ToEncrypt {
            plaintext: &secret,
            associated_data: &associated_data,
            key_version: version,
        };
        let (encrypt, decrypt) = (name.path("encrypt"), name.path("decrypt"));
        let request = Request::new(Operation::Encrypt, Method::Post, &encrypt).json(&body);
        let encrypted: Encrypted = self.admin.send(request).await?.data()?;
        if encrypted.key_version != version {
            return Err(failed());
        }
        let body = ToDecrypt {
            ciphertext: &encrypted.ciphertext,
            associated_data: &associated_data,
        };
        let request = Request::new(Operation::Decrypt, Method::Post, &decrypt).json(&body);
        let decrypted: Decrypted = match self.admin.send(request).await {
            Ok(answer) => answer.data()?,
            Err(BaoError::Rejected { .. }) => return Err(failed()),
            Err(error) => return Err(error),
        };
        (decrypted.plaintext == secret)
            .then_some(())
            .ok_or_else(failed)
    }
}

/// The newest version and when it was made, which tells it from another of its number.
fn newest(key: &TransitKey) -> Version {
    let created = key.versions.get(&key.latest_version);
    (key.latest_version, created.copied())
}

type Version = (u32, Option<u64>);

/// Versions that were made and could not be tried, by key.
#[derive(Debug, Default)]
pub(super) struct Unproven(Mutex<HashMap<Place, Version>>);

type Place = (Option<Namespace>, TransitKeyName);

impl Unproven {
    fn note(&self, namespace: Option<&Namespace>, key: &TransitKeyName, version: Version) {
        let place = (namespace.cloned(), key.clone());
        self.lock().insert(place, version);
    }

    fn take(&self, namespace: Option<&Namespace>, key: &TransitKeyName) -> Option<Version> {
        self.lock().remove(&(namespace.cloned(), key.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Version>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Serialize)]
struct ToEncrypt<'a> {
    plaintext: &'a str,
    associated_data: &'a str,
    key_version: u32,
}

#[derive(Deserialize)]
struct Encrypted {
    ciphertext: String,
    key_version: u32,
}

#[derive(Serialize)]
struct ToDecrypt<'a> {
    ciphertext: &'a str,
    associated_data: &'a str,
}

#[derive(Deserialize)]
struct Decrypted {
    plaintext: String,
}
