//! The text of a secret, and what is wrong with one that is no base64.

use core::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use kdc_envelope::SecretBytes;
use zeroize::Zeroizing;

/// As Go's `base64.StdEncoding`, which does not look at the bits after the last byte.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// The first thing that keeps a secret from being base64, with its place in the secret; line breaks are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Base64Fault {
    /// A character that no key in base64 has.
    Character {
        /// Counted from 1.
        position: usize,
        /// What stands there.
        character: char,
    },
    /// The whole reads like the words that an example has in place of a key.
    Placeholder {
        /// The first character that is not of the alphabet, counted from 1.
        position: usize,
        /// What stands there.
        character: char,
    },
    /// Something follows the padding.
    EarlyPadding {
        /// The first `=`, counted from 1.
        position: usize,
    },
    /// Something is missing at the end, or too much.
    Length {
        /// How many characters there are.
        characters: usize,
    },
}

/// The bytes of a secret.
pub(super) fn decode(text: &str) -> Result<SecretBytes, Base64Fault> {
    match go_base64(text) {
        Some(bytes) => Ok(SecretBytes::new(bytes)),
        None => Err(fault(text)),
    }
}

/// Line breaks are skipped, as Go does; they come from YAML block text.
pub(crate) fn go_base64(text: &str) -> Option<Vec<u8>> {
    let text: Zeroizing<String> = Zeroizing::new(without_breaks(text).collect());
    BASE64.decode(text.as_bytes()).ok()
}

fn without_breaks(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(|c| !matches!(c, '\r' | '\n'))
}

fn fault(text: &str) -> Base64Fault {
    let is_of_alphabet = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    let mut counted = without_breaks(text).zip(1..);
    if let Some((character, position)) = counted.find(|(c, _)| !is_of_alphabet(*c)) {
        return match is_placeholder(text) {
            true => Base64Fault::Placeholder {
                position,
                character,
            },
            false => Base64Fault::Character {
                position,
                character,
            },
        };
    }
    let mut padding = None;
    for (character, position) in without_breaks(text).zip(1..) {
        match (character, padding) {
            ('=', None) => padding = Some(position),
            ('=', Some(_)) => {}
            (_, Some(position)) => return Base64Fault::EarlyPadding { position },
            _ => {}
        }
    }
    Base64Fault::Length {
        characters: without_breaks(text).count(),
    }
}

/// `<your key>`, `${KEY}`, `BASE64_ENCODED_SECRET` and the like.
fn is_placeholder(text: &str) -> bool {
    let text = text.trim();
    let is_marked = text.starts_with(['<', '$', '{', '[', '%']) || text.contains("...");
    let is_loud = text.contains('_')
        && text.bytes().all(|b| {
            b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b' ')
        });
    is_marked || is_loud
}

impl fmt::Display for Base64Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Character {
                position,
                character: character @ ('-' | '_'),
            } => write!(
                f,
                "character {position} is `{character}`, of the alphabet for URLs; write `+` for each `-` and `/` for each `_`"
            ),
            Self::Character {
                position,
                character,
            } => write!(
                f,
                "character {position} is {}; correct it from where the key was made, and make no new one: rows need this one",
                Named(*character)
            ),
            Self::Placeholder {
                position,
                character,
            } => write!(
                f,
                "character {position} is {}: it looks like a placeholder; put the key in its place",
                Named(*character)
            ),
            Self::EarlyPadding { position } => write!(
                f,
                "character {position} is `=`, which only ends a text; are these two keys?"
            ),
            Self::Length { characters } => write!(
                f,
                "it has {characters} characters, and its end was cut off or changed; copy the whole, which is a multiple of 4 with each `=`"
            ),
        }
    }
}

/// A character as people know it.
struct Named(char);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ' ' => f.write_str("a space"),
            '\t' => f.write_str("a tab"),
            c if c.is_ascii_graphic() => write!(f, "`{c}`"),
            c => write!(f, "U+{:04X}", u32::from(c)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        decode(text).map(drop).unwrap_err().to_string()
    }

    #[test]
    fn the_character_and_its_place_are_named() {
        for (text, words) in [
            ("MDEyMzQ1Njc4 OWFiY2RlZg==", "character 13 is a space; "),
            (" MDEyMzQ1Njc4OWFiY2RlZg==", "character 1 is a space; "),
            ("MDEy\r\nMzQ1\tNjc4", "character 9 is a tab; "),
            ("MDEyMzQ1!", "character 9 is `!`; "),
            ("MDE\u{e9}", "character 4 is U+00E9; "),
            ("MDEy----", "character 5 is `-`, of the alphabet for URLs"),
            (
                "<your key>",
                "character 1 is `<`: it looks like a placeholder",
            ),
            (
                "BASE64_ENCODED_SECRET",
                "character 7 is `_`: it looks like a placeholder",
            ),
            ("${KEY}", "character 1 is `$`: it looks like a placeholder"),
            ("MDEyMzQ1Njc4OWFiY2RlZg", "it has 22 characters"),
            ("MDEyMzQ1Njc4OWFiY2RlZg===", "it has 25 characters"),
            ("MDEy=MzQ", "character 5 is `=`"),
            ("=", "it has 1 characters"),
        ] {
            assert!(told(text).starts_with(words), "{text}: {}", told(text));
            assert!(!told(text).contains("MDEy"), "{text}");
        }
    }
}
