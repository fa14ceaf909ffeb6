//! The text of a keyring file, format 1. Byte for byte in `docs/formats.md`.
//!
//! ```text
//! kdc-keyring 1
//! id <32 hex digits>
//! version <number> <created> <key in base64>
//! retired <number> <created> <retired at> <key id>
//! current <number>
//! sha256 <64 hex digits: SHA-256 of every byte before this line>
//! ```
//!
//! Versions come in ascending order, times are seconds since 1970-01-01 UTC. There is one way to write a keyring: whatever
//! is parsed and written again is the same bytes. The checksum finds damage; it is no protection against an attacker who
//! may write the file.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::keyring::{Keyring, Material, Version};
use crate::{Key256, KeyId};

const HEADER: &str = "kdc-keyring 1";
const FORMAT_WORD: &str = "kdc-keyring ";
const CHECKSUM_WORD: &str = "sha256 ";
/// The checksum's line: its word, 64 digits and the line end.
const CHECKSUM_LINE_LEN: usize = CHECKSUM_WORD.len() + 64 + 1;

/// The text is not a keyring, or a damaged one. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseKeyringError {
    /// The first line is another.
    #[error("not a keyring: the first line is not `{HEADER}`")]
    NotAKeyring,
    /// A keyring of a later format.
    #[error("the keyring has format `{}`, but only format 1 is known; use a newer release", .0.escape_debug())]
    UnknownFormat(String),
    /// The last line is missing or incomplete.
    #[error("the keyring is truncated: it does not end in a `sha256` line; restore it from a copy")]
    Truncated,
    /// The last line does not fit the others.
    #[error("the keyring is damaged: its checksum does not match; restore it from a copy")]
    Checksum,
    /// A line is not what belongs there.
    #[error("line {line}: {expected}")]
    Line {
        /// Which.
        line: usize,
        /// What belongs there.
        expected: &'static str,
    },
    /// A key has not 32 bytes.
    #[error("line {line}: the key has {len} bytes instead of 32")]
    KeyLength {
        /// Where.
        line: usize,
        /// Length of the text in bytes.
        len: usize,
    },
    /// A version number is repeated or out of order.
    #[error("line {line}: version {number} is a duplicate or out of order")]
    Order {
        /// Where.
        line: usize,
        /// The number.
        number: u32,
    },
    /// The current version is missing or retired.
    #[error("the current version {0} is not among the living versions")]
    NoCurrent(u32),
}

impl Keyring {
    /// Parses the text of a keyring file.
    ///
    /// # Errors
    /// [`ParseKeyringError`] with the line and what is wrong there, never with a key.
    pub fn parse(text: &str) -> Result<Self, ParseKeyringError> {
        let body = verified_body(text)?;
        let mut lines = Lines::new(body);
        lines.next_line(HEADER)?;
        let id = lines.field("id ", "expected `id` and 32 hex digits", parse_hex)?;
        let mut keyring = Self {
            id,
            versions: BTreeMap::new(),
            current: 0,
        };
        while let Some(line) = lines.peek() {
            if let Some(fields) = line.strip_prefix("version ") {
                lines.live_version(&mut keyring, fields)?;
            } else if let Some(fields) = line.strip_prefix("retired ") {
                lines.retired_version(&mut keyring, fields)?;
            } else {
                break;
            }
        }
        keyring.current = lines.field(
            "current ",
            "expected `version`, `retired` or `current` with their fields",
            parse_decimal,
        )?;
        lines.end()?;
        match keyring.live(keyring.current) {
            Ok(_) => Ok(keyring),
            Err(_) => Err(ParseKeyringError::NoCurrent(keyring.current)),
        }
    }

    /// The text of a keyring file. Contains the keys.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        // Large enough never to be moved: a move would leave keys behind.
        let mut text = Zeroizing::new(String::with_capacity(256 + self.versions.len() * 256));
        let mut put = |args: core::fmt::Arguments<'_>| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{args}");
        };
        put(format_args!("{HEADER}"));
        put(format_args!("id {}", hex::encode(self.id)));
        for (number, version) in self.versions() {
            let Version {
                created,
                key_id,
                material,
            } = version;
            match material {
                Material::Live(key) => {
                    let key = Zeroizing::new(STANDARD.encode(key.expose()));
                    put(format_args!("version {number} {created} {}", key.as_str()));
                }
                Material::Retired { at } => put(format_args!(
                    "retired {number} {created} {at} {}",
                    key_id.as_str()
                )),
            }
        }
        put(format_args!("current {}", self.current));
        let checksum = checksum(&text);
        let _ = writeln!(text, "{CHECKSUM_WORD}{checksum}");
        text
    }
}

fn checksum(body: &str) -> String {
    hex::encode(Sha256::digest(body))
}

/// The lines before the checksum, once they fit it.
fn verified_body(text: &str) -> Result<&str, ParseKeyringError> {
    let first = text.split('\n').next().unwrap_or_default();
    let format = first
        .strip_prefix(FORMAT_WORD)
        .ok_or(ParseKeyringError::NotAKeyring)?;
    if first != HEADER {
        return Err(ParseKeyringError::UnknownFormat(
            format.chars().take(32).collect(),
        ));
    }
    let (body, last) = text
        .len()
        .checked_sub(CHECKSUM_LINE_LEN)
        .and_then(|at| text.split_at_checked(at))
        .filter(|(body, last)| body.ends_with('\n') && last.starts_with(CHECKSUM_WORD))
        .ok_or(ParseKeyringError::Truncated)?;
    if last != format!("{CHECKSUM_WORD}{}\n", checksum(body)) {
        return Err(ParseKeyringError::Checksum);
    }
    Ok(body)
}

struct Lines<'a> {
    rest: core::iter::Peekable<core::str::SplitTerminator<'a, char>>,
    number: usize,
}

impl<'a> Lines<'a> {
    fn new(body: &'a str) -> Self {
        Self {
            // Not `lines`, which would take a carriage return for part of the line's end.
            rest: body.split_terminator('\n').peekable(),
            number: 0,
        }
    }

    fn peek(&mut self) -> Option<&'a str> {
        self.rest.peek().copied()
    }

    fn advance(&mut self) -> Option<&'a str> {
        self.number += 1;
        self.rest.next()
    }

    const fn bad(&self, expected: &'static str) -> ParseKeyringError {
        ParseKeyringError::Line {
            line: self.number,
            expected,
        }
    }

    fn next_line(&mut self, exact: &str) -> Result<(), ParseKeyringError> {
        match self.advance() {
            Some(line) if line == exact => Ok(()),
            _ => Err(ParseKeyringError::NotAKeyring),
        }
    }

    fn field<T>(
        &mut self,
        word: &str,
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ParseKeyringError> {
        self.advance()
            .and_then(|line| line.strip_prefix(word))
            .and_then(parse)
            .ok_or_else(|| self.bad(expected))
    }

    fn end(&mut self) -> Result<(), ParseKeyringError> {
        match self.advance() {
            None => Ok(()),
            Some(_) => Err(self.bad("nothing may follow `current` but the checksum")),
        }
    }

    fn live_version(
        &mut self,
        keyring: &mut Keyring,
        fields: &str,
    ) -> Result<(), ParseKeyringError> {
        self.advance();
        let expected = "expected `version <number> <created> <key in base64>`";
        let [number, created, key] = split(fields).ok_or_else(|| self.bad(expected))?;
        let number = parse_decimal(number).ok_or_else(|| self.bad(expected))?;
        let created = parse_decimal(created).ok_or_else(|| self.bad(expected))?;
        let key = STANDARD
            .decode(key)
            .map(Zeroizing::new)
            .map_err(|_| self.bad("the key is not base64"))?;
        let key = Key256::from_slice(&key).ok_or(ParseKeyringError::KeyLength {
            line: self.number,
            len: key.len(),
        })?;
        self.check_order(keyring, number)?;
        keyring.insert_live(number, created, key);
        Ok(())
    }

    fn retired_version(
        &mut self,
        keyring: &mut Keyring,
        fields: &str,
    ) -> Result<(), ParseKeyringError> {
        self.advance();
        let expected = "expected `retired <number> <created> <retired at> <key id>`";
        let parse = || {
            let [number, created, at, key_id] = split(fields)?;
            let version = Version {
                created: parse_decimal(created)?,
                key_id: KeyId::new(key_id).ok()?,
                material: Material::Retired {
                    at: parse_decimal(at)?,
                },
            };
            Some((parse_decimal(number)?, version))
        };
        let (number, version) = parse().ok_or_else(|| self.bad(expected))?;
        self.check_order(keyring, number)?;
        if keyring
            .versions()
            .any(|(_, other)| other.key_id == version.key_id)
        {
            return Err(self.bad("the key id is a duplicate"));
        }
        keyring.versions.insert(number, version);
        Ok(())
    }

    fn check_order(&self, keyring: &Keyring, number: u32) -> Result<(), ParseKeyringError> {
        match keyring.versions.keys().next_back() {
            _ if number == 0 => Err(self.bad("versions count from 1")),
            Some(last) if *last >= number => Err(ParseKeyringError::Order {
                line: self.number,
                number,
            }),
            _ => Ok(()),
        }
    }
}

/// Exactly `N` fields, one space between them.
fn split<const N: usize>(fields: &str) -> Option<[&str; N]> {
    let mut parts = fields.split(' ');
    let mut out = [""; N];
    for slot in &mut out {
        *slot = parts.next().filter(|part| !part.is_empty())?;
    }
    parts.next().is_none().then_some(out)
}

/// Decimal digits without sign or leading zero, so that there is one way to write a number.
fn parse_decimal<T: core::str::FromStr + ToString>(text: &str) -> Option<T> {
    text.parse()
        .ok()
        .filter(|value: &T| value.to_string() == text)
}

fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    (hex::encode(bytes) == text).then_some(bytes)
}

#[cfg(test)]
mod tests;
