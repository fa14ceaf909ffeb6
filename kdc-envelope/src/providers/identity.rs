//! The `identity` provider: the object is stored as it is.

use super::{OpenError, RESERVED_PREFIX};

/// The object in a plain value, which is all of it.
///
/// # Errors
/// [`OpenError::Encrypted`] if the value begins with [`RESERVED_PREFIX`]: no object does, so it is encrypted by a provider
/// that the configuration lacks.
pub fn open(value: &[u8]) -> Result<&[u8], OpenError> {
    if value.starts_with(RESERVED_PREFIX) {
        return Err(OpenError::Encrypted);
    }
    Ok(value)
}
