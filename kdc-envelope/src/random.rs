//! The one source of randomness: the kernel.

/// The kernel could not deliver random bytes. Nothing can be encrypted safely then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the kernel's random number generator failed")]
#[non_exhaustive]
pub struct RandomError;

/// Fills `buffer` with random bytes.
///
/// # Errors
/// [`RandomError`] if the kernel cannot deliver them; the buffer's content is then unspecified.
pub fn fill(buffer: &mut [u8]) -> Result<(), RandomError> {
    getrandom::fill(buffer).map_err(|_| RandomError)
}

/// `N` random bytes, for nonces and salts.
pub(crate) fn array<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}
