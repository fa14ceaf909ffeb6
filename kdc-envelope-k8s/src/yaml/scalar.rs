//! What a scalar of YAML 1.1 is (`resolve` in `go.yaml.in/yaml/v2`), and what becomes of it in JSON.

use zeroize::Zeroizing;

use super::Value;
use crate::encryption_config::go_base64;

/// A tag that decides what a scalar is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    /// None: the notation decides.
    None,
    Text,
    Bool,
    Integer,
    Float,
    Null,
    Timestamp,
    Binary,
    /// Any other, which upstream takes for text.
    Unknown,
}

/// The value of a scalar; `None` if its tag does not fit it.
pub(super) fn resolve(text: &str, is_plain: bool, tag: Tag) -> Option<Value> {
    let as_text = || Value::Text(Zeroizing::new(text.to_owned()));
    let found = || plain(text).unwrap_or_else(as_text);
    match tag {
        Tag::None if is_plain => Some(found()),
        Tag::None | Tag::Text | Tag::Unknown => Some(as_text()),
        Tag::Bool => Some(found()).filter(|value| matches!(value, Value::Bool(_))),
        Tag::Integer => {
            let is_whole = integer(text).is_some();
            is_whole.then(found)
        }
        Tag::Float => {
            let is_number = |value: &Value| matches!(value, Value::Integer(_) | Value::OtherNumber);
            Some(found()).filter(is_number)
        }
        Tag::Null => Some(found()).filter(|value| matches!(value, Value::Null)),
        // Upstream takes a date, as text. No file of ours has one.
        Tag::Timestamp => None,
        Tag::Binary => {
            let bytes = Zeroizing::new(go_base64(text)?);
            // Encoding it in JSON replaces what is not UTF-8.
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Some(Value::Text(Zeroizing::new(text)))
        }
    }
}

/// A plain scalar that is something else than text.
fn plain(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Value::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Some(Value::Bool(true));
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Some(Value::Bool(false));
        }
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF"
        | "-.inf" | "-.Inf" | "-.INF" => return Some(Value::OtherNumber),
        _ => {}
    }
    let first = text.bytes().next()?;
    match first {
        b'0'..=b'9' | b'+' | b'-' => {
            let digits = text.replace('_', "");
            integer(&digits).or_else(|| float(&digits))
        }
        b'.' => float(text),
        _ => None,
    }
}

/// As Go's `strconv.ParseInt` and `ParseUint` with base 0.
fn integer(text: &str) -> Option<Value> {
    let digits = text.replace('_', "");
    let (is_negative, unsigned) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits.strip_prefix('+').unwrap_or(&digits)),
    };
    let lower = unsigned.to_ascii_lowercase();
    let (base, number) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, lower.get(2..)?),
        [b'0', b'o', ..] => (8, lower.get(2..)?),
        [b'0', b'b', ..] => (2, lower.get(2..)?),
        [b'0', _, ..] => (8, lower.get(1..)?),
        _ => (10, lower.as_str()),
    };
    // A second sign is none to Go.
    if !number.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = u64::from_str_radix(number, base).ok()?;
    let magnitude = i128::from(magnitude);
    let signed = if is_negative { -magnitude } else { magnitude };
    if signed < i128::from(i64::MIN) {
        return None;
    }
    Some(i64::try_from(signed).map_or(Value::OtherNumber, Value::Integer))
}

/// As the expression `yamlStyleFloat`. What is whole is written into JSON without a point, so that it is an integer again.
fn float(text: &str) -> Option<Value> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (unsigned.get(..at)?, unsigned.get(at + 1..)),
        None => (unsigned, None),
    };
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let is_exponent = |part: &str| is_digits(part.strip_prefix(['+', '-']).unwrap_or(part));
    let is_mantissa = match mantissa.split_once('.') {
        Some(("", fraction)) => is_digits(fraction),
        Some((whole, fraction)) => is_digits(whole) && (fraction.is_empty() || is_digits(fraction)),
        None => is_digits(mantissa),
    };
    if !is_mantissa || !exponent.is_none_or(is_exponent) {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    if !number.is_finite() {
        return None;
    }
    let is_whole = number.fract() == 0.0 && number.abs() < LARGEST_WHOLE;
    let whole = is_whole
        .then(|| format!("{number:.0}").parse().ok())
        .flatten();
    Some(whole.map_or(Value::OtherNumber, Value::Integer))
}

/// From here on Go writes exponents into JSON.
const LARGEST_WHOLE: f64 = 1e21;
