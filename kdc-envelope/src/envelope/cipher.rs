//! Sealing, opening and rewrapping envelopes.

use core::time::Duration;
use std::sync::{Arc, PoisonError, RwLock};

use super::dek::{ActiveDek, DekLimits};
use super::format::{associated, header};
use super::{Envelope, OpenError, RewrapError, SealError};
use crate::aead::{AesGcm, NONCE_LEN, Nonce, TAG_LEN};
use crate::cache::{CachedKek, Limits};
use crate::clock::Clock;
use crate::{Aad, KekError, Key256, KeyEncryptionKey, SecretBytes, random};

/// Seals and opens envelopes under one KEK. Share it; every method takes `&self`.
///
/// ```
/// # use std::{sync::Arc, time::Instant};
/// # use kdc_envelope::{envelope::EnvelopeCipher, local::{Keyring, LocalKek}};
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let kek = Arc::new(LocalKek::new(Keyring::generate(1_767_225_600)?)?);
/// let start = Instant::now();
/// let cipher = EnvelopeCipher::new(kek, "invoices", move || start.elapsed());
///
/// let envelope = cipher.seal(b"42 EUR", b"invoice/7").await?;
/// let opened = cipher.open(&envelope, b"invoice/7").await?;
/// assert_eq!(opened.expose(), b"42 EUR");
/// assert!(cipher.open(&envelope, b"invoice/8").await.is_err());
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
/// ```
#[derive(Debug)]
pub struct EnvelopeCipher {
    kek: CachedKek,
    clock: Clock,
    dek_limits: DekLimits,
    dek_aad: Vec<u8>,
    dek: RwLock<Option<Arc<ActiveDek>>>,
    renewal: async_lock::Mutex<()>,
}

impl EnvelopeCipher {
    /// A cipher under `kek` with the default limits.
    ///
    /// `scope` separates users of one KEK: a DEK that was wrapped in one scope does not unwrap in another. `clock` tells
    /// the time since some fixed moment.
    #[must_use]
    pub fn new(kek: Arc<dyn KeyEncryptionKey>, scope: &str, clock: impl Into<Clock>) -> Self {
        let clock = clock.into();
        Self {
            kek: CachedKek::new(kek, Limits::default(), clock.clone()),
            clock,
            dek_limits: DekLimits::default(),
            dek_aad: [b"kdc-envelope dek v1\0", scope.as_bytes()].concat(),
            dek: RwLock::new(None),
            renewal: async_lock::Mutex::new(()),
        }
    }

    /// The same with other limits on the use of a DEK.
    #[must_use]
    pub fn with_dek_limits(mut self, limits: DekLimits) -> Self {
        self.dek_limits = limits;
        self
    }

    /// Encrypts `data` and binds it to `context`, which is not stored: whoever opens the envelope must present the same.
    ///
    /// Asks the KEK only when a new DEK is due. While the KEK is away, sealing goes on within the limits of the present one.
    ///
    /// # Errors
    /// [`SealError`].
    pub async fn seal(&self, data: &[u8], context: &[u8]) -> Result<Vec<u8>, SealError> {
        let dek = self.dek_for(data.len() as u64).await?;
        let nonce: Nonce = random::array()?;
        let mut out = header(&dek.wrapped, NONCE_LEN + data.len() + TAG_LEN);
        out.extend_from_slice(&nonce);
        let start = out.len();
        out.extend_from_slice(data);
        let (_, message) = out.split_at_mut(start);
        let tag = dek
            .key
            .seal_in_place(&nonce, &associated(context), message)
            .map_err(|_| self.too_long(data.len() as u64))?;
        out.extend_from_slice(&tag);
        Ok(out)
    }

    /// Decrypts an envelope that was sealed in this scope with this `context`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(&self, envelope: &[u8], context: &[u8]) -> Result<SecretBytes, OpenError> {
        let envelope = Envelope::parse(envelope)?;
        let dek = self
            .kek
            .unwrap(&envelope.wrapped_dek, self.dek_aad())
            .await?;
        let key = AesGcm::new(dek.expose())
            .map_err(|_| KekError::Misuse("the wrapped key is no data encryption key"))?;
        let (nonce, ciphertext, tag) = envelope.parts().ok_or(OpenError::Authentication)?;
        let mut data = ciphertext.to_vec();
        key.open_in_place(nonce, &associated(context), &mut data, tag)
            .map_err(|_| OpenError::Authentication)?;
        Ok(SecretBytes::new(data))
    }

    /// The same envelope under the newest KEK version, without decrypting its data; `None` if it is there already.
    ///
    /// # Errors
    /// [`RewrapError`].
    pub async fn rewrap(&self, envelope: &[u8]) -> Result<Option<Vec<u8>>, RewrapError> {
        let envelope = Envelope::parse(envelope)?;
        let moved = self
            .kek
            .rewrap(&envelope.wrapped_dek, self.dek_aad())
            .await?;
        Ok(moved.map(|wrapped| envelope.with_wrapped_dek(&wrapped)))
    }

    const fn dek_aad(&self) -> Aad<'_> {
        Aad::new(self.dek_aad.as_slice())
    }

    const fn too_long(&self, len: u64) -> SealError {
        SealError::TooLong {
            len,
            limit: self.dek_limits.bytes(),
        }
    }

    /// A DEK that may encrypt `len` bytes more: the present one, or a fresh one that takes its place.
    async fn dek_for(&self, len: u64) -> Result<Arc<ActiveDek>, SealError> {
        if let Some(dek) = self.admitted(len) {
            return Ok(dek);
        }
        let _alone = self.renewal.lock().await;
        if let Some(dek) = self.admitted(len) {
            return Ok(dek);
        }
        let dek = self.fresh_dek().await?;
        if !dek.admit(len, self.clock.now(), &self.dek_limits) {
            return Err(self.too_long(len));
        }
        let mut present = self.dek.write().unwrap_or_else(PoisonError::into_inner);
        *present = Some(Arc::clone(&dek));
        Ok(dek)
    }

    fn admitted(&self, len: u64) -> Option<Arc<ActiveDek>> {
        let dek = self
            .dek
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()?;
        let stale = self
            .kek
            .status()
            .is_ok_and(|status| status.key_id != dek.wrapped.key_id);
        (!stale && dek.admit(len, self.clock.now(), &self.dek_limits)).then_some(dek)
    }

    async fn fresh_dek(&self) -> Result<Arc<ActiveDek>, SealError> {
        let born: Duration = self.clock.now();
        let key = Key256::random()?;
        let wrapped = self.kek.wrap(key.expose(), self.dek_aad()).await?;
        let key = AesGcm::new_256(key.expose());
        Ok(Arc::new(ActiveDek::new(wrapped, key, born)))
    }
}
