//! What somebody asked for, in a form that outlives a crash.
//!
//! A change is the specification of a change and no record of how far it is: that is always observed. It names keys and never
//! holds them, so it may be shown. A tool keeps it in a file, a controller in an object.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Desired, Others, Revision, Timestamp};
use crate::encryption_config::{Chain, GroupResource, Layout, LocalProvider, Transformer};

/// A change that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Change {
    /// Which kind it is.
    #[serde(rename = "change")]
    pub kind: ChangeKind,
    /// When it was requested, in seconds since 1970-01-01 UTC.
    #[serde(rename = "asked")]
    pub requested: u64,
    /// Who shall write each resource or wildcard, by their names in a configuration.
    pub writers: BTreeMap<GroupResource, Writer>,
    /// Who wrote them before; what an abort goes back to.
    pub before: BTreeMap<GroupResource, Writer>,
    /// How many local keys stay for each resource, the writer included.
    pub keep_keys: usize,
    /// Whether plain rows stay readable when there are none any more.
    pub keep_identity: bool,
    /// When everything was as wanted, if it was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub done: Option<u64>,
}

/// The kinds of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum ChangeKind {
    /// Resources are encrypted, or by somebody else.
    Enable,
    /// A new local key writes.
    Rotate,
    /// Resources are stored plain.
    Disable,
    /// An earlier change is turned around.
    Abort,
}

impl ChangeKind {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enable => "enable",
            Self::Rotate => "rotate",
            Self::Disable => "disable",
            Self::Abort => "abort",
        }
    }
}

/// A transformer by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub enum Writer {
    /// None.
    Identity,
    /// A key in the file.
    #[serde(rename_all = "camelCase")]
    Key {
        /// Name of its provider.
        provider: String,
        /// Its name.
        name: String,
    },
    /// A KMS plugin.
    Kms {
        /// Its name.
        name: String,
    },
}

/// A change cannot be asked for, or not any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// A name leads nowhere.
    #[error("{0} is neither in the keyring nor in a configuration file")]
    Unknown(Box<str>),
    /// Nothing to rotate.
    #[error(
        "no resource is written with a local key; the key behind a KMS plugin is rotated there, and `resume` then rewrites the rows"
    )]
    NoLocalKeys,
    /// Something else is under way.
    #[error(
        "a change is under way ({change}); finish it with `resume`, or turn it around with `abort`"
    )]
    UnderWay {
        /// What it is.
        change: &'static str,
    },
    /// Nothing is under way.
    #[error("no change is under way")]
    NothingUnderWay,
    /// The last change has come to its end.
    #[error(
        "the last change ({change}) is finished, so there is nothing to turn around; what `status` shows as due since then, `resume` does"
    )]
    Finished {
        /// What it was.
        change: &'static str,
    },
}

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

    /// The one of `known` that has this name.
    pub(crate) fn resolve(&self, known: &[&Transformer]) -> Result<Transformer, ChangeError> {
        if *self == Self::Identity {
            return Ok(Transformer::Identity);
        }
        let found = known
            .iter()
            .find(|transformer| Self::of(transformer) == *self);
        found
            .map(|transformer| (*transformer).clone())
            .ok_or_else(|| ChangeError::Unknown(self.to_string().into()))
    }
}

impl core::fmt::Display for Writer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Identity => f.write_str("identity"),
            Self::Key { provider, name } => write!(f, "{provider} key `{name}`"),
            Self::Kms { name } => write!(f, "KMS provider `{name}`"),
        }
    }
}

impl Change {
    /// A change for `writers` in a cluster whose files mean `files` now. What a file has lost of the writers of the newest
    /// `revision` is what the change is turned around to.
    #[must_use]
    pub fn new(
        kind: ChangeKind,
        writers: &BTreeMap<GroupResource, Transformer>,
        files: &[&Layout],
        revision: Option<&Revision>,
        now: Timestamp,
    ) -> Self {
        let named =
            |(name, writer): (&GroupResource, &Transformer)| (name.clone(), Writer::of(writer));
        let before = |name: &GroupResource| {
            let chain = files
                .first()
                .map_or_else(Chain::plain, |file| file.chain_of(name));
            let recorded = revision.and_then(|revision| revision.writer(name));
            let lost = recorded.filter(|recorded| !chain.reads(recorded));
            let writer = lost.unwrap_or_else(|| chain.writer());
            (name.clone(), Writer::of(writer))
        };
        Self {
            kind,
            requested: now.as_secs(),
            writers: writers.iter().map(named).collect(),
            before: writers.keys().map(before).collect(),
            keep_keys: KEEP_KEYS,
            keep_identity: false,
            done: None,
        }
    }

    /// The change that turns this one around.
    #[must_use]
    pub fn aborted(&self, now: Timestamp) -> Self {
        Self {
            kind: ChangeKind::Abort,
            requested: now.as_secs(),
            writers: self.before.clone(),
            before: self.writers.clone(),
            done: None,
            ..self.clone()
        }
    }

    /// What the planner is to reach. `known` are the transformers of the keyring and of the files.
    ///
    /// # Errors
    /// [`ChangeError::Unknown`].
    pub fn desired(&self, known: &[&Transformer]) -> Result<Desired, ChangeError> {
        let writers = self
            .writers
            .iter()
            .map(|(name, writer)| Ok((name.clone(), writer.resolve(known)?)));
        Ok(Desired {
            writers: writers.collect::<Result<_, ChangeError>>()?,
            others: Others::Keep,
            keep_keys: self.keep_keys,
            keep_identity: self.keep_identity,
            interrupt: self.kind == ChangeKind::Abort,
        })
    }
}

/// How many local keys stay in a configuration unless somebody says otherwise, the writer included.
pub const KEEP_KEYS: usize = 8;

/// The resources of `files` that a local key writes, by provider; what a rotation is about.
///
/// # Errors
/// [`ChangeError::NoLocalKeys`].
pub fn written_locally(
    files: &[&Layout],
) -> Result<BTreeMap<LocalProvider, Vec<GroupResource>>, ChangeError> {
    let mut by_provider: BTreeMap<LocalProvider, Vec<GroupResource>> = BTreeMap::new();
    let rules = files.first().into_iter().flat_map(|file| file.rules());
    for (name, chain) in rules {
        if let Some(key) = chain.writer().local() {
            by_provider
                .entry(key.provider())
                .or_default()
                .push(name.clone());
        }
    }
    if by_provider.is_empty() {
        return Err(ChangeError::NoLocalKeys);
    }
    Ok(by_provider)
}

/// The number for a new key, above those of all keys of `known` that are called `key<number>`.
#[must_use]
pub fn next_key_number(known: &[&Transformer]) -> u64 {
    let number = |transformer: &&Transformer| {
        let name = transformer.local()?.name().as_str();
        name.strip_prefix("key")?.parse::<u64>().ok()
    };
    let newest = known.iter().filter_map(number).max();
    newest.map_or(1, |newest| newest.saturating_add(1))
}
