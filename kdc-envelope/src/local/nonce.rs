//! The nonces of one writer: a keyed hash of a counter and of all that is encrypted with them.
//!
//! ```text
//! nonce = first 12 bytes of HMAC-SHA-256(nonce key, count (8) ‖ length of AAD (8) ‖ AAD ‖ plaintext)
//! ```
//!
//! # Why no nonce repeats where it would matter
//! Under one AES-GCM key a nonce must not come twice with different messages. The nonce key belongs to the same version and salt as
//! the AES-GCM key, and to nothing else, so both are shared by the same writers. The hash input can be split in one way only, which
//! leaves two cases for two messages under one key:
//!
//! * Count, AAD or plaintext differ. Then the inputs differ, and as HMAC-SHA-256 is a pseudorandom function the nonces are as
//!   independent as random ones: they collide with probability 2^-96. For 2^32 messages that is 2^-33 in all, within the 2^-32 of
//!   NIST SP 800-38D §8.
//! * All three are equal. Then nonce, associated data and plaintext are equal, and AES-GCM gives the same bytes again. Nothing is
//!   encrypted twice under one nonce; the most that shows is that the same secret was wrapped again.
//!
//! Nothing here depends on a counter that never goes back, or on random bytes that are drawn at the right moment. The second case
//! is the only one in which the count matters, and it is what happens when memory is duplicated: by a fork, by a virtual machine
//! that is cloned, or by one that goes back to a snapshot. There a plain counter, or random bytes drawn in advance, would put one
//! nonce on two different messages. The bound of messages then holds for each copy; *n* copies together reach a probability of
//! *n*² · 2^-33 before each of them takes a new salt.
//!
//! A restart, another process and another replica have a salt of their own, of 128 random bits from the kernel, and so other keys.
//! Should two of them draw the same salt, as clones with the same state of the kernel's generator would, they are copies as above.
//! The idea is that of the synthetic nonce of AES-GCM-SIV (RFC 8452) and of hedged signatures; the format needs no change, since a
//! reader takes the nonce as it comes. It needs no system call for a message.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::aead::{NONCE_LEN, Nonce};
use crate::{Aad, Key256};

/// Makes the nonces of one AES-GCM key. Its state is wiped on drop.
pub(super) struct Nonces(Hmac<Sha256>);

impl Nonces {
    /// `key` belongs to the same version and salt as the AES-GCM key, and is used for nothing else.
    pub(super) fn new(key: &Key256) -> Self {
        let hmac = Hmac::new_from_slice(key.expose());
        Self(hmac.expect("HMAC takes keys of any length"))
    }

    /// The nonce of the message with this number.
    pub(super) fn nonce(&self, count: u64, aad: Aad<'_>, plaintext: &[u8]) -> Nonce {
        let aad = aad.as_bytes();
        let mut hmac = self.0.clone();
        hmac.update(&count.to_be_bytes());
        hmac.update(&(aad.len() as u64).to_be_bytes());
        hmac.update(aad);
        hmac.update(plaintext);
        let mut nonce = [0; NONCE_LEN];
        for (to, from) in nonce.iter_mut().zip(hmac.finalize().into_bytes()) {
            *to = from;
        }
        nonce
    }
}

impl core::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Nonces(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::local::schedule;

    const VERSION: [u8; 32] = [0x11; 32];
    const SALT: [u8; schedule::SALT_LEN] = [0x22; schedule::SALT_LEN];

    fn nonces() -> Nonces {
        Nonces::new(&schedule::nonce_key(&Key256::new(VERSION), &SALT))
    }

    /// Made with Python's `hmac` and `hashlib`.
    #[test]
    fn nonces_are_those_of_the_vectors() {
        let of = |count, aad: &'static [u8], plaintext: &[u8]| {
            hex::encode(nonces().nonce(count, Aad::new(aad), plaintext))
        };
        assert_eq!(of(0, b"", b"seed"), "d5edd931d59e7f02d96a108a");
        assert_eq!(of(1, b"", b"seed"), "7358e64fa77e38ee7dc81ca3");
        assert_eq!(
            of(u64::MAX, b"scope", &[0xff; 256]),
            "d440c7b6410d1e1d71eb9dc0"
        );
    }

    #[test]
    fn what_moves_between_aad_and_plaintext_changes_the_nonce() {
        let of = |aad, plaintext| nonces().nonce(7, Aad::new(aad), plaintext);
        assert_ne!(of(b"ab", b"c"), of(b"a", b"bc"));
        assert_ne!(of(b"", b"abc"), of(b"abc", b""));
    }

    #[test]
    fn another_salt_or_version_has_other_nonces() {
        let of = |version: u8, salt: u8| {
            let key = schedule::nonce_key(&Key256::new([version; 32]), &[salt; schedule::SALT_LEN]);
            Nonces::new(&key).nonce(0, Aad::EMPTY, b"seed")
        };
        assert_ne!(of(1, 1), of(1, 2));
        assert_ne!(of(1, 1), of(2, 1));
    }

    fn message() -> impl Strategy<Value = (u64, Vec<u8>, Vec<u8>)> {
        let bytes = || proptest::collection::vec(0_u8..2, 0..4);
        (0_u64..3, bytes(), bytes())
    }

    proptest! {
        /// From a space so small that equal messages come up.
        #[test]
        fn nonces_are_equal_for_equal_messages_alone(a in message(), b in message()) {
            let of = |(count, aad, plaintext): &(u64, Vec<u8>, Vec<u8>)| {
                nonces().nonce(*count, Aad::new(aad), plaintext)
            };
            prop_assert_eq!(of(&a) == of(&b), a == b);
        }
    }
}
