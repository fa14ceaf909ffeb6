//! From text to a history, strictly: there is one text for each.

use core::time::Duration;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kdc_envelope::SecretBytes;
use kdc_envelope::kmsv2::ProviderName;
use kdc_envelope::providers::KeyName;

use super::render::{CHECKSUM, HEAD, checksum};
use super::{HistoryEntry, KeyHistory, MAX_HISTORY_LEN, RecordedRevision, Writers};
use crate::encryption_config::{
    GroupResource, KmsApi, KmsProvider, LocalKey, LocalProvider, Transformer,
};
use crate::rotation::{Revision, Timestamp};

/// A text is no key history. Quotes nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// Longer than [`MAX_HISTORY_LEN`].
    #[error("the key history has {0} bytes; at most 1048576 are read")]
    TooLong(usize),
    /// Another file, or an empty one.
    #[error("no key history: it does not begin with `kdc-key-history`")]
    NotAHistory,
    /// Written by a newer release.
    #[error("a key history of an unknown version; use the release that wrote it, or a later one")]
    UnknownVersion,
    /// Cut off, or changed since it was written.
    #[error(
        "the checksum in the last line does not fit; take the history of another node, and see which lines differ"
    )]
    Checksum,
    /// A line that means nothing.
    #[error("line {line}: {problem}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        problem: LineProblem,
    },
    /// It means something, but would have been written otherwise.
    #[error("not as this program writes it; write numbers, spaces and escapes as the format says")]
    NotCanonical,
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineProblem {
    /// Its first word.
    #[error("must begin with `key`, `kms`, `revision`, `writer` or `sha256`")]
    Unknown,
    /// Its words.
    #[error("has too few or too many words, or one that is none of those that can stand there")]
    Words,
    /// The secret or its length.
    #[error("is no key of its provider")]
    Key,
    /// A revision that goes back, or a writer that is not there.
    #[error("does not follow on what stands before it")]
    Order,
    /// Something that stands in an earlier line.
    #[error("is there already")]
    Twice,
}

impl KeyHistory {
    /// Reads the text form.
    ///
    /// # Errors
    /// [`HistoryError`]: the first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, HistoryError> {
        if text.len() > MAX_HISTORY_LEN {
            return Err(HistoryError::TooLong(text.len()));
        }
        if !text.starts_with(HEAD) {
            let is_history = text.starts_with("kdc-key-history ");
            return Err(if is_history {
                HistoryError::UnknownVersion
            } else {
                HistoryError::NotAHistory
            });
        }
        let body = checked_body(text)?;
        let mut history = Self::default();
        for (index, line) in body.lines().enumerate().skip(1) {
            let taken = history.take(line);
            taken.map_err(|problem| HistoryError::Line {
                line: index + 1,
                problem,
            })?;
        }
        if *history.to_text() != *text {
            return Err(HistoryError::NotCanonical);
        }
        Ok(history)
    }

    fn take(&mut self, line: &str) -> Result<(), LineProblem> {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["key", words @ ..] => {
                let entry = key(words, self.entries.len() + 1)?;
                self.add(entry)
            }
            ["kms", words @ ..] => {
                let entry = kms(words, self.entries.len() + 1)?;
                self.add(entry)
            }
            ["revision", number, recorded] => self.begin_revision(number, recorded),
            ["writer", resource, number] => self.add_writer(resource, number),
            ["revision" | "writer", ..] => Err(LineProblem::Words),
            _ => Err(LineProblem::Unknown),
        }
    }

    fn add(&mut self, entry: HistoryEntry) -> Result<(), LineProblem> {
        if !self.revisions.is_empty() {
            return Err(LineProblem::Order);
        }
        if self.number(&entry.transformer).is_some() {
            return Err(LineProblem::Twice);
        }
        self.entries.push(entry);
        Ok(())
    }

    fn begin_revision(&mut self, number: &str, recorded: &str) -> Result<(), LineProblem> {
        let number = integer(number)?;
        let newest = self.revisions.last().map(|newest| newest.revision.number);
        if newest.is_some_and(|newest| newest >= number) {
            return Err(LineProblem::Order);
        }
        self.revisions.push(RecordedRevision {
            revision: Revision {
                number,
                writers: Writers::new(),
            },
            recorded: Timestamp::from_secs(integer(recorded)?),
        });
        Ok(())
    }

    fn add_writer(&mut self, resource: &str, number: &str) -> Result<(), LineProblem> {
        let number = usize::try_from(integer(number)?).map_err(|_| LineProblem::Order)?;
        let writer = self.numbered(number).ok_or(LineProblem::Order)?;
        let place = number
            .checked_sub(1)
            .and_then(|place| self.entries.get(place));
        if place.is_some_and(|entry| !entry.used) {
            return Err(LineProblem::Order);
        }
        let revision = self.revisions.last_mut().ok_or(LineProblem::Order)?;
        let resource = GroupResource::from_text(&unescaped(resource)?);
        match revision.revision.writers.insert(resource, writer) {
            None => Ok(()),
            Some(_) => Err(LineProblem::Twice),
        }
    }
}

/// Everything before the last line, which must be its checksum.
fn checked_body(text: &str) -> Result<&str, HistoryError> {
    let lines = text.strip_suffix('\n').ok_or(HistoryError::Checksum)?;
    let end = lines.rfind('\n').map_or(0, |end| end + 1);
    let (body, last) = lines.split_at_checked(end).ok_or(HistoryError::Checksum)?;
    let digest = last.strip_prefix(CHECKSUM).ok_or(HistoryError::Checksum)?;
    if digest != checksum(body) {
        return Err(HistoryError::Checksum);
    }
    Ok(body)
}

fn key(words: &[&str], number: usize) -> Result<HistoryEntry, LineProblem> {
    let [own, used, added, provider, name, secret] = words else {
        return Err(LineProblem::Words);
    };
    let provider = LocalProvider::from_name(provider).ok_or(LineProblem::Words)?;
    let name = KeyName::new(unescaped(name)?).map_err(|_| LineProblem::Words)?;
    let secret = BASE64.decode(secret).map_err(|_| LineProblem::Key)?;
    let key = LocalKey::new(provider, name, SecretBytes::new(secret));
    let key = key.map_err(|_| LineProblem::Key)?;
    entry(own, used, added, Transformer::Local(key), number)
}

fn kms(words: &[&str], number: usize) -> Result<HistoryEntry, LineProblem> {
    let (words, cache_size) = match words {
        [words @ .., cache_size] if words.len() == 7 => (words, Some(*cache_size)),
        words => (words, None),
    };
    let [own, used, added, api, name, endpoint, timeout] = words else {
        return Err(LineProblem::Words);
    };
    let name = unescaped(name)?;
    let api = match (*api, cache_size) {
        ("v1", Some(cache_size)) => KmsApi::V1 {
            cache_size: cache_size.parse().map_err(|_| LineProblem::Words)?,
        },
        ("v2", None) => KmsApi::V2,
        _ => return Err(LineProblem::Words),
    };
    let is_name = match api {
        KmsApi::V1 { .. } => !name.is_empty(),
        KmsApi::V2 => ProviderName::new(name.clone()).is_ok(),
    };
    if !is_name {
        return Err(LineProblem::Words);
    }
    let provider = KmsProvider {
        name: name.into(),
        api,
        endpoint: unescaped(endpoint)?.into(),
        timeout: Duration::from_nanos(integer(timeout)?),
    };
    entry(
        own,
        used,
        added,
        Transformer::Kms(Arc::new(provider)),
        number,
    )
}

fn entry(
    own: &str,
    used: &str,
    added: &str,
    transformer: Transformer,
    number: usize,
) -> Result<HistoryEntry, LineProblem> {
    if usize::try_from(integer(own)?) != Ok(number) {
        return Err(LineProblem::Order);
    }
    Ok(HistoryEntry {
        transformer,
        used: match used {
            "used" => true,
            "unused" => false,
            _ => return Err(LineProblem::Words),
        },
        added: Timestamp::from_secs(integer(added)?),
    })
}

fn integer(word: &str) -> Result<u64, LineProblem> {
    word.parse().map_err(|_| LineProblem::Words)
}

fn unescaped(word: &str) -> Result<String, LineProblem> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or(LineProblem::Words)?;
        rest = after;
        let digits = core::str::from_utf8(digits).map_err(|_| LineProblem::Words)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| LineProblem::Words)?);
    }
    String::from_utf8(bytes).map_err(|_| LineProblem::Words)
}
