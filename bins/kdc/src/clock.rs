//! The only place that reads a clock.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// The time in seconds since 1970-01-01 UTC.
pub(crate) fn now() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "a command line is an outermost layer: what it calls takes the time as a parameter"
    )]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// A time of a keyring in RFC 3339; `None` for 0, which means unknown, and for times that the calendar cannot represent.
pub(crate) fn rfc3339(seconds: u64) -> Option<String> {
    let seconds = i64::try_from(seconds).ok().filter(|seconds| *seconds > 0)?;
    Timestamp::from_second(seconds)
        .ok()
        .map(|time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn times_are_utc_and_never_fail() {
        assert_eq!(rfc3339(1_750_000_000).unwrap(), "2025-06-15T15:06:40Z");
        assert_eq!(rfc3339(0), None);
        assert_eq!(rfc3339(u64::MAX), None);
    }
}
