//! Durations as Go writes them (`time.ParseDuration`), which other parsers read differently: `1.5h` and `1h30m` are
//! valid, `3 s`, `3sec` and `1d` are not.

use core::time::Duration;

/// The largest duration of Go, in nanoseconds.
const MAX_NANOS: u128 = i64::MAX as u128;

/// A duration that is not negative; `None` if Go would refuse it, or for a negative one.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut nanos = 0u128;
    loop {
        let (whole, after_whole) = digits(rest);
        let (fraction, after_number) = match after_whole.strip_prefix('.') {
            Some(after_point) => digits(after_point),
            None => ("", after_whole),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let unit_len = after_number
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after_number.len());
        let (unit, after_unit) = after_number.split_at_checked(unit_len)?;
        let unit = unit_nanos(unit)?;
        nanos = nanos.checked_add(scale(whole, fraction, unit)?)?;
        if nanos > MAX_NANOS {
            return None;
        }
        if after_unit.is_empty() {
            return u64::try_from(nanos).ok().map(Duration::from_nanos);
        }
        rest = after_unit;
    }
}

fn digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

fn unit_nanos(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// `whole.fraction` units in nanoseconds, what is less cut off.
fn scale(whole: &str, fraction: &str, unit: u128) -> Option<u128> {
    let whole: u128 = match whole {
        "" => 0,
        digits => digits.parse().ok().filter(|whole| *whole <= MAX_NANOS)?,
    };
    let mut nanos = whole * unit;
    let mut place_value = unit * 1_000_000_000_000;
    let mut below = 0;
    for digit in fraction.bytes().take(15) {
        place_value /= 10;
        below += u128::from(digit - b'0') * place_value;
    }
    nanos += below / 1_000_000_000_000;
    Some(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, nanos) in [
            ("0", 0),
            ("3s", 3_000_000_000),
            ("+3s", 3_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("500ms", 500_000_000),
            ("7us", 7_000),
            ("7\u{b5}s", 7_000),
            ("7\u{3bc}s", 7_000),
            ("0.1ns", 0),
            ("0s", 0),
            ("9223372036854775807ns", 9_223_372_036_854_775_807),
        ] {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in [
            "",
            "+",
            "3",
            "3 s",
            " 3s",
            "3s ",
            "3sec",
            "1d",
            "s",
            ".s",
            "1..5s",
            "3S",
            "1e3s",
            "--3s",
            "\u{0663}s",
            "9223372036854775808ns",
            "2562048h",
            "99999999999999999999999999999999999999999h",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
