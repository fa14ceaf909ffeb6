//! The texts in which people carry a row from etcd to here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::form::{BASE64, BASE64_URL};
use super::printed::{self, BadText};
use crate::etcd::Row;

/// How the bytes of a file or of standard input hold the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum InputFormat {
    /// The value itself.
    #[default]
    Raw,
    /// Hexadecimal digits; white space is ignored, and so is `0x` before them or `\x` before each, as `etcdctl --hex` prints it.
    Hex,
    /// Base64; white space is ignored.
    Base64,
    /// The output of `etcdctl get KEY -w json`, which holds the key too.
    EtcdctlJson,
    /// The output of `etcdctl get KEY -w fields`, which holds the key too.
    EtcdctlFields,
    /// The output of `etcdctl get KEY` of one row: the key, a line feed, the value, a line feed.
    Etcdctl,
    /// The output of `hexdump -C` or `xxd`.
    Hexdump,
}

/// The text is not of the format that was named.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    #[error("not hexadecimal: {0}")]
    Hex(hex::FromHexError),
    #[error("not base64: {0}")]
    Base64(base64::DecodeError),
    #[error("not the output of `etcdctl get -w json`: line {line}, column {column}")]
    Json { line: usize, column: usize },
    #[error("not the output of `etcdctl get -w fields`: {0}")]
    Fields(BadText),
    #[error("not the output of `etcdctl get KEY`: {0}")]
    Etcdctl(BadText),
    #[error("not a hex dump: {0}")]
    Hexdump(BadText),
    #[error("the `{field}` of row {row} is not base64: {source}")]
    Row {
        row: usize,
        field: &'static str,
        source: base64::DecodeError,
    },
}

/// What was read: a value without its key, or rows with theirs.
#[derive(Debug)]
pub(super) enum Input {
    Value(Vec<u8>),
    Rows(Vec<Row>),
}

#[derive(Deserialize)]
struct Etcdctl {
    #[serde(default)]
    kvs: Vec<EtcdctlRow>,
}

/// Other fields are not needed. Empty ones are left out by etcdctl.
#[derive(Deserialize)]
struct EtcdctlRow {
    #[serde(default)]
    key: String,
    #[serde(default)]
    value: String,
}

/// Reads `text` as `format`.
pub(super) fn parse(text: &[u8], format: InputFormat) -> Result<Input, InputError> {
    Ok(match format {
        InputFormat::Raw => Input::Value(text.to_vec()),
        InputFormat::Hex => Input::Value(from_hex(text).map_err(InputError::Hex)?),
        InputFormat::Base64 => Input::Value(from_base64(text).map_err(InputError::Base64)?),
        InputFormat::EtcdctlJson => Input::Rows(etcdctl(text)?),
        InputFormat::EtcdctlFields => {
            Input::Rows(printed::fields(text).map_err(InputError::Fields)?)
        }
        InputFormat::Etcdctl => {
            Input::Rows(vec![printed::etcdctl(text).map_err(InputError::Etcdctl)?])
        }
        InputFormat::Hexdump => Input::Value(printed::hexdump(text).map_err(InputError::Hexdump)?),
    })
}

/// Hexadecimal digits in one of the ways in which they are written.
pub(super) fn from_hex(text: &[u8]) -> Result<Vec<u8>, hex::FromHexError> {
    let mut digits = without_space(text);
    if digits.starts_with(b"\\x") {
        digits.retain(|byte| !matches!(byte, b'\\' | b'x'));
    } else if digits.starts_with(b"0x") {
        digits.drain(..2);
    }
    hex::decode(digits)
}

fn from_base64(text: &[u8]) -> Result<Vec<u8>, base64::DecodeError> {
    let text = without_space(text);
    let usual = BASE64.decode(&text);
    usual.or_else(|error| BASE64_URL.decode(&text).map_err(|_| error))
}

fn without_space(text: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    text.retain(|byte| !byte.is_ascii_whitespace());
    text
}

fn etcdctl(text: &[u8]) -> Result<Vec<Row>, InputError> {
    let answer: Etcdctl = serde_json::from_slice(text).map_err(|error| InputError::Json {
        line: error.line(),
        column: error.column(),
    })?;
    let rows = answer.kvs.into_iter().enumerate();
    rows.map(|(number, row)| {
        let bytes = |field, text| {
            STANDARD.decode(text).map_err(|source| InputError::Row {
                row: number + 1,
                field,
                source,
            })
        };
        Ok(Row {
            key: bytes("key", row.key)?,
            value: bytes("value", row.value)?,
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &[u8], format: InputFormat) -> Vec<u8> {
        match parse(text, format).unwrap() {
            Input::Value(value) => value,
            Input::Rows(rows) => rows.into_iter().next().unwrap().value,
        }
    }

    #[test]
    fn every_format_gives_the_same_value() {
        assert_eq!(value(b"k8s\n", InputFormat::Raw), b"k8s\n");
        assert_eq!(value(b"6B38\n 730a\n", InputFormat::Hex), b"k8s\n");
        assert_eq!(value(b"\\x6b\\x38\\x73\n", InputFormat::Hex), b"k8s");
        assert_eq!(value(b"0x6b3873", InputFormat::Hex), b"k8s");
        assert_eq!(value(b"azh\nzCg==\n", InputFormat::Base64), b"k8s\n");
        assert_eq!(value(b"azhzCg", InputFormat::Base64), b"k8s\n");
        assert_eq!(value(b"_-8=", InputFormat::Base64), b"\xff\xef");
        let printed = b"/a\nk8s\n\n";
        assert_eq!(value(printed, InputFormat::Etcdctl), b"k8s\n");
        let fields = b"\"Key\" : \"/a\"\n\"Value\" : \"k8s\\n\"\n";
        assert_eq!(value(fields, InputFormat::EtcdctlFields), b"k8s\n");
        let dump = b"00000000  6b 38 73 0a  |k8s.|\n";
        assert_eq!(value(dump, InputFormat::Hexdump), b"k8s\n");
        let json = br#"{"header":{"revision":5},"kvs":[{"key":"L2E=","version":1,"value":"azhzCg=="}],"count":1}"#;
        assert_eq!(value(json, InputFormat::EtcdctlJson), b"k8s\n");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let refused = |text: &[u8], format| parse(text, format).unwrap_err().to_string();
        assert_eq!(
            refused(b"6b3", InputFormat::Hex),
            "not hexadecimal: Odd number of digits"
        );
        assert!(refused(b"a$==", InputFormat::Base64).starts_with("not base64: "));
        assert_eq!(
            refused(b"k8s", InputFormat::EtcdctlJson),
            "not the output of `etcdctl get -w json`: line 1, column 1"
        );
        let json = br#"{"kvs":[{"key":"L2E=","value":"%"}]}"#;
        assert!(
            refused(json, InputFormat::EtcdctlJson)
                .starts_with("the `value` of row 1 is not base64")
        );
    }
}
