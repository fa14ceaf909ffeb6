//! A bare 32-byte secret as a keyring of one version, as mounted from a Kubernetes Secret.
//!
//! It cannot rotate: another secret is another keyring with another key id. Take a keyring file where keys must rotate.

use std::path::Path;

use super::keyring_file::KeyringFileError;
use super::{Keyring, private_file};
use crate::Key256;

/// Reads the secret in `path`: exactly 32 bytes, not readable by others.
///
/// # Errors
/// [`KeyringFileError`], naming the file.
pub fn load(path: &Path) -> Result<Keyring, KeyringFileError> {
    let bytes = private_file::read(path)?;
    Key256::from_slice(&bytes)
        .map(Keyring::from_root_secret)
        .ok_or_else(|| KeyringFileError::RootSecretLength {
            path: path.to_owned(),
            len: bytes.len(),
        })
}
