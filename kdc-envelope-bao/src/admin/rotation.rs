//! Rotation of a Transit key, which can go wrong in a way that loses data.
//!
//! When two rotations of one key overlap, or one meets another change, OpenBao answers one of them with 500 and yet goes on with the
//! version that it did not store: it encrypts with it until the node restarts or another takes over, and then nothing decrypts it (seen
//! with 2.6.2 and 2.7.2). So a rotation is sent once, its outcome is read, and the new version may be tried before it is reported.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kdc_envelope::Key256;

use super::AdminError;
use super::error::may_have_happened;
use super::keys::TransitKeys;
use crate::client::{Method, Namespace, Operation, Request};
use crate::error::BaoError;
use crate::transit::{Single, TransitKey, TransitKeyName};

/// Whether a rotation tries the versions that it works on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trial {
    /// Nothing is encrypted, so that the token needs no right to. Whatever wraps with the new version should prove it first, as
    /// [`TransitKek`](crate::TransitKek) does.
    #[default]
    None,
    /// Random bytes are encrypted and decrypted with the present version, and after the rotation with the new one. The token needs `update`
    /// on `encrypt` and `decrypt` of the key, with which it could open what others wrapped.
    RoundTrip,
}

/// What the trial of a new version is bound to.
const TRIAL_AAD: &[u8] = b"kdc-envelope rotation";
/// What OpenBao says when it did not store what it goes on with.
const NOT_STORED: &str = "transaction commit failed";

impl TransitKeys<'_> {
    /// Makes a new version of the key, and looks whether it is the only new one. Gives the key as it is then, with the new version as
    /// `latest_version`.
    ///
    /// With [`Trial::RoundTrip`] the present version is tried before: a token that lacks a right, and an OpenBao that is not well, make no
    /// version, however often it is tried. A present version that does not decrypt what it encrypts is no hindrance: another one is the
    /// cure. The new version is tried before it is reported.
    ///
    /// The token needs `read` on the key and `update` on its `rotate`. Only one process may rotate a key.
    ///
    /// # Errors
    /// [`AdminError::NotRotated`] if nothing happened; [`AdminError::PhantomSuspected`], [`AdminError::ConcurrentRotation`] and
    /// [`AdminError::Unproven`] if something did, and each says what to do; [`AdminError::RotatesItself`]; [`AdminError::Bao`]: `NotFound`
    /// if there is no such key, `Profile` if it cannot be used, `Canary` if the new version does not decrypt what it encrypted.
    pub async fn rotate(
        self,
        name: &TransitKeyName,
        trial: Trial,
    ) -> Result<TransitKey, AdminError> {
        let rotation = Rotation {
            keys: self,
            name,
            trial,
        };
        self.admin.alone(name, Box::pin(rotation.run())).await
    }
}

/// One rotation of one key.
#[derive(Clone, Copy)]
struct Rotation<'a> {
    keys: TransitKeys<'a>,
    name: &'a TransitKeyName,
    trial: Trial,
}

impl Rotation<'_> {
    async fn run(self) -> Result<TransitKey, AdminError> {
        let (name, admin) = (self.name, self.keys.admin);
        let before = self.keys.existing(self.name).await?;
        before.check(name)?;
        if before.auto_rotate_period != 0 {
            return Err(AdminError::RotatesItself {
                key: name.to_string().into(),
                period: before.auto_rotate_period,
            });
        }
        let latest = before.latest_version;
        if admin.unproven.take(admin.namespace(), name) == Some(newest(&before)) {
            // The rotation that is asked for again was made; only its proof is missing.
            return self.confirm(latest.saturating_sub(1), &before).await;
        }
        match self.try_out(latest).await {
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
        let answer = admin.send(request).await;
        match answer.and_then(|answer| TransitKey::from_answer(&answer)) {
            Ok(made) => self.confirm(latest, &made).await,
            Err(problem) => Err(self.examine(latest, problem).await),
        }
    }

    /// What became of a rotation that failed.
    async fn examine(self, before: u32, cause: BaoError) -> AdminError {
        if !may_have_happened(&cause) {
            return cause.into();
        }
        let key = self.name.to_string().into();
        let seen = self
            .keys
            .existing(self.name)
            .await
            .ok()
            .map(|key| key.latest_version);
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

    /// Tries the newest version of `made` if that is wanted, and looks whether it is the only new one.
    async fn confirm(self, before: u32, made: &TransitKey) -> Result<TransitKey, AdminError> {
        let version = made.latest_version;
        let key = match self.proven(version).await {
            Ok(key) => key,
            Err(cause @ BaoError::Canary { .. }) => return Err(cause.into()),
            Err(cause) => {
                let admin = self.keys.admin;
                admin
                    .unproven
                    .note(admin.namespace(), self.name, newest(made));
                return Err(AdminError::Unproven {
                    key: self.name.to_string().into(),
                    version,
                    cause,
                });
            }
        };
        if version == before.saturating_add(1) && key.latest_version == version {
            return Ok(key);
        }
        Err(AdminError::ConcurrentRotation {
            key: self.name.to_string().into(),
            before,
            made: version,
            latest: key.latest_version,
        })
    }

    /// The key, once it shows `version`, and that was tried if it is to be.
    async fn proven(self, version: u32) -> Result<TransitKey, BaoError> {
        let path = self.name.path("keys");
        let knows = |key: &TransitKey| key.latest_version >= version;
        self.keys.admin.observe_until(&path, knows).await?;
        self.try_out(version).await?;
        // Read after the trial, so that a rotation at the same time shows.
        self.keys.existing(self.name).await
    }

    /// Encrypts with `version`, decrypts and compares, unless no trial is wanted.
    async fn try_out(self, version: u32) -> Result<(), BaoError> {
        if self.trial == Trial::None {
            return Ok(());
        }
        let (name, admin) = (self.name, self.keys.admin);
        let failed = || BaoError::Canary {
            key: name.shown(),
            version,
        };
        let secret = Key256::random()?;
        let encryption = Single::encryption(name, secret.expose(), TRIAL_AAD, Some(version));
        let answer = admin.send(encryption.request()).await?;
        let encrypted = Single::encrypted(&answer)?;
        if encrypted.version != version {
            return Err(failed());
        }
        let decryption = Single::decryption(name, &encrypted.ciphertext, TRIAL_AAD);
        let opened = match admin.send(decryption.request()).await {
            Ok(answer) => Single::decrypted(&answer)?,
            Err(BaoError::Rejected { .. }) => return Err(failed()),
            Err(error) => return Err(error),
        };
        (opened.expose() == secret.expose())
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
