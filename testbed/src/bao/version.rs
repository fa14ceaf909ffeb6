//! The versions of OpenBao that are supported.

use std::fmt;
use std::str::FromStr;

use crate::Error;
use crate::servers::selected;

/// Names the OpenBao versions that tests run on, separated by commas.
pub const BAO_VERSIONS: &str = "KDC_TESTBED_BAO_VERSIONS";

/// A minor version of OpenBao that is supported and tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BaoVersion {
    /// The last that lets no client tell a standby how fresh it must be.
    V2_6,
    /// The newest; answers with `X-Vault-Index`.
    V2_7,
}

impl BaoVersion {
    /// All, oldest first.
    pub const ALL: [Self; 2] = [Self::V2_6, Self::V2_7];
    /// The one that tests use when nothing else is asked for.
    pub const DEFAULT: Self = Self::V2_7;

    /// The versions that tests shall run on: those in
    /// `$KDC_TESTBED_BAO_VERSIONS` (such as `2.6,2.7`), else all, as none
    /// costs more than seconds.
    ///
    /// # Errors
    /// [`Error::Environment`] when the variable holds anything else.
    pub fn selected() -> Result<Vec<Self>, Error> {
        selected(BAO_VERSIONS, &Self::ALL)
    }
}

impl fmt::Display for BaoVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V2_6 => "2.6",
            Self::V2_7 => "2.7",
        })
    }
}

/// The text names no supported version of OpenBao.
#[derive(Debug, thiserror::Error)]
#[error("2.6 or 2.7, or both with a comma between")]
#[non_exhaustive]
pub struct UnknownVersion;

impl FromStr for BaoVersion {
    type Err = UnknownVersion;

    fn from_str(text: &str) -> Result<Self, UnknownVersion> {
        Self::ALL
            .into_iter()
            .find(|version| version.to_string() == text)
            .ok_or(UnknownVersion)
    }
}

#[cfg(test)]
mod tests {
    use super::BaoVersion;

    #[test]
    fn versions_read_back_as_they_print() {
        for version in BaoVersion::ALL {
            assert_eq!(version.to_string().parse::<BaoVersion>().unwrap(), version);
        }
        assert!("2.5".parse::<BaoVersion>().is_err());
    }
}
