//! How a Transit key is used.

use core::time::Duration;
use std::time::SystemTime;

/// How a Transit key is used.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TransitOptions {
    /// How often the key is read; each time is up to a fifth shorter or longer. Default 60 s.
    pub poll_interval: Duration,
    /// How old a new version must be before it wraps. Default 7 minutes.
    ///
    /// Longer than it takes every replica to see it, and longer by [`HOLD_MARGIN`](Self::HOLD_MARGIN) than a replica that is cut off
    /// from OpenBao stays in use: it cannot open what others wrap with a version that it has not seen.
    pub hold: Duration,
    /// For how long after the last proof [`status`](kdc_envelope::KeyEncryptionKey::status) goes on to name the same key id while OpenBao
    /// cannot be reached. Zero: not at all. Default 5 minutes, as long as a [cache](kdc_envelope::cache::Limits) keeps what it unwrapped.
    ///
    /// It covers what tells nothing about the key: failed connections, timeouts, passing statuses of 5xx, rate limits, and for at most
    /// 30 s a server that says it is sealed. Any other answer ends it until the next proof, and before the first proof there is none.
    /// Meanwhile [`KekStatus::degraded`](kdc_envelope::KekStatus::degraded) says why.
    ///
    /// Never longer than [`longest_status_grace`](Self::longest_status_grace), whatever is set here.
    pub status_grace: Duration,
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
            hold: Duration::from_secs(420),
            status_grace: Duration::from_secs(300),
            proof_interval: Duration::from_secs(600),
            opens_plain_rows: true,
            clock: SystemTime::now,
        }
    }
}

impl TransitOptions {
    /// How much longer than the status grace the hold must be: as long as kube-apiserver and the readiness probes of a Service need to
    /// take a replica out of use once its status fails, and half as long again.
    pub const HOLD_MARGIN: Duration = Duration::from_secs(90);

    /// The longest status grace that the hold allows: the hold without [`HOLD_MARGIN`](Self::HOLD_MARGIN).
    #[must_use]
    pub const fn longest_status_grace(&self) -> Duration {
        self.hold.saturating_sub(Self::HOLD_MARGIN)
    }

    /// The status grace that takes effect.
    pub(super) fn effective_status_grace(&self) -> Duration {
        self.status_grace.min(self.longest_status_grace())
    }
}
