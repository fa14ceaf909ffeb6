//! From plaintext to a row, as kube-apiserver writes it.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use super::object::{DekSourceType, validate_wrapped};
use super::open::INFO_LEN;
use super::wire::Frame;
use super::{InvalidObject, PREFIX, ProviderName, SealError, Seed};
use crate::aead::{AesGcm, NONCE_LEN, Nonce, TAG_LEN};
use crate::random;
use crate::{Key256, WrappedKey};

/// Writes type 1 rows under one seed. Every row has its own key, so there is no limit on their number.
#[derive(Debug)]
pub struct RowSealer {
    seed: Seed,
    frame: Frame,
}

impl RowSealer {
    /// A sealer for `provider`, whose plugin wrapped `seed` into `wrapped`.
    ///
    /// # Errors
    /// [`InvalidObject`] if kube-apiserver would refuse the plugin's answer.
    pub fn new(
        provider: &ProviderName,
        seed: Seed,
        wrapped: &WrappedKey,
    ) -> Result<Self, InvalidObject> {
        let frame = frame(provider, wrapped, DekSourceType::HkdfSha256XnonceAesGcmSeed)?;
        Ok(Self { seed, frame })
    }

    /// Encrypts what is stored at `etcd_key`.
    ///
    /// # Errors
    /// [`SealError::Random`], or [`SealError::TooLong`] for plaintexts beyond 64 GiB.
    pub fn seal(&self, plaintext: &[u8], etcd_key: &[u8]) -> Result<Vec<u8>, SealError> {
        let random: [u8; INFO_LEN + NONCE_LEN] = random::array()?;
        let Some((info, nonce)) = random.split_first_chunk::<INFO_LEN>() else {
            return Err(SealError::Random(random::RandomError));
        };
        let nonce = Nonce::try_from(nonce).map_err(|_| SealError::Random(random::RandomError))?;
        let mut row = self
            .frame
            .begin(INFO_LEN + NONCE_LEN + plaintext.len() + TAG_LEN);
        row.extend_from_slice(info);
        append_sealed(
            &mut row,
            &self.seed.row_key(info),
            &nonce,
            etcd_key,
            plaintext,
        )?;
        Ok(self.frame.finish(row))
    }
}

/// A fresh key for [`LegacyRowSealer`]. It cannot be made from existing bytes: counter nonces may only be used with
/// a key that no one else writes with.
#[derive(Debug)]
pub struct LegacyKey(Key256);

impl LegacyKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`SealError::Random`] if no random bytes can be had.
    pub fn random() -> Result<Self, SealError> {
        Ok(Self(Key256::random()?))
    }

    /// The bytes to have wrapped.
    #[must_use]
    pub const fn expose(&self) -> &[u8; Key256::LEN] {
        self.0.expose()
    }
}

/// Writes type 0 rows, as kube-apiserver 1.27 and 1.28 did. For tests and comparisons: no current API server writes them.
///
/// Nonces are 4 random bytes and a little-endian counter that begins at 1,000,000,001 (`aes.go` upstream).
pub struct LegacyRowSealer {
    key: AesGcm,
    nonce_prefix: [u8; 4],
    counter: AtomicU64,
    frame: Frame,
}

impl LegacyRowSealer {
    const COUNTER_START: u64 = 1_000_000_000;

    /// A sealer for `provider`, whose plugin wrapped `key` into `wrapped`. Takes the key away, so that no second sealer can use it.
    ///
    /// # Errors
    /// [`InvalidObject`] if kube-apiserver would refuse the plugin's answer.
    #[expect(clippy::needless_pass_by_value, reason = "a key serves one sealer")]
    pub fn new(
        provider: &ProviderName,
        key: LegacyKey,
        wrapped: &WrappedKey,
        nonce_prefix: [u8; 4],
    ) -> Result<Self, InvalidObject> {
        Ok(Self {
            key: AesGcm::new_256(key.expose()),
            nonce_prefix,
            counter: AtomicU64::new(Self::COUNTER_START),
            frame: frame(provider, wrapped, DekSourceType::AesGcmKey)?,
        })
    }

    /// Encrypts what is stored at `etcd_key`.
    ///
    /// # Errors
    /// [`SealError::Exhausted`] when the counter ends, [`SealError::TooLong`] for plaintexts beyond 64 GiB.
    pub fn seal(&self, plaintext: &[u8], etcd_key: &[u8]) -> Result<Vec<u8>, SealError> {
        let counter = self
            .counter
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
                last.checked_add(1)
            })
            .map_err(|_| SealError::Exhausted)?
            + 1;
        let mut nonce = Nonce::default();
        let (prefix, count) = nonce.split_at_mut(self.nonce_prefix.len());
        prefix.copy_from_slice(&self.nonce_prefix);
        count.copy_from_slice(&counter.to_le_bytes());
        let mut row = self.frame.begin(NONCE_LEN + plaintext.len() + TAG_LEN);
        append_sealed(&mut row, &self.key, &nonce, etcd_key, plaintext)?;
        Ok(self.frame.finish(row))
    }
}

impl fmt::Debug for LegacyRowSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LegacyRowSealer").finish_non_exhaustive()
    }
}

fn frame(
    provider: &ProviderName,
    wrapped: &WrappedKey,
    dek_source_type: DekSourceType,
) -> Result<Frame, InvalidObject> {
    let key_id = wrapped.key_id.as_str();
    validate_wrapped(&wrapped.ciphertext, key_id, wrapped.annotations.iter())?;
    Ok(Frame::new(
        [PREFIX, provider.as_str().as_bytes(), b":"].concat(),
        key_id,
        &wrapped.ciphertext,
        wrapped.annotations.iter(),
        dek_source_type,
    ))
}

/// Appends nonce ‖ ciphertext ‖ tag.
fn append_sealed(
    row: &mut Vec<u8>,
    key: &AesGcm,
    nonce: &Nonce,
    etcd_key: &[u8],
    plaintext: &[u8],
) -> Result<(), SealError> {
    row.extend_from_slice(nonce);
    let start = row.len();
    row.extend_from_slice(plaintext);
    let (_, message) = row.split_at_mut(start);
    let tag = key
        .seal_in_place(nonce, etcd_key, message)
        .map_err(|_| SealError::TooLong)?;
    row.extend_from_slice(&tag);
    Ok(())
}
