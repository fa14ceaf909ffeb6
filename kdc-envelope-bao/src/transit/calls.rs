//! The calls with a key, in batches, and again while the node that answers lags behind.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use kdc_envelope::{Aad, KekError, SecretBytes};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::batch::{BatchCall, Batcher, CallError, ItemError, SpareSlot};
use super::batch_calls::{
    Decrypt, Encrypt, Encrypted, Rewrap, Target, ToDecrypt, ToEncrypt, ToRewrap,
};
use super::key::TransitKeyName;
use crate::TransitCiphertext;
use crate::deadline;
use crate::error::BaoError;

/// Pauses before a call is made again because the node that answered lags behind.
const LAG_PAUSES: [Duration; 3] = [
    Duration::from_millis(30),
    Duration::from_millis(120),
    Duration::from_millis(400),
];

/// Encrypts, decrypts and rewraps with one key.
#[derive(Debug)]
pub(super) struct Calls {
    key: TransitKeyName,
    encrypt: Batcher<Encrypt>,
    decrypt: Batcher<Decrypt>,
    rewrap: Batcher<Rewrap>,
    trouble: Trouble,
}

/// Whether a call failed in a way that puts the key in doubt.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    is_reported: AtomicBool,
    notify: Notify,
}

impl Trouble {
    fn report(&self) {
        self.is_reported.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// Whether there was trouble since this was last asked.
    pub(super) fn take(&self) -> bool {
        self.is_reported.swap(false, Ordering::AcqRel)
    }

    /// Waits for trouble.
    pub(super) async fn reported(&self) {
        self.notify.notified().await;
    }
}

impl Calls {
    pub(super) fn new(target: &Target) -> Self {
        // With the watch's request they need five connections at most, and four where nothing is rewrapped.
        let spare = SpareSlot::default();
        Self {
            key: target.key.clone(),
            encrypt: Batcher::new(Encrypt(target.clone()), spare.clone()),
            decrypt: Batcher::new(Decrypt(target.clone()), spare.clone()),
            rewrap: Batcher::new(Rewrap(target.clone()), spare),
            trouble: Trouble::default(),
        }
    }

    /// What failed calls tell about the key.
    pub(super) const fn trouble(&self) -> &Trouble {
        &self.trouble
    }

    /// Encrypts under `version`, and under no other.
    pub(super) async fn encrypt(
        &self,
        version: u32,
        plaintext: &[u8],
        aad: Aad<'_>,
    ) -> Result<Encrypted, KekError> {
        let associated_data = associated_data(aad);
        let encrypted = self
            .ask(&self.encrypt, || ToEncrypt {
                plaintext: SecretBytes::new(plaintext.to_vec()),
                associated_data: associated_data.clone(),
                version,
            })
            .await?;
        self.checked(encrypted, version)
    }

    /// Decrypts what was bound to `aad`, or to nothing.
    pub(super) async fn decrypt(
        &self,
        ciphertext: &str,
        aad: Option<Aad<'_>>,
    ) -> Result<SecretBytes, KekError> {
        self.ask(&self.decrypt, || ToDecrypt {
            ciphertext: ciphertext.into(),
            associated_data: aad.map(|aad| aad.as_bytes().into()),
        })
        .await
    }

    /// Decrypts what this key wrapped before; `None` if OpenBao finds that this key did not.
    ///
    /// # Errors
    /// The trouble with OpenBao, which tells neither.
    pub(super) async fn reopen(
        &self,
        ciphertext: &str,
        aad: Aad<'_>,
    ) -> Result<Option<SecretBytes>, BaoError> {
        let item = ToDecrypt {
            ciphertext: ciphertext.into(),
            associated_data: associated_data(aad),
        };
        match self.decrypt.ask(item).await {
            Ok(secret) => Ok(Some(secret)),
            Err(CallError::Request(trouble)) => Err(trouble),
            Err(CallError::Item(ItemError::Other(message))) => Err(BaoError::KeyFailed { message }),
            Err(CallError::Item(_)) => Ok(None),
        }
    }

    /// Moves a ciphertext that is bound to nothing to `version`; the key in it is not revealed.
    pub(super) async fn rewrap(
        &self,
        ciphertext: &str,
        version: u32,
    ) -> Result<Encrypted, KekError> {
        let moved = self
            .ask(&self.rewrap, || ToRewrap {
                ciphertext: ciphertext.into(),
                version: Some(version),
            })
            .await?;
        self.checked(moved, version)
    }

    /// Refuses an answer whose parts disagree; the key id must never lie about the ciphertext.
    fn checked(&self, encrypted: Encrypted, version: u32) -> Result<Encrypted, KekError> {
        let written = TransitCiphertext::parse(encrypted.ciphertext.as_bytes())
            .map(|ciphertext| ciphertext.version().get());
        if encrypted.version == version && written == Ok(version) {
            return Ok(encrypted);
        }
        Err(BaoError::WrongAnswer {
            message: format!("it did not encrypt under version {version} as it was asked to"),
        }
        .into())
    }

    /// Asks, and asks again while the node that answers lags behind.
    async fn ask<C: BatchCall>(
        &self,
        batcher: &Batcher<C>,
        item: impl Fn() -> C::Item + Send,
    ) -> Result<C::Output, KekError> {
        let mut pauses = LAG_PAUSES.iter();
        loop {
            let error = match batcher.ask(item()).await {
                Ok(output) => return Ok(output),
                Err(error) => error,
            };
            let lags = matches!(
                error,
                CallError::Item(ItemError::TooNew) | CallError::Request(BaoError::Lagging { .. })
            );
            let pause = pauses.next().filter(|_| lags);
            match pause.map(|pause| Instant::now() + *pause) {
                Some(next) if deadline::allows(next) => sleep_until(next).await,
                _ => return Err(self.explained(error)),
            }
        }
    }

    /// What the caller gets to know; what tells of trouble is reported.
    fn explained(&self, error: CallError) -> KekError {
        match error {
            CallError::Item(ItemError::Authentication) => KekError::Authentication,
            CallError::Item(ItemError::Malformed) => KekError::Malformed {
                field: "ciphertext",
                offset: 0,
            },
            CallError::Item(ItemError::TooOld) => too_old(&self.key),
            CallError::Item(ItemError::TooNew) => {
                self.trouble.report();
                let message = "the version of the key is unknown to OpenBao; was it restored from a backup, or lost in a failed rotation?";
                BaoError::Lagging {
                    message: message.to_owned(),
                }
                .into()
            }
            CallError::Item(ItemError::Other(message)) => {
                self.trouble.report();
                BaoError::KeyFailed { message }.into()
            }
            CallError::Request(error) => {
                self.trouble.report();
                error.into()
            }
        }
    }
}

/// Nothing is bound to nothing, so that OpenBao's own rewrap stays possible.
pub(super) fn associated_data(aad: Aad<'_>) -> Option<Box<[u8]>> {
    (!aad.as_bytes().is_empty()).then(|| aad.as_bytes().into())
}

pub(super) fn too_old(key: &TransitKeyName) -> KekError {
    KekError::Denied {
        source: format!(
            "min_decryption_version of Transit key `{key}` is above the version that wrapped this; lower it to read again"
        )
        .into(),
    }
}
