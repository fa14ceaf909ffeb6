//! How long to wait before the next attempt, by the kind of the error.

use core::time::Duration;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use super::ErrorKind;

/// The wait before attempt `failures + 1`, between half of it and all of it, so that many objects do not come back at once.
pub(super) fn wait(kind: ErrorKind, failures: u32) -> Duration {
    let (first, longest) = bounds(kind);
    let doublings = failures.saturating_sub(1).min(20);
    let full = first.saturating_mul(1 << doublings).min(longest);
    full.mul_f64(0.5 + 0.5 * random_fraction())
}

/// The first wait and the longest one.
const fn bounds(kind: ErrorKind) -> (Duration, Duration) {
    let millis = Duration::from_millis;
    match kind {
        ErrorKind::Transient => (millis(500), millis(60_000)),
        // What was read is old: the watch brings the new state in a moment.
        ErrorKind::Conflict | ErrorKind::Missing => (millis(100), millis(10_000)),
        // Only people help, and they take minutes.
        ErrorKind::Denied | ErrorKind::Rejected => (millis(5_000), millis(300_000)),
        // A change of the object comes by itself; this is for what the object depends on.
        ErrorKind::Invalid => (millis(60_000), millis(600_000)),
        ErrorKind::NotLeader => (millis(1_000), millis(1_000)),
        ErrorKind::Internal => (millis(5_000), millis(600_000)),
    }
}

/// From 0 to 1, without a source of random numbers: a fresh key of the standard library's hash.
fn random_fraction() -> f64 {
    let hash = RandomState::new().hash_one(0u8);
    let digits = u32::try_from(hash >> 32).unwrap_or_default();
    f64::from(digits) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit() {
        for kind in [ErrorKind::Transient, ErrorKind::Conflict, ErrorKind::Denied] {
            let (first, longest) = bounds(kind);
            let waits = |failures| (0..50).map(move |_| wait(kind, failures));
            assert!(waits(1).all(|wait| wait >= first / 2 && wait <= first));
            assert!(waits(3).all(|wait| wait >= first * 2 && wait <= first * 4));
            for failures in [30, u32::MAX] {
                assert!(waits(failures).all(|wait| wait >= longest / 2 && wait <= longest));
            }
        }
    }
}
