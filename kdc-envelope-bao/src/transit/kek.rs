//! [`TransitKek`]: the trait over a Transit key.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;
use std::time::SystemTime;

use kdc_envelope::kek::check_plaintext;
use kdc_envelope::{
    Aad, Annotations, KekError, KekStatus, KeyEncryptionKey, KeyId, SecretBytes, WrappedKey,
};
use tokio::time::{Instant, sleep_until};

use super::batch::{BatchCall, Batcher, CallError, ItemError, SpareSlot};
use super::calls::{Decrypt, Encrypt, Encrypted, Rewrap, Target, ToDecrypt, ToEncrypt, ToRewrap};
use super::key::{TransitKeyName, own_version};
use super::plain_row::PlainRow;
use super::watch::Watch;
use crate::TransitCiphertext;
use crate::client::SharedIndex;
use crate::deadline;
use crate::error::BaoError;
use crate::login::Session;

/// The annotation of wrapped keys that are bound to associated data. Rows without it are opened without.
pub const AAD_ANNOTATION: &str = "aad.kube-dc.com";
/// Its value: the associated data is that of the caller, as it is.
const AAD_AS_GIVEN: &[u8] = b"1";

/// Pauses before a call is made again because the node that answered lags behind.
const LAG_PAUSES: [Duration; 3] = [
    Duration::from_millis(30),
    Duration::from_millis(120),
    Duration::from_millis(400),
];

/// How a Transit key is used.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TransitOptions {
    /// How often the key is read; each time is up to a fifth shorter or longer. Default 60 s.
    pub poll_interval: Duration,
    /// How old a new version must be before it wraps; longer than it takes every replica to see it. Default 3 minutes.
    pub hold: Duration,
    /// How often it is proven by wrapping and unwrapping that both still work. Default 10 minutes.
    pub proof_interval: Duration,
    /// Whether rows of other plugins with plain Transit ciphertexts are opened. Default yes.
    pub opens_plain_rows: bool,
    /// The clock of this machine. It decides how old a version is only where that of OpenBao cannot be right. Default
    /// [`SystemTime::now`].
    pub clock: fn() -> SystemTime,
}

impl Default for TransitOptions {
    #[expect(clippy::disallowed_methods, reason = "who wants another clock sets it")]
    fn default() -> Self {
        Self {
            poll_interval: Duration::from_secs(60),
            hold: Duration::from_secs(180),
            proof_interval: Duration::from_secs(600),
            opens_plain_rows: true,
            clock: SystemTime::now,
        }
    }
}

/// A key encryption key that never leaves OpenBao. Clones share everything.
///
/// It knows nothing until it was [connected](Self::connect) or its [watch](Self::watch) runs; until then it is honestly not healthy.
/// [`status`](KeyEncryptionKey::status) costs nothing. Wrapping and unwrapping cost at most one request each, shared with others that come
/// at the same time; put a [`CachedKek`](kdc_envelope::cache::CachedKek) in front to save most of them.
#[derive(Clone)]
pub struct TransitKek(Arc<Inner>);

struct Inner {
    encrypt: Batcher<Encrypt>,
    decrypt: Batcher<Decrypt>,
    rewrap: Batcher<Rewrap>,
    watch: Watch,
    opens_plain_rows: bool,
}

impl TransitKek {
    /// The key `key`, used through `session`. Sends nothing.
    #[must_use]
    pub fn new(session: Session, key: TransitKeyName, options: TransitOptions) -> Self {
        let target = Target {
            session,
            key,
            index: SharedIndex::default(),
        };
        // With the watch's request they need five connections at most, and four where nothing is rewrapped.
        let spare = SpareSlot::default();
        Self(Arc::new(Inner {
            encrypt: Batcher::new(Encrypt(target.clone()), spare.clone()),
            decrypt: Batcher::new(Decrypt(target.clone()), spare.clone()),
            rewrap: Batcher::new(Rewrap(target.clone()), spare),
            opens_plain_rows: options.opens_plain_rows,
            watch: Watch::new(target, options),
        }))
    }

    /// Logs in, reads the key and proves that it wraps and unwraps.
    ///
    /// # Errors
    /// [`BaoError`]; calling again, or the watch, may succeed later.
    pub async fn connect(&self) -> Result<(), BaoError> {
        self.0.watch.observe(self).await
    }

    /// Follows the key: notices new versions, outages and their end. Never returns; run it beside what uses the key. Dropping it is
    /// safe at any point.
    pub async fn watch(&self) {
        self.0.watch.run(self).await;
    }

    /// The session behind it.
    #[must_use]
    pub fn session(&self) -> &Session {
        self.0.watch.session()
    }

    /// Its mount and name.
    #[must_use]
    pub fn key(&self) -> &TransitKeyName {
        self.0.watch.key()
    }

    /// The newest version that OpenBao showed; 0 before the first look. Ahead of what wraps during the hold.
    #[must_use]
    pub fn latest_version(&self) -> u32 {
        self.0
            .watch
            .view()
            .map_or(0, |view| view.key.latest_version)
    }

    /// The version that wraps; 0 before there is one. Behind [`latest_version`](Self::latest_version) during the hold.
    #[must_use]
    pub fn wrapping_version(&self) -> u32 {
        let view = self.0.watch.view();
        let announced = view.and_then(|view| view.announced.clone());
        announced.map_or(0, |announced| announced.version)
    }

    pub(super) async fn wrap_under(
        &self,
        version: u32,
        plaintext: &[u8],
        aad: Aad<'_>,
    ) -> Result<Encrypted, KekError> {
        let associated_data = associated_data(aad);
        let encrypted = self
            .ask(&self.0.encrypt, || ToEncrypt {
                plaintext: SecretBytes::new(plaintext.to_vec()),
                associated_data: associated_data.clone(),
                version,
            })
            .await?;
        self.checked(encrypted, version)
    }

    pub(super) async fn unwrap_ciphertext(
        &self,
        ciphertext: &str,
        aad: Option<Aad<'_>>,
    ) -> Result<SecretBytes, KekError> {
        self.ask(&self.0.decrypt, || ToDecrypt {
            ciphertext: ciphertext.into(),
            associated_data: aad.map(|aad| aad.as_bytes().into()),
        })
        .await
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

    /// What the caller gets to know; what tells of trouble wakes the watch.
    fn explained(&self, error: CallError) -> KekError {
        match error {
            CallError::Item(ItemError::Authentication) => KekError::Authentication,
            CallError::Item(ItemError::Malformed) => KekError::Malformed {
                field: "ciphertext",
                offset: 0,
            },
            CallError::Item(ItemError::TooOld) => too_old(self.key()),
            CallError::Item(ItemError::TooNew) => {
                self.0.watch.wake();
                let message = "the version of the key is unknown to OpenBao; was it restored from a backup, or lost in a failed rotation?";
                BaoError::Lagging {
                    message: message.to_owned(),
                }
                .into()
            }
            CallError::Item(ItemError::Other(message)) => {
                self.0.watch.wake();
                BaoError::KeyFailed { message }.into()
            }
            CallError::Request(error) => {
                self.0.watch.wake();
                error.into()
            }
        }
    }

    /// Parses a wrapped key and finds out how it is to be opened.
    async fn recognise<'w>(&self, wrapped: &'w WrappedKey) -> Result<Recognised<'w>, KekError> {
        let key_id = &wrapped.key_id;
        let unknown = || KekError::UnknownKey(key_id.clone());
        let Some(version) = own_version(key_id) else {
            let is_plain = self.0.opens_plain_rows
                && PlainRow::recognise(key_id, &wrapped.annotations).is_some();
            if !is_plain {
                return Err(unknown());
            }
            return Ok(Recognised {
                ciphertext: parse(&wrapped.ciphertext)?.1,
                is_bound: false,
            });
        };
        if self.0.watch.version_of(key_id).await? != Some(version) {
            let retired = self
                .0
                .watch
                .view()
                .is_some_and(|view| version < view.key.min_decryption_version);
            return Err(if retired {
                too_old(self.key())
            } else {
                unknown()
            });
        }
        let is_bound = is_bound(&wrapped.annotations)?;
        let (written, ciphertext) = parse(&wrapped.ciphertext)?;
        if written != version {
            return Err(KekError::Malformed {
                field: "version of the ciphertext, which is not that of the key id",
                offset: "vault:v".len(),
            });
        }
        Ok(Recognised {
            ciphertext,
            is_bound,
        })
    }
}

struct Recognised<'w> {
    ciphertext: &'w str,
    is_bound: bool,
}

#[async_trait::async_trait]
impl KeyEncryptionKey for TransitKek {
    async fn wrap(&self, plaintext: &[u8], aad: Aad<'_>) -> Result<WrappedKey, KekError> {
        check_plaintext(plaintext)?;
        let announced = self.0.watch.announced()?;
        let encrypted = self.wrap_under(announced.version, plaintext, aad).await?;
        let wrapped = WrappedKey::new(announced.key_id, encrypted.ciphertext.into_bytes());
        Ok(match associated_data(aad) {
            Some(_) => wrapped.with_annotations(bound_annotations()?),
            None => wrapped,
        })
    }

    async fn unwrap(&self, wrapped: &WrappedKey, aad: Aad<'_>) -> Result<SecretBytes, KekError> {
        let Recognised {
            ciphertext,
            is_bound,
        } = self.recognise(wrapped).await?;
        self.unwrap_ciphertext(ciphertext, is_bound.then_some(aad))
            .await
    }

    /// Without associated data OpenBao moves the key itself, and it is never revealed. With it OpenBao cannot (its rewrap ignores
    /// associated data), so it is unwrapped and wrapped here.
    async fn rewrap(
        &self,
        wrapped: &WrappedKey,
        aad: Aad<'_>,
    ) -> Result<Option<WrappedKey>, KekError> {
        let Recognised {
            ciphertext,
            is_bound,
        } = self.recognise(wrapped).await?;
        let announced = self.0.watch.announced()?;
        if wrapped.key_id == announced.key_id {
            // Says whether it could be unwrapped, as the trait demands.
            self.unwrap_ciphertext(ciphertext, is_bound.then_some(aad))
                .await?;
            return Ok(None);
        }
        if is_bound {
            let secret = self.unwrap_ciphertext(ciphertext, Some(aad)).await?;
            return self.wrap(secret.expose(), aad).await.map(Some);
        }
        let version = announced.version;
        let moved = self
            .ask(&self.0.rewrap, || ToRewrap {
                ciphertext: ciphertext.into(),
                version: Some(version),
            })
            .await?;
        let moved = self.checked(moved, version)?;
        Ok(Some(WrappedKey::new(
            announced.key_id,
            moved.ciphertext.into_bytes(),
        )))
    }

    fn status(&self) -> Result<KekStatus, KekError> {
        let announced = self.0.watch.healthy()?;
        Ok(KekStatus::new(announced.key_id, announced.version))
    }
}

impl fmt::Debug for TransitKek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransitKek({})", self.key())
    }
}

/// Nothing is bound to nothing, so that OpenBao's own rewrap stays possible.
fn associated_data(aad: Aad<'_>) -> Option<Box<[u8]>> {
    (!aad.as_bytes().is_empty()).then(|| aad.as_bytes().into())
}

fn bound_annotations() -> Result<Annotations, KekError> {
    Annotations::try_from_iter([(AAD_ANNOTATION, AAD_AS_GIVEN)])
        .map_err(|_| KekError::Misuse("the annotation is not a domain name"))
}

/// Whether the annotations are those of a bound key; any others were not written here.
fn is_bound(annotations: &Annotations) -> Result<bool, KekError> {
    if annotations.is_empty() {
        return Ok(false);
    }
    let is_ours = annotations.len() == 1 && annotations.get(AAD_ANNOTATION) == Some(AAD_AS_GIVEN);
    is_ours.then_some(true).ok_or(KekError::Malformed {
        field: "annotations, which are not those of a Transit key",
        offset: 0,
    })
}

/// Version and text of a ciphertext.
fn parse(ciphertext: &[u8]) -> Result<(u32, &str), KekError> {
    let malformed = |field| KekError::Malformed { field, offset: 0 };
    let parsed = TransitCiphertext::parse(ciphertext)
        .map_err(|_| malformed("ciphertext, which is not `vault:vN:` and base64"))?;
    let text = core::str::from_utf8(ciphertext).map_err(|_| malformed("ciphertext"))?;
    Ok((parsed.version().get(), text))
}

pub(super) fn too_old(key: &TransitKeyName) -> KekError {
    KekError::Denied {
        source: format!(
            "min_decryption_version of Transit key `{key}` is above the version that wrapped this; lower it to read again"
        )
        .into(),
    }
}

/// Names a key id in a log.
pub(super) fn shown(key_id: &KeyId) -> tracing::field::DisplayValue<&KeyId> {
    tracing::field::display(key_id)
}
