//! Every key that comes from a KEK version, and its id.
//!
//! All are HKDF-Expand with HMAC-SHA-256 (RFC 5869 §2.3) over the version's 32 random bytes as PRK. The labels
//! end in a NUL and what follows has a fixed length, so no two `info` strings can be equal.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::aead::AesGcm;
use crate::{Key256, KeyId};

const WRAP: &[u8] = b"kdc-envelope local wrap v1\0";
const NONCE: &[u8] = b"kdc-envelope local nonce v1\0";
const KEY_ID: &[u8] = b"kdc-envelope local key id v1\0";
const ROOT_SECRET: &[u8] = b"kdc-envelope local root secret v1\0";

/// Length in bytes of the salt that separates the writers of one version.
pub(super) const SALT_LEN: usize = 16;
/// Length in bytes of a keyring's identity.
pub(super) const KEYRING_ID_LEN: usize = 16;
const FINGERPRINT_LEN: usize = 12;

/// The AES-256-GCM key under which one writer wraps.
pub(super) fn wrapping_key(version: &Key256, salt: &[u8; SALT_LEN]) -> AesGcm {
    let key: Zeroizing<[u8; Key256::LEN]> = expand(version, &[WRAP, salt]);
    AesGcm::new_256(&key)
}

/// The HMAC key under which one writer makes its nonces.
pub(super) fn nonce_key(version: &Key256, salt: &[u8; SALT_LEN]) -> Key256 {
    Key256::new(*expand(version, &[NONCE, salt]))
}

/// The public name of a version: `local-v<number>-<fingerprint>`.
///
/// The fingerprint covers the keyring, the version's number and creation time, and the key itself, so equal ids mean
/// equal keys. It tells nothing about the key: HKDF is one-way and the key has 256 random bits.
pub(super) fn key_id(
    version: &Key256,
    keyring: &[u8; KEYRING_ID_LEN],
    number: u32,
    created: u64,
) -> Box<str> {
    let fingerprint: Zeroizing<[u8; FINGERPRINT_LEN]> = expand(
        version,
        &[
            KEY_ID,
            keyring,
            &number.to_be_bytes(),
            &created.to_be_bytes(),
        ],
    );
    format!("local-v{number}-{}", hex::encode(fingerprint.as_slice())).into()
}

/// The identity of the keyring that a bare root secret stands for.
pub(super) fn root_secret_keyring(root: &Key256) -> [u8; KEYRING_ID_LEN] {
    *expand(root, &[ROOT_SECRET])
}

fn expand<const N: usize>(version: &Key256, info: &[&[u8]]) -> Zeroizing<[u8; N]> {
    let mut output = Zeroizing::new([0; N]);
    // The PRK has exactly the length of the hash, and one block is asked for: neither call can refuse.
    let expanded = Hkdf::<Sha256>::from_prk(version.expose())
        .map(|prk| prk.expand_multi_info(info, output.as_mut()).is_ok());
    debug_assert!(matches!(expanded, Ok(true)));
    output
}

const _: () = assert!(
    "local-v4294967295-".len() + 2 * FINGERPRINT_LEN <= KeyId::MAX_OWN_LEN,
    "own key ids are short"
);
