//! How content is packed: named in the metadata, and by a number in the header.

/// How the content was packed before it was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Codec {
    /// As it is; any range can be read alone.
    #[default]
    None,
    /// One zstd frame (RFC 8878).
    Zstd,
}

impl Codec {
    /// Its number in the header.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Zstd => 1,
        }
    }

    /// The codec with this number, if this release knows one.
    pub(super) const fn of_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Its name in metadata.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Zstd => "zstd",
        }
    }
}
