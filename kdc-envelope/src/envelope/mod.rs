//! Envelope encryption of any data under any [`KeyEncryptionKey`](crate::KeyEncryptionKey).
//!
//! [`EnvelopeCipher`] encrypts data under a random data encryption key (DEK), which the KEK wraps. One DEK serves many
//! messages, within [`DekLimits`]; unwrapped DEKs are cached. An envelope carries all that is needed to open it but the
//! KEK, and can be moved to a newer KEK version without touching the data. The format is in `docs/formats.md`.

mod cipher;
mod dek;
mod error;
mod format;

pub use cipher::EnvelopeCipher;
pub use dek::{DekLimits, InvalidLimits};
pub use error::{OpenError, RewrapError, SealError};
pub use format::{Envelope, ParseError};
