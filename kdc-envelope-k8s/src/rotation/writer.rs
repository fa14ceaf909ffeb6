//! What writes the rows of a resource, by its name.
//!
//! Rows, files of the state and backups name a key and never hold it, so a name is all that can be compared with them.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::encryption_config::Transformer;

/// A transformer by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub enum Writer {
    /// None: rows are stored plain.
    Identity,
    /// A key that stands in the configuration.
    #[serde(rename_all = "camelCase")]
    Key {
        /// Name of its provider, such as `aesgcm`.
        provider: String,
        /// Its name.
        name: String,
    },
    /// A KMS plugin.
    Kms {
        /// Its name in the configuration.
        name: String,
    },
}

/// A name that no known key or KMS provider has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is neither in the keyring nor in a configuration file")]
pub struct UnknownWriter(Box<str>);

impl Writer {
    /// The name of `transformer`.
    #[must_use]
    pub fn of(transformer: &Transformer) -> Self {
        match transformer {
            Transformer::Identity => Self::Identity,
            Transformer::Local(key) => Self::Key {
                provider: key.provider().as_str().to_owned(),
                name: key.name().as_str().to_owned(),
            },
            Transformer::Kms(kms) => Self::Kms {
                name: kms.name.to_string(),
            },
        }
    }

    /// Whether it is the name of `transformer`.
    #[must_use]
    pub fn names(&self, transformer: &Transformer) -> bool {
        *self == Self::of(transformer)
    }

    /// The one of `known` that has this name.
    ///
    /// # Errors
    /// [`UnknownWriter`] if none has it.
    pub fn resolve(&self, known: &[&Transformer]) -> Result<Transformer, UnknownWriter> {
        if *self == Self::Identity {
            return Ok(Transformer::Identity);
        }
        let mut known = known.iter();
        let found = known.find(|transformer| self.names(transformer));
        found
            .map(|transformer| (*transformer).clone())
            .ok_or_else(|| UnknownWriter(self.to_string().into()))
    }
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity => f.write_str("identity"),
            Self::Key { provider, name } => write!(f, "{provider} key `{name}`"),
            Self::Kms { name } => write!(f, "KMS provider `{name}`"),
        }
    }
}
