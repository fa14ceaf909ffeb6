//! `vault:vN:<base64>`, the form in which OpenBao and Vault return what their Transit engine encrypts.
//!
//! The core reads the version to tell which key a row or a snapshot needs, and the client of OpenBao to hold responses against it.

use core::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::names::version_number;

const PREFIX: &[u8] = b"vault:v";

/// A borrowed view of a Transit ciphertext: `vault:v`, the key version, `:`, and standard base64 with padding.
///
/// The prefix is that of both servers unless a key has a ciphertext template. Only the version can be read; the payload
/// means something to the server alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransitCiphertext<'a> {
    version: NonZeroU32,
    payload: &'a str,
}

/// The bytes are not a Transit ciphertext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCiphertext {
    /// They do not begin with `vault:v`.
    #[error("the ciphertext does not begin with `vault:v`")]
    Prefix,
    /// What follows is no version, or no `:` ends it.
    #[error("no key version from 1 to 4294967295 without leading zeros follows `vault:v`")]
    Version,
    /// What follows the version is empty or not standard base64 with padding.
    #[error("what follows the key version is not base64")]
    Payload,
}

impl<'a> TransitCiphertext<'a> {
    /// Parses a ciphertext; nothing may precede or follow it, not even a line break.
    ///
    /// # Errors
    /// [`InvalidCiphertext`] naming the first part that does not fit.
    pub fn parse(ciphertext: &'a [u8]) -> Result<Self, InvalidCiphertext> {
        if !ciphertext.starts_with(PREFIX) {
            return Err(InvalidCiphertext::Prefix);
        }
        let (version, payload) = split(ciphertext).ok_or(InvalidCiphertext::Version)?;
        let payload = core::str::from_utf8(payload)
            .ok()
            .filter(|payload| !payload.is_empty() && STANDARD.decode(payload).is_ok())
            .ok_or(InvalidCiphertext::Payload)?;
        Ok(Self { version, payload })
    }

    /// The version in front of a wrapped key, if it begins like a Transit ciphertext; the payload may be damaged.
    #[must_use]
    pub fn version_of(wrapped: &[u8]) -> Option<NonZeroU32> {
        split(wrapped).map(|(version, _)| version)
    }

    /// The version of the Transit key that made it, counted from 1.
    #[must_use]
    pub const fn version(&self) -> NonZeroU32 {
        self.version
    }

    /// The rest, still in base64.
    #[must_use]
    pub const fn payload(&self) -> &'a str {
        self.payload
    }
}

/// The version and what follows its `:`.
fn split(ciphertext: &[u8]) -> Option<(NonZeroU32, &[u8])> {
    let rest = ciphertext.strip_prefix(PREFIX)?;
    let end = rest.iter().position(|byte| *byte == b':')?;
    let (version, payload) = rest.split_at_checked(end)?;
    Some((version_number(version)?, payload.strip_prefix(b":")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shows_the_version_and_the_payload() {
        let parsed = TransitCiphertext::parse(b"vault:v12:AAECAw==").unwrap();
        assert_eq!((parsed.version().get(), parsed.payload()), (12, "AAECAw=="));
        let last = TransitCiphertext::parse(b"vault:v4294967295:AAEC").unwrap();
        assert_eq!(last.version(), NonZeroU32::MAX);
    }

    #[test]
    fn a_damaged_payload_does_not_hide_the_version() {
        let version = |wrapped: &[u8]| TransitCiphertext::version_of(wrapped).map(NonZeroU32::get);
        assert_eq!(version(b"vault:v12:YWJj"), Some(12));
        assert_eq!(version(b"vault:v12:\xff"), Some(12));
        assert_eq!(version(b"vault:v4294967295:"), Some(u32::MAX));
        for wrong in [
            "vault:v:YWJj",
            "vault:v01:YWJj",
            "vault:v1",
            "vault:v1-",
            "vaul",
        ] {
            assert_eq!(version(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        use InvalidCiphertext::{Payload, Prefix, Version};
        for (ciphertext, error) in [
            ("", Prefix),
            ("vault:", Prefix),
            ("VAULT:v1:AAEC", Prefix),
            (" vault:v1:AAEC", Prefix),
            ("vault:1:AAEC", Prefix),
            ("vault:v", Version),
            ("vault:v:AAEC", Version),
            ("vault:v1", Version),
            ("vault:v0:AAEC", Version),
            ("vault:v01:AAEC", Version),
            ("vault:v+1:AAEC", Version),
            ("vault:v-1:AAEC", Version),
            ("vault:v1 :AAEC", Version),
            ("vault:v4294967296:AAEC", Version),
            ("vault:v1:", Payload),
            ("vault:v1:=", Payload),
            ("vault:v1:A", Payload),
            ("vault:v1:AA", Payload),
            ("vault:v1:AA=", Payload),
            ("vault:v1:AAECAw=", Payload),
            ("vault:v1:AAEC\n", Payload),
            ("vault:v1:AAEC:", Payload),
            ("vault:v1:AA-_", Payload),
            ("vault:v1:AAEC AAEC", Payload),
            ("vault:v1:\u{e9}AAEC", Payload),
        ] {
            assert_eq!(
                TransitCiphertext::parse(ciphertext.as_bytes()),
                Err(error),
                "{ciphertext:?}"
            );
        }
    }

    #[test]
    fn refuses_every_truncation_but_those_that_are_base64_themselves() {
        let whole = b"vault:v7:AAECAwQFBgcICQ==";
        for len in 0..whole.len() {
            let parsed = TransitCiphertext::parse(&whole[..len]);
            let payload_len = len.saturating_sub(b"vault:v7:".len());
            let is_base64 = payload_len > 0 && payload_len.is_multiple_of(4);
            assert_eq!(parsed.is_ok(), is_base64, "{len}");
        }
    }

    proptest! {
        #[test]
        fn reads_what_transit_writes(version in 1u32.., payload in proptest::collection::vec(any::<u8>(), 1..200)) {
            let payload = STANDARD.encode(payload);
            let ciphertext = format!("vault:v{version}:{payload}");
            let parsed = TransitCiphertext::parse(ciphertext.as_bytes()).unwrap();
            prop_assert_eq!(parsed.version().get(), version);
            prop_assert_eq!(parsed.payload(), payload);
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = TransitCiphertext::parse(&bytes);
            let _ = TransitCiphertext::parse(&[PREFIX, &bytes].concat());
        }
    }
}
