//! What turns an object into a row and back, and the order in which such are tried.

use core::fmt;
use std::sync::Arc;

use super::{KmsApi, KmsProvider, LocalKey};

/// One way to write and read rows: a key of a local provider, a KMS plugin, or none (`value.Transformer` upstream).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transformer {
    /// No encryption.
    Identity,
    /// A key in the file.
    Local(LocalKey),
    /// A KMS plugin.
    Kms(Arc<KmsProvider>),
}

impl Transformer {
    /// Whether both read and write the same rows. KMS v2 providers do if they have one name, wherever their socket is.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (self.kms_v2(), other.kms_v2()) {
            (Some(left), Some(right)) => left.name == right.name,
            _ => self == other,
        }
    }

    /// The key, if it is a local one.
    #[must_use]
    pub const fn local(&self) -> Option<&LocalKey> {
        match self {
            Self::Local(key) => Some(key),
            Self::Identity | Self::Kms(_) => None,
        }
    }

    /// The provider, if it is a KMS plugin that speaks v2.
    #[must_use]
    pub fn kms_v2(&self) -> Option<&KmsProvider> {
        match self {
            Self::Kms(kms) if kms.api == KmsApi::V2 => Some(kms),
            _ => None,
        }
    }
}

impl fmt::Display for Transformer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity => f.write_str("identity"),
            Self::Local(key) => key.fmt(f),
            Self::Kms(kms) => write!(f, "kms {} `{}`", kms.api.as_str(), kms.name),
        }
    }
}

/// The transformers of a resource in the order in which they are tried. There is always one; the first one writes.
///
/// A later one that is the same as an earlier one never does anything, so there is none.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Chain(Arc<[Transformer]>);

impl Chain {
    /// A chain with `writer` first, then those of `readers` that do not stand in it yet.
    #[must_use]
    pub fn new(writer: Transformer, readers: impl IntoIterator<Item = Transformer>) -> Self {
        let mut chain = vec![writer];
        for reader in readers {
            if !chain.iter().any(|known| known.is_same(&reader)) {
                chain.push(reader);
            }
        }
        Self(chain.into())
    }

    /// A chain of all of `transformers`; `None` without any.
    #[must_use]
    pub fn from_all(transformers: impl IntoIterator<Item = Transformer>) -> Option<Self> {
        let mut transformers = transformers.into_iter();
        Some(Self::new(transformers.next()?, transformers))
    }

    /// The one of a resource that the configuration does not name.
    #[must_use]
    pub fn plain() -> Self {
        Self(Arc::new([Transformer::Identity]))
    }

    /// Who writes.
    #[must_use]
    pub fn writer(&self) -> &Transformer {
        self.0.first().unwrap_or(&Transformer::Identity)
    }

    /// All transformers, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Transformer> {
        self.0.iter()
    }

    /// Whether it reads what `transformer` wrote.
    #[must_use]
    pub fn reads(&self, transformer: &Transformer) -> bool {
        self.0.iter().any(|known| known.is_same(transformer))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether both are one in memory, or equal.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self == other
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({self})")
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, transformer) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{transformer}")?;
        }
        Ok(())
    }
}
