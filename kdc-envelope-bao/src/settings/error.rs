//! What is wrong with settings of OpenBao.

use std::borrow::Cow;

use super::args::AuthMethod;
use crate::client::{InvalidAddress, InvalidNamespace};
use crate::transit::InvalidKeyName;

/// A setting that is missing, bad, or contradicts another one. Names the flag; the names in the file are the same
/// without the dashes. Never repeats what may be a credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BaoSettingsError {
    /// It must be given.
    #[error("--{setting} is missing: {why}")]
    Missing {
        /// Name of the setting.
        setting: &'static str,
        /// What needs it, and what to do.
        why: &'static str,
    },
    /// It does nothing with this way to log in.
    #[error(
        "--{setting} does nothing with --bao-auth {method}, only with {belongs}; remove it or choose another method"
    )]
    Foreign {
        /// Name of the setting.
        setting: &'static str,
        /// How to log in.
        method: AuthMethod,
        /// The methods that use it.
        belongs: &'static str,
    },
    /// Two settings for one thing.
    #[error("--{one} and --{other} are both given; remove one")]
    Both {
        /// Name of the one.
        one: &'static str,
        /// Name of the other.
        other: &'static str,
    },
    /// An address without TLS.
    #[error(
        "--bao-address {0} would send tokens and keys readable by anybody on the network; use https://, or add --bao-insecure-http if the network is trusted"
    )]
    Plaintext(String),
    /// A credential itself where the name of a file belongs.
    #[error(
        "--{0} takes the name of a file, and was given what looks like the credential itself; write that into a file of mode 0600, and replace it if this line was logged"
    )]
    Secret(&'static str),
    /// Its value is not usable.
    #[error("--{setting} {problem}")]
    Value {
        /// Name of the setting.
        setting: &'static str,
        /// What is wrong with it.
        problem: Cow<'static, str>,
    },
    /// An address is not one.
    #[error("--bao-address")]
    Address(#[source] InvalidAddress),
    /// A namespace is not one.
    #[error("--{setting}")]
    Namespace {
        /// Name of the setting.
        setting: &'static str,
        /// What is wrong.
        source: InvalidNamespace,
    },
    /// The path by which other tools read the key.
    #[error(
        "--bao-key takes the name of a key, not its path; give `{name}`, and `{mount}` as --bao-mount"
    )]
    KeyPath {
        /// The part before `/keys/`.
        mount: String,
        /// The part behind it.
        name: String,
    },
    /// Mount or key are not what OpenBao takes.
    #[error("--{setting}")]
    Key {
        /// Name of the setting.
        setting: &'static str,
        /// What is wrong.
        source: InvalidKeyName,
    },
}

pub(super) fn value(
    setting: &'static str,
    problem: impl Into<Cow<'static, str>>,
) -> BaoSettingsError {
    BaoSettingsError::Value {
        setting,
        problem: problem.into(),
    }
}

/// The value, or its fault among the others.
pub(super) fn keep<T>(
    result: Result<T, BaoSettingsError>,
    faults: &mut Vec<BaoSettingsError>,
) -> Option<T> {
    result.map_err(|fault| faults.push(fault)).ok()
}
