//! [`TransitKek`]: the trait over a Transit key.

use core::fmt;
use std::sync::Arc;

use kdc_envelope::kek::check_plaintext;
use kdc_envelope::{
    Aad, Annotations, KekError, KekStatus, KeyEncryptionKey, SecretBytes, WrappedKey,
};

use super::batch_calls::Target;
use super::calls::{Calls, associated_data, too_old};
use super::key::{TransitKeyName, own_version};
use super::options::TransitOptions;
use super::plain_row::PlainRow;
use super::watch::Watch;
use crate::TransitCiphertext;
use crate::client::SharedIndex;
use crate::error::BaoError;
use crate::login::Session;

/// The annotation of wrapped keys that are bound to associated data. Rows without it are opened without.
pub const AAD_ANNOTATION: &str = "aad.kube-dc.com";
/// Its value: the associated data is that of the caller, as it is.
const AAD_AS_GIVEN: &[u8] = b"1";

/// A key encryption key that never leaves OpenBao. Clones share everything.
///
/// It knows nothing until it was [connected](Self::connect) or its [watch](Self::watch) runs; until then it is honestly not healthy.
/// [`status`](KeyEncryptionKey::status) costs nothing, and outlasts an outage of OpenBao for the
/// [grace](TransitOptions::status_grace). Wrapping and unwrapping cost at most one request each, shared with others that come
/// at the same time; put a [`CachedKek`](kdc_envelope::cache::CachedKek) in front to save most of them.
#[derive(Clone)]
pub struct TransitKek(Arc<Inner>);

struct Inner {
    calls: Arc<Calls>,
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
        let calls = Arc::new(Calls::new(&target));
        Self(Arc::new(Inner {
            opens_plain_rows: options.opens_plain_rows,
            watch: Watch::new(target, options, Arc::clone(&calls)),
            calls,
        }))
    }

    /// Logs in, reads the key and proves that it wraps and unwraps.
    ///
    /// # Errors
    /// [`BaoError`]; calling again, or the watch, may succeed later.
    pub async fn connect(&self) -> Result<(), BaoError> {
        self.0.watch.observe().await
    }

    /// Follows the key: notices new versions, outages and their end. Never returns; run it beside what uses the key. Dropping it is
    /// safe at any point.
    pub async fn watch(&self) {
        self.0.watch.run().await;
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
        let encrypted = self
            .0
            .calls
            .encrypt(announced.version, plaintext, aad)
            .await?;
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
        self.0
            .calls
            .decrypt(ciphertext, is_bound.then_some(aad))
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
            self.0
                .calls
                .decrypt(ciphertext, is_bound.then_some(aad))
                .await?;
            return Ok(None);
        }
        if is_bound {
            let secret = self.0.calls.decrypt(ciphertext, Some(aad)).await?;
            return self.wrap(secret.expose(), aad).await.map(Some);
        }
        let version = announced.version;
        let moved = self.0.calls.rewrap(ciphertext, version).await?;
        Ok(Some(WrappedKey::new(
            announced.key_id,
            moved.ciphertext.into_bytes(),
        )))
    }

    fn status(&self) -> Result<KekStatus, KekError> {
        self.0.watch.status()
    }
}

impl fmt::Debug for TransitKek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransitKek({})", self.key())
    }
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
