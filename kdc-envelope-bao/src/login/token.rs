//! A token, and how long it is good.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use tokio::time::Instant;

use super::method::Granted;
use crate::credential::Secret;

/// A token whose first use is refused so soon after its login was never good, or not where it is used.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A token and what is known about it.
pub(super) struct Token {
    pub(super) secret: Secret,
    /// When the login gave it.
    born: Instant,
    /// When the login or a renewal said how long it is good.
    since: Instant,
    pub(super) ttl: Option<Duration>,
    /// The time to live of the login; a renewal that gives much less has met the maximum.
    first_ttl: Option<Duration>,
    pub(super) is_renewable: bool,
    has_worked: AtomicBool,
}

impl From<Granted> for Token {
    fn from(granted: Granted) -> Self {
        let now = Instant::now();
        Self {
            secret: granted.token,
            born: now,
            since: now,
            ttl: granted.ttl,
            first_ttl: granted.ttl,
            is_renewable: granted.is_renewable,
            has_worked: AtomicBool::new(false),
        }
    }
}

impl Token {
    /// The same token, renewed for `ttl`.
    pub(super) fn renewed(&self, ttl: Option<Duration>, is_renewable: bool) -> Self {
        Self {
            secret: Secret::from(self.secret.expose()),
            born: self.born,
            since: Instant::now(),
            ttl,
            first_ttl: self.first_ttl,
            is_renewable,
            has_worked: AtomicBool::new(self.has_worked()),
        }
    }

    /// Notes that OpenBao knows the token, whatever it may do.
    pub(super) fn works(&self) {
        self.has_worked.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_worked(&self) -> bool {
        self.has_worked.load(Ordering::Relaxed)
    }

    /// Whether a refusal now says something about the login rather than about what happened since. A token of a few seconds ends soon by
    /// itself, which says nothing, and costs OpenBao little.
    pub(super) fn is_fresh(&self) -> bool {
        let ends_soon = self.first_ttl.is_some_and(|ttl| ttl < 2 * AT_ONCE);
        !ends_soon && self.born.elapsed() < AT_ONCE
    }

    pub(super) fn ttl_left(&self) -> Option<Duration> {
        Some(self.ttl?.saturating_sub(self.since.elapsed()))
    }

    pub(super) fn is_over(&self) -> bool {
        self.ttl_left() == Some(Duration::ZERO)
    }

    /// Until two thirds of its time are over.
    pub(super) fn due_in(&self) -> Option<Duration> {
        let due = self.ttl? / 3 * 2;
        Some(due.saturating_sub(self.since.elapsed()))
    }

    pub(super) fn is_due(&self) -> bool {
        self.due_in() == Some(Duration::ZERO)
    }

    /// Whether a renewal gave it at least half of what a login gives.
    pub(super) fn is_worth_keeping(&self) -> bool {
        match (self.ttl, self.first_ttl) {
            (Some(ttl), Some(first)) => ttl >= first / 2,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::method::seconds;

    #[tokio::test]
    async fn no_number_of_a_server_is_too_large_to_calculate_with() {
        for told in [1, 3_600, 1 << 62, 1 << 63, u64::MAX] {
            let token = Token::from(Granted {
                token: Secret::from("s.x"),
                ttl: seconds(told),
                is_renewable: true,
            });
            assert!(!token.is_over() && !token.is_due(), "{told}");
            assert!(
                token.due_in().unwrap() < Duration::from_secs(told),
                "{told}"
            );
            let renewed = token.renewed(seconds(u64::MAX), true);
            assert!(renewed.is_worth_keeping(), "{told}");
            // One second is over soon anyway.
            assert_eq!(renewed.is_fresh(), told > 1, "{told}");
        }
        assert_eq!(seconds(0), None);
    }
}
