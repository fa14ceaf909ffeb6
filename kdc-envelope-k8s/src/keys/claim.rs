//! Who is rotating a key: a note on the KMSKey, written with its resource version before the key is touched.
//!
//! Two rotations of one key that overlap can lose a version in OpenBao. The Lease of the controller keeps processes apart as long as
//! clocks run; the note also holds against one that was stopped and goes on, and against other tools that look for it.

use core::fmt;
use core::str::FromStr;

use jiff::{SignedDuration, Timestamp};

/// The annotation: `3@2026-06-07T10:00:00Z` while version 3 is being replaced, with ` unverified` behind it if its end is not known.
pub const ROTATION_CLAIM: &str = "security.kube-dc.com/rotation-claim";

/// How long a claim keeps others away. The holder rotates within a minute of it or not at all.
pub const CLAIM_LIFETIME: SignedDuration = SignedDuration::from_mins(3);

/// A rotation that began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claim {
    /// The newest version before.
    pub from: u32,
    /// When it began.
    pub since: Timestamp,
    /// Whether it ended in a way that an operator has to look at.
    pub is_unverified: bool,
}

/// The annotation holds something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("annotation {ROTATION_CLAIM} is `{0}`, which is no version and time")]
pub struct InvalidClaim(Box<str>);

impl Claim {
    /// A rotation of version `from` that begins now.
    #[must_use]
    pub const fn new(from: u32, now: Timestamp) -> Self {
        Self {
            from,
            since: now,
            is_unverified: false,
        }
    }

    /// The same, whose end is not known.
    #[must_use]
    pub const fn unverified(self) -> Self {
        Self {
            is_unverified: true,
            ..self
        }
    }

    /// When others may take it over. `None` beyond the end of time.
    #[must_use]
    pub fn expiry(&self) -> Option<Timestamp> {
        self.since.checked_add(CLAIM_LIFETIME).ok()
    }
}

const UNVERIFIED: &str = " unverified";

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_unverified { UNVERIFIED } else { "" };
        write!(f, "{}@{}{mark}", self.from, self.since)
    }
}

impl FromStr for Claim {
    type Err = InvalidClaim;

    fn from_str(text: &str) -> Result<Self, InvalidClaim> {
        let (claim, is_unverified) = match text.strip_suffix(UNVERIFIED) {
            Some(claim) => (claim, true),
            None => (text, false),
        };
        let parsed = claim.split_once('@').and_then(|(from, since)| {
            Some(Self {
                from: from.parse().ok()?,
                since: since.parse().ok()?,
                is_unverified,
            })
        });
        parsed.ok_or_else(|| InvalidClaim(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_read_as_it_was_written() {
        let claim = Claim::new(3, Timestamp::from_second(1_780_000_000).unwrap());
        for claim in [claim, claim.unverified()] {
            assert_eq!(claim.to_string().parse(), Ok(claim));
        }
        for text in [
            "",
            "3",
            "@",
            "3@yesterday",
            "x@2026-06-07T10:00:00Z",
            " unverified",
        ] {
            assert!(text.parse::<Claim>().is_err(), "{text}");
        }
    }
}
