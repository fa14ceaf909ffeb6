//! The one seam to AES-GCM: sync, pure, in place.
//!
//! `aes-gcm` does the work unless the feature `aws-lc` is on, which is several times faster on bulk data
//! but brings a C library. Everything above this module is the same under both.

#[cfg(feature = "aws-lc")]
mod aws_lc;
#[cfg(feature = "aws-lc")]
pub(crate) use aws_lc::AesGcm;

#[cfg(not(feature = "aws-lc"))]
mod rust_crypto;
#[cfg(not(feature = "aws-lc"))]
pub(crate) use rust_crypto::AesGcm;

/// Length of an AES-GCM nonce in bytes: the 96 bits that NIST SP 800-38D §5.2.1.1 recommends.
pub(crate) const NONCE_LEN: usize = 12;
/// Length of an AES-GCM tag in bytes; shorter ones are not used.
pub(crate) const TAG_LEN: usize = 16;
/// The most bytes that one AES-GCM message may have (NIST SP 800-38D §5.2.1.1: 2^39 - 256 bits).
pub(crate) const MAX_MESSAGE_LEN: u64 = (1 << 36) - 32;

pub(crate) type Nonce = [u8; NONCE_LEN];
pub(crate) type Tag = [u8; TAG_LEN];

/// The message is longer than AES-GCM allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MessageTooLong;

/// The tag does not fit ciphertext, nonce, associated data and key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unauthentic;

/// The key has not 16, 24 or 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidKeyLength;

fn check_len(message: &[u8]) -> Result<(), MessageTooLong> {
    match u64::try_from(message.len()) {
        Ok(len) if len <= MAX_MESSAGE_LEN => Ok(()),
        _ => Err(MessageTooLong),
    }
}

#[cfg(test)]
mod tests;
