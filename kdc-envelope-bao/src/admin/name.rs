//! Names that go into paths, checked before they do.

use core::fmt;
use core::str::FromStr;
use std::sync::Arc;

use crate::transit::{InvalidKeyName, MAX_NAME_LEN, TransitKeyName, check_mount, shortened};

/// The name of a policy or of a role: lower-case letters, digits and `_`, and between them `-` and `.`.
///
/// OpenBao turns these names into lower case, so that two which differ in case alone would be one. Here upper case is refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LowerName(Arc<str>);

/// The text is not the name of a policy or role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the name of a policy or role: lower-case letters, digits and `_`, and between them `-` and `.`, at most 255"
)]
#[non_exhaustive]
pub struct InvalidName(String);

impl FromStr for LowerName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let is_word = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
        let is_allowed = |byte: u8| is_word(byte) || matches!(byte, b'-' | b'.');
        let ends_in_words = text.bytes().next().is_some_and(is_word)
            && text.bytes().next_back().is_some_and(is_word);
        let has_length = text.len() <= MAX_NAME_LEN;
        if has_length && ends_in_words && text.bytes().all(is_allowed) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName(shortened(text)))
        }
    }
}

impl LowerName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LowerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a secrets engine or an auth method is mounted, such as `transit` or `k8s-host`, without slashes around it. An auth method has no
/// `auth/` in front.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MountPath(Arc<str>);

impl FromStr for MountPath {
    type Err = InvalidKeyName;

    fn from_str(text: &str) -> Result<Self, InvalidKeyName> {
        check_mount(text).map(|path| Self(path.into()))
    }
}

impl From<&TransitKeyName> for MountPath {
    fn from(key: &TransitKeyName) -> Self {
        Self(key.mount().into())
    }
}

impl MountPath {
    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl fmt::Display for MountPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_openbao_would_change_are_refused() {
        for good in ["tcp-demo", "a", "9", "a.b-c_d", "_"] {
            assert!(good.parse::<LowerName>().is_ok(), "{good}");
        }
        let (longest, long) = ("a".repeat(255), "a".repeat(256));
        assert!(longest.parse::<LowerName>().is_ok());
        for bad in [
            "", "Tcp", "tcp-DEMO", "-a", "a-", ".", "..", "a/b", "a b", "ä", "a\n", "a?list", &long,
        ] {
            assert!(bad.parse::<LowerName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mount_path_is_that_of_a_key() {
        let key = TransitKeyName::new("a/transit/", "k").unwrap();
        assert_eq!(MountPath::from(&key), "a/transit".parse().unwrap());
        assert!("../sys".parse::<MountPath>().is_err());
        assert!("a?b".parse::<MountPath>().is_err());
    }
}
