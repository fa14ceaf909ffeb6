//! From what an operator requests to a change: which transformer shall write each resource, with the keys that it takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::change::{Change, ChangeKind};
use super::key_source::{KeySource, KeySourceError};
use super::writer::{UnknownWriter, Writer};
use super::{Blocker, Revision, Timestamp};
use crate::encryption_config::{GroupResource, KmsProvider, Layout, LocalProvider, Transformer};

/// A requested change, before it is compared with what there is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ChangeRequest {
    /// Encrypt resources, or let another provider encrypt them.
    Enable {
        /// Names and wildcards.
        resources: Vec<GroupResource>,
        /// What shall write them.
        writer: RequestedWriter,
    },
    /// Let a new local key write.
    Rotate {
        /// Names and wildcards of the configuration; all that a local key writes if it is empty.
        resources: Vec<GroupResource>,
    },
    /// Store resources plain.
    Disable {
        /// Names and wildcards of the configuration; all if it is empty.
        resources: Vec<GroupResource>,
    },
    /// Abort the change in progress.
    Abort,
    /// Go on with the last change.
    Resume,
}

/// What shall write.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum RequestedWriter {
    /// A local key of this provider: the one that writes already, or else a new one.
    Local(LocalProvider),
    /// A KMS plugin.
    Kms(Arc<KmsProvider>),
}

/// What a request is compared with.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Situation<'s> {
    /// The last change, whether it is finished or not.
    pub last: Option<&'s Change>,
    /// What the configuration files mean, in the order of the servers.
    pub files: Vec<&'s Layout>,
    /// The transformers of the keyring and of the files.
    pub known: Vec<&'s Transformer>,
    /// The newest revision.
    pub revision: Option<&'s Revision>,
    /// What the files lack of what rows may lie under: [`lacking`](super::lacking).
    pub lacking: Vec<Blocker>,
    /// The time.
    pub now: Timestamp,
}

/// A change, and what it needs in the keyring before it begins.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Prepared {
    /// The change.
    pub change: Change,
    /// Keys and KMS providers that are not known yet.
    pub new: Vec<Transformer>,
    /// Whether the request asks for what is under way already, so that this is gone on with.
    pub is_under_way: bool,
}

/// A change cannot be requested, or not any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// A name leads nowhere.
    #[error(transparent)]
    Unknown(#[from] UnknownWriter),
    /// Nothing to rotate.
    #[error(
        "no resource is written with a local key; the key behind a KMS plugin is rotated there"
    )]
    NoLocalKeys,
    /// Another change is under way.
    #[error("a change is under way ({change})")]
    UnderWay {
        /// Its kind.
        change: &'static str,
    },
    /// Nothing is under way.
    #[error("no change is under way")]
    NothingUnderWay,
    /// The last change has come to its end.
    #[error("the last change ({change}) is finished, so there is nothing to turn around")]
    Finished {
        /// Its kind.
        change: &'static str,
    },
    /// The request names nothing that the configuration has.
    #[error("the configuration names no such resource, so there is nothing to change")]
    NoSuchResource,
    /// A file lacks what rows may lie under; that is put back before another change begins.
    #[error("{}", .0.first().map_or_else(String::new, ToString::to_string))]
    Lacking(Vec<Blocker>),
    /// There is no new key.
    #[error(transparent)]
    Key(#[from] KeySourceError),
}

/// The change that `request` comes to.
///
/// # Errors
/// [`ChangeError`].
pub fn prepare(
    request: &ChangeRequest,
    situation: &Situation<'_>,
    keys: &dyn KeySource,
) -> Result<Prepared, ChangeError> {
    let last = situation.last;
    let under_way = last.filter(|change| change.done.is_none());
    match (request, under_way) {
        (ChangeRequest::Abort, None) => Err(nothing_to_abort(last)),
        (ChangeRequest::Abort, Some(change)) => {
            Ok(Prepared::existing(change.aborted(situation.now)))
        }
        (ChangeRequest::Resume, _) => {
            let last = last.cloned().or_else(|| as_recorded(situation));
            let last = last.ok_or(ChangeError::NothingUnderWay)?;
            Ok(Prepared::existing(last))
        }
        (_, Some(change)) if request.is_met_by(change) => Ok(Prepared {
            is_under_way: true,
            ..Prepared::existing(change.clone())
        }),
        (_, Some(change)) => Err(ChangeError::UnderWay {
            change: change.kind.as_str(),
        }),
        (_, None) if !situation.lacking.is_empty() => {
            Err(ChangeError::Lacking(situation.lacking.clone()))
        }
        (ChangeRequest::Enable { resources, writer }, None) => {
            enable(resources, writer, situation, keys)
        }
        (ChangeRequest::Rotate { resources }, None) => rotate(resources, situation, keys),
        (ChangeRequest::Disable { resources }, None) => disable(resources, situation),
    }
}

impl Prepared {
    const fn existing(change: Change) -> Self {
        Self {
            change,
            new: Vec::new(),
            is_under_way: false,
        }
    }
}

fn nothing_to_abort(last: Option<&Change>) -> ChangeError {
    match last {
        Some(change) => ChangeError::Finished {
            change: change.kind.as_str(),
        },
        None => ChangeError::NothingUnderWay,
    }
}

/// The change that the newest revision was made for, if the state has lost the change itself.
fn as_recorded(situation: &Situation<'_>) -> Option<Change> {
    let revision = situation.revision?;
    let (writers, now) = (&revision.writers, situation.now);
    let kind = ChangeKind::Enable;
    Some(Change::new(
        kind,
        writers,
        &situation.files,
        Some(revision),
        now,
    ))
}

impl ChangeRequest {
    /// Whether `change` came of such a request.
    fn is_met_by(&self, change: &Change) -> bool {
        let named: Vec<&GroupResource> = change.writers.keys().collect();
        let all = |given: &[GroupResource]| {
            given.is_empty()
                || (given.len() == named.len() && given.iter().all(|name| named.contains(&name)))
        };
        match self {
            Self::Enable { resources, writer } => {
                change.kind == ChangeKind::Enable
                    && all(resources)
                    && change.writers.values().all(|named| writer.is(named))
            }
            Self::Rotate { resources } => change.kind == ChangeKind::Rotate && all(resources),
            Self::Disable { resources } => change.kind == ChangeKind::Disable && all(resources),
            Self::Abort | Self::Resume => false,
        }
    }
}

impl RequestedWriter {
    fn is(&self, named: &Writer) -> bool {
        match (self, named) {
            (Self::Local(wanted), Writer::Key { provider, .. }) => wanted.as_str() == provider,
            (Self::Kms(wanted), Writer::Kms { name }) => *wanted.name == **name,
            _ => false,
        }
    }
}

/// A key that writes already if there is one of the provider, else a new one.
fn enable(
    resources: &[GroupResource],
    writer: &RequestedWriter,
    situation: &Situation<'_>,
    keys: &dyn KeySource,
) -> Result<Prepared, ChangeError> {
    let writer = match writer {
        RequestedWriter::Kms(kms) => Transformer::Kms(Arc::clone(kms)),
        RequestedWriter::Local(provider) => {
            let is_of = |writer: &&Transformer| {
                let key = writer.local();
                key.is_some_and(|key| key.provider() == *provider)
            };
            let mut writers = first_rules(&situation.files).map(|(_, chain)| chain.writer());
            match writers.find(is_of) {
                Some(known) => known.clone(),
                None => {
                    let number = next_key_number(&situation.known);
                    Transformer::Local(keys.key(*provider, number)?)
                }
            }
        }
    };
    let mut known = situation.known.iter();
    let is_known = known.any(|known| known.is_same(&writer));
    let new = (!is_known).then(|| writer.clone()).into_iter().collect();
    let names = resources.iter().cloned();
    let writers = names.map(|name| (name, writer.clone())).collect();
    finish(ChangeKind::Enable, &writers, new, situation)
}

fn rotate(
    resources: &[GroupResource],
    situation: &Situation<'_>,
    keys: &dyn KeySource,
) -> Result<Prepared, ChangeError> {
    let number = next_key_number(&situation.known);
    let (mut writers, mut new) = (BTreeMap::new(), Vec::new());
    for (provider, mut names) in written_locally(&situation.files)? {
        names.retain(|name| is_chosen(resources, name));
        if !names.is_empty() {
            let key = Transformer::Local(keys.key(provider, number)?);
            new.push(key.clone());
            writers.extend(names.into_iter().map(|name| (name, key.clone())));
        }
    }
    finish(ChangeKind::Rotate, &writers, new, situation)
}

fn disable(
    resources: &[GroupResource],
    situation: &Situation<'_>,
) -> Result<Prepared, ChangeError> {
    let names = first_rules(&situation.files).map(|(name, _)| name);
    let chosen = names.filter(|name| is_chosen(resources, name));
    let writers = chosen.map(|name| (name.clone(), Transformer::Identity));
    finish(
        ChangeKind::Disable,
        &writers.collect(),
        Vec::new(),
        situation,
    )
}

fn finish(
    kind: ChangeKind,
    writers: &BTreeMap<GroupResource, Transformer>,
    new: Vec<Transformer>,
    situation: &Situation<'_>,
) -> Result<Prepared, ChangeError> {
    if writers.is_empty() {
        return Err(ChangeError::NoSuchResource);
    }
    let (files, revision) = (&situation.files, situation.revision);
    let change = Change::new(kind, writers, files, revision, situation.now);
    Ok(Prepared {
        new,
        ..Prepared::existing(change)
    })
}

fn is_chosen(resources: &[GroupResource], name: &GroupResource) -> bool {
    resources.is_empty() || resources.contains(name)
}

/// The rules of the first file.
fn first_rules<'f>(
    files: &[&'f Layout],
) -> impl Iterator<Item = (&'f GroupResource, &'f crate::encryption_config::Chain)> {
    let first = files.first().copied();
    first.into_iter().flat_map(Layout::rules)
}

/// The resources of `files` that a local key writes, by provider; what a rotation is about.
fn written_locally(
    files: &[&Layout],
) -> Result<BTreeMap<LocalProvider, Vec<GroupResource>>, ChangeError> {
    let mut by_provider: BTreeMap<LocalProvider, Vec<GroupResource>> = BTreeMap::new();
    for (name, chain) in first_rules(files) {
        if let Some(key) = chain.writer().local() {
            let names = by_provider.entry(key.provider()).or_default();
            names.push(name.clone());
        }
    }
    match by_provider.is_empty() {
        true => Err(ChangeError::NoLocalKeys),
        false => Ok(by_provider),
    }
}

/// The number for a new key, above those of all keys of `known` that are called `key<number>` or `key<number>-<check value>`.
#[must_use]
pub fn next_key_number(known: &[&Transformer]) -> u64 {
    let number = |transformer: &&Transformer| {
        let name = transformer.local()?.name().as_str();
        let number = name.strip_prefix("key")?;
        let number = number.split_once('-').map_or(number, |(number, _)| number);
        number.parse::<u64>().ok()
    };
    let newest = known.iter().filter_map(number).max();
    newest.map_or(1, |newest| newest.saturating_add(1))
}
