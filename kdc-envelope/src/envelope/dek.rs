//! The data encryption key in use, and how long it may be used.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use crate::WrappedKey;
use crate::aead::AesGcm;

/// How long one DEK is used for sealing. Whichever limit is reached first ends it; a change of the KEK version does too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DekLimits {
    messages: u64,
    bytes: u64,
    age: Duration,
}

/// Limits beyond what AES-GCM with random nonces allows, or of zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidLimits {
    /// Not between 1 and [`DekLimits::MAX_MESSAGES`].
    #[error("a data encryption key serves 1 to 2^32 messages, not {0}")]
    Messages(u64),
    /// Not between 1 and [`DekLimits::MAX_BYTES`].
    #[error("a data encryption key serves 1 to 2^60 bytes, not {0}")]
    Bytes(u64),
    /// Zero.
    #[error("a data encryption key needs some time to be used")]
    Age,
}

impl DekLimits {
    /// The most messages of one key: NIST SP 800-38D §8.3, random 96-bit nonces.
    pub const MAX_MESSAGES: u64 = 1 << 32;
    /// The most bytes of one key: far below the point where blocks of AES begin to collide noticeably (2^64 blocks).
    pub const MAX_BYTES: u64 = 1 << 60;

    /// At most `messages` messages, `bytes` bytes, and `age` since the first.
    ///
    /// # Errors
    /// [`InvalidLimits`].
    pub const fn new(messages: u64, bytes: u64, age: Duration) -> Result<Self, InvalidLimits> {
        if messages == 0 || messages > Self::MAX_MESSAGES {
            return Err(InvalidLimits::Messages(messages));
        }
        if bytes == 0 || bytes > Self::MAX_BYTES {
            return Err(InvalidLimits::Bytes(bytes));
        }
        if age.is_zero() {
            return Err(InvalidLimits::Age);
        }
        Ok(Self {
            messages,
            bytes,
            age,
        })
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Default for DekLimits {
    /// 2^20 messages, 64 GiB, one hour.
    fn default() -> Self {
        Self {
            messages: 1 << 20,
            bytes: 1 << 36,
            age: Duration::from_secs(3600),
        }
    }
}

/// A DEK with what is left of its limits.
#[derive(Debug)]
pub(super) struct ActiveDek {
    pub(super) wrapped: WrappedKey,
    pub(super) key: AesGcm,
    born: Duration,
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl ActiveDek {
    pub(super) const fn new(wrapped: WrappedKey, key: AesGcm, born: Duration) -> Self {
        Self {
            wrapped,
            key,
            born,
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// Takes one message of `len` bytes from the limits; false if it does not fit any more.
    pub(super) fn admit(&self, len: u64, now: Duration, limits: &DekLimits) -> bool {
        now.saturating_sub(self.born) < limits.age
            && take(&self.messages, 1, limits.messages)
            && take(&self.bytes, len, limits.bytes)
    }
}

fn take(used: &AtomicU64, amount: u64, limit: u64) -> bool {
    used.try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
        used.checked_add(amount).filter(|sum| *sum <= limit)
    })
    .is_ok()
}
