//! How a Transit key is used.

use core::time::Duration;
use std::time::SystemTime;

/// How a Transit key is used.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TransitOptions {
    /// How often the key is read; each time is up to a fifth shorter or longer. Default 60 s.
    pub poll_interval: Duration,
    /// How old a new version must be before it wraps; longer than it takes every replica to see it. Default 3 minutes.
    pub hold: Duration,
    /// How often it is proven by wrapping and unwrapping that both still work. Default 10 minutes.
    pub proof_interval: Duration,
    /// Whether rows of other plugins with plain Transit ciphertexts are opened. Default yes.
    pub opens_plain_rows: bool,
    /// The clock of this machine. It decides how old a version is only where that of OpenBao cannot be right. Default
    /// [`SystemTime::now`].
    pub clock: fn() -> SystemTime,
}

impl Default for TransitOptions {
    #[expect(
        clippy::disallowed_methods,
        reason = "a default; another clock can be set"
    )]
    fn default() -> Self {
        Self {
            poll_interval: Duration::from_secs(60),
            hold: Duration::from_secs(180),
            proof_interval: Duration::from_secs(600),
            opens_plain_rows: true,
            clock: SystemTime::now,
        }
    }
}
