//! Intervals of key rotation as Kubernetes objects spell them: `90d`, `2160h`, `1d12h30m`.
//!
//! The grammar is that of the published KMSKey definition: one or more whole numbers, each with a unit and without leading zeros.
//! KdcClusters take the units `d`, `h`, `m` and `s` alone. Neither takes weeks, signs, fractions or spaces.

use core::fmt;
use core::ops::RangeInclusive;
use core::time::Duration;

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// How far apart the rotations of the key of a cluster may be: 7 to 730 days.
pub const CLUSTER_BOUNDS: RangeInclusive<Duration> =
    Duration::from_nanos(7 * DAY)..=Duration::from_nanos(730 * DAY);

/// How far apart the rotations of any other key may be: from one hour, which is the least that OpenBao rotates a key by itself
/// after, to 730 days.
pub const KEY_BOUNDS: RangeInclusive<Duration> =
    Duration::from_nanos(HOUR)..=Duration::from_nanos(730 * DAY);

/// Which units an interval may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Units {
    /// `d`, `h`, `m` and `s`, as in `spec.encryption.etcd.kekRotation.interval` of a KdcCluster.
    Cluster,
    /// These and `ms`, `us` and `ns`, as in `spec.rotation.interval` of a KMSKey.
    Key,
}

impl Units {
    fn nanos(self, unit: &str) -> Option<u64> {
        Some(match (unit, self) {
            ("d", _) => DAY,
            ("h", _) => HOUR,
            ("m", _) => MINUTE,
            ("s", _) => SECOND,
            ("ms", Self::Key) => 1_000_000,
            ("us", Self::Key) => 1_000,
            ("ns", Self::Key) => 1,
            _ => return None,
        })
    }

    const fn names(self) -> &'static str {
        match self {
            Self::Cluster => "d, h, m and s",
            Self::Key => "d, h, m, s, ms, us and ns",
        }
    }
}

/// Why an interval is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IntervalError {
    /// There is no text.
    #[error("the interval is empty; write one such as 90d")]
    Empty,
    /// A number is missing, is zero, or begins with zero.
    #[error(
        "`{text}` has no whole number above 0 at offset {offset}; write an interval such as 90d"
    )]
    Number {
        /// What was given.
        text: Box<str>,
        /// In bytes.
        offset: usize,
    },
    /// Weeks, which other tools know.
    #[error("`{text}` counts weeks (w), which are not supported; write days, such as 14d for 2w")]
    Weeks {
        /// What was given.
        text: Box<str>,
    },
    /// A unit is missing or not known.
    #[error("`{text}` has no unit at offset {offset}; the units are {units}")]
    Unit {
        /// What was given.
        text: Box<str>,
        /// In bytes.
        offset: usize,
        /// Which there are.
        units: &'static str,
    },
    /// More than 584 years, which is more than can be counted.
    #[error("`{text}` is too long")]
    Overflow {
        /// What was given.
        text: Box<str>,
    },
    /// Shorter than is allowed.
    #[error("`{given}` is shorter than {least}, the shortest interval that is allowed here")]
    TooShort {
        /// What was given.
        given: Box<str>,
        /// The lower bound.
        least: Box<str>,
    },
    /// Longer than is allowed.
    #[error("`{given}` is longer than {most}, the longest interval that is allowed here")]
    TooLong {
        /// What was given.
        given: Box<str>,
        /// The upper bound.
        most: Box<str>,
    },
}

/// An interval, with the text that it was given as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval {
    text: Box<str>,
    duration: Duration,
}

impl Interval {
    /// Reads an interval of any length.
    ///
    /// ```
    /// use core::time::Duration;
    /// use kdc_envelope_k8s::crd::interval::{CLUSTER_BOUNDS, Interval, Units};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let quarter = Interval::parse("90d", Units::Cluster)?.within(&CLUSTER_BOUNDS)?;
    /// assert_eq!(quarter.duration(), Duration::from_hours(2160));
    /// assert!(Interval::parse("2w", Units::Cluster).is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`IntervalError`], for anything but the bounds.
    pub fn parse(text: &str, units: Units) -> Result<Self, IntervalError> {
        if text.is_empty() {
            return Err(IntervalError::Empty);
        }
        let mut nanos = 0u64;
        let mut rest = text;
        while !rest.is_empty() {
            let offset = text.len() - rest.len();
            let (number, after_number) = split_at(rest, |c| !c.is_ascii_digit());
            if !number.starts_with(|c: char| matches!(c, '1'..='9')) {
                let text = text.into();
                return Err(IntervalError::Number { text, offset });
            }
            let (unit, after_unit) = split_at(after_number, |c| c.is_ascii_digit());
            if unit == "w" {
                return Err(IntervalError::Weeks { text: text.into() });
            }
            let unit = units.nanos(unit).ok_or_else(|| IntervalError::Unit {
                text: text.into(),
                offset: offset + number.len(),
                units: units.names(),
            })?;
            let part: Option<u64> = number.parse().ok();
            let sum = part.and_then(|part| nanos.checked_add(part.checked_mul(unit)?));
            nanos = sum.ok_or_else(|| IntervalError::Overflow { text: text.into() })?;
            rest = after_unit;
        }
        Ok(Self {
            text: text.into(),
            duration: Duration::from_nanos(nanos),
        })
    }

    /// The interval, if it is not shorter and not longer than `bounds`.
    ///
    /// # Errors
    /// [`IntervalError::TooShort`] and [`IntervalError::TooLong`].
    pub fn within(self, bounds: &RangeInclusive<Duration>) -> Result<Self, IntervalError> {
        if self.duration < *bounds.start() {
            let least = spelled(*bounds.start()).into();
            let given = self.text;
            return Err(IntervalError::TooShort { given, least });
        }
        if self.duration > *bounds.end() {
            let most = spelled(*bounds.end()).into();
            let given = self.text;
            return Err(IntervalError::TooLong { given, most });
        }
        Ok(self)
    }

    /// How long it is; never zero.
    #[must_use]
    pub const fn duration(&self) -> Duration {
        self.duration
    }
}

/// As it was given.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The duration in the largest unit that it is a multiple of, in a form that [`Interval::parse`] reads unless it is zero.
#[must_use]
pub fn spelled(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let units = [
        ("d", DAY),
        ("h", HOUR),
        ("m", MINUTE),
        ("s", SECOND),
        ("ms", 1_000_000),
        ("us", 1_000),
    ];
    let unit = units
        .into_iter()
        .find(|(_, unit)| nanos.is_multiple_of(u128::from(*unit)));
    let (name, unit) = unit.unwrap_or(("ns", 1));
    format!("{}{name}", nanos / u128::from(unit))
}

/// What is before and from the first character that `is_end`.
fn split_at(text: &str, is_end: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(is_end).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cluster(text: &str) -> Result<Interval, IntervalError> {
        Interval::parse(text, Units::Cluster)
    }

    #[test]
    fn days_hours_minutes_and_seconds_add_up() {
        for (text, seconds) in [
            ("90d", 90 * 86_400),
            ("2160h", 90 * 86_400),
            ("1d12h30m5s", 86_400 + 43_200 + 1_800 + 5),
            ("7d", 604_800),
            ("1s1s", 2),
        ] {
            let read = cluster(text).unwrap();
            assert_eq!(read.duration(), Duration::from_secs(seconds), "{text}");
            assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn weeks_are_refused_by_name() {
        for text in ["2w", "1d1w"] {
            let error = cluster(text).unwrap_err();
            assert!(matches!(error, IntervalError::Weeks { .. }), "{text}");
            assert!(error.to_string().contains("weeks (w)"), "{error}");
        }
    }

    #[test]
    fn what_is_no_interval_is_refused_with_the_place() {
        for (text, place) in [
            ("d", 0),
            ("0d", 0),
            ("090d", 0),
            ("-90d", 0),
            (" 90d", 0),
            ("1d0h", 2),
        ] {
            let expected = IntervalError::Number {
                text: text.into(),
                offset: place,
            };
            assert_eq!(cluster(text), Err(expected), "{text}");
        }
        // The last has a digit that is none of ASCII's.
        for (text, place) in [
            ("90", 2),
            ("90 d", 2),
            ("1.5h", 1),
            ("90D", 2),
            ("5ms", 1),
            ("1d\u{663}h", 1),
        ] {
            let error = cluster(text).unwrap_err();
            let is_unit = matches!(error, IntervalError::Unit { offset, .. } if offset == place);
            assert!(is_unit, "{text}: {error}");
        }
        assert_eq!(cluster(""), Err(IntervalError::Empty));
        let long = cluster("99999999999999999999d").unwrap_err();
        assert!(matches!(long, IntervalError::Overflow { .. }));
    }

    #[test]
    fn keys_have_more_units_than_clusters() {
        let read = Interval::parse("1ms2us3ns", Units::Key).unwrap();
        assert_eq!(read.duration(), Duration::from_nanos(1_002_003));
    }

    #[test]
    fn bounds_are_allowed_and_what_is_beyond_is_not() {
        for text in ["7d", "730d", "168h", "17520h"] {
            cluster(text).unwrap().within(&CLUSTER_BOUNDS).unwrap();
        }
        let short = cluster("167h59m59s").unwrap().within(&CLUSTER_BOUNDS);
        assert!(short.unwrap_err().to_string().contains("shorter than 7d"));
        let long = cluster("730d1s").unwrap().within(&CLUSTER_BOUNDS);
        assert!(long.unwrap_err().to_string().contains("longer than 730d"));
        let short = cluster("59m").unwrap().within(&KEY_BOUNDS).unwrap_err();
        assert!(short.to_string().contains("shorter than 1h"), "{short}");
    }

    proptest! {
        #[test]
        fn what_is_spelled_is_read_back(nanos in 1..u64::MAX) {
            let duration = Duration::from_nanos(nanos);
            let read = Interval::parse(&spelled(duration), Units::Key).unwrap();
            prop_assert_eq!(read.duration(), duration);
        }

        #[test]
        fn clusters_take_no_more_than_keys(text in "([0-9]{0,3}[dhmsnw ]{0,2}){0,3}|\\PC*") {
            let of_key = Interval::parse(&text, Units::Key);
            if let Ok(of_cluster) = cluster(&text) {
                prop_assert_eq!(Ok(&of_cluster), of_key.as_ref());
                if let Ok(within) = of_cluster.within(&CLUSTER_BOUNDS) {
                    prop_assert!(CLUSTER_BOUNDS.contains(&within.duration()));
                }
            }
            if let Ok(interval) = of_key {
                prop_assert!(!interval.duration().is_zero());
                prop_assert_eq!(interval.to_string(), text);
            }
        }
    }
}
