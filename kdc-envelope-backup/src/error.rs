//! [`BackupError`]: what keeps a snapshot from being written, read, moved or deleted.

use std::error::Error;
use std::fmt;
use std::io;

use kdc_envelope::kek::KekErrorKind;
use kdc_envelope::snapshot::metadata::MetadataError;
use kdc_envelope::snapshot::{OpenError, SealError};
use kdc_envelope::{ErrorChain, KekError};

use crate::advice::Advice;

/// What kind of failure it is. This alone decides on exit codes, retries and labels of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackupErrorKind {
    /// A name or a setting that the caller gave cannot be meant.
    InvalidInput,
    /// Settings of the environment, or of the server, that do not work together.
    Configuration,
    /// What should be read is not there.
    NotFound,
    /// Something is there already, and is not overwritten.
    AlreadyExists,
    /// Another writer changed it concurrently.
    Conflict,
    /// It is not what was asked for: under another key, or of another cluster.
    Mismatch,
    /// What was read is damaged, or of another format.
    Damaged,
    /// A server, a key or a lock cannot be reached now.
    Unavailable,
    /// A right is missing.
    Denied,
    /// Reading or writing failed.
    Io,
}

impl BackupErrorKind {
    /// Whether the same call may succeed later without any change by people.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Unavailable | Self::Conflict)
    }

    /// A label for metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid_input",
            Self::Configuration => "configuration",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Conflict => "conflict",
            Self::Mismatch => "mismatch",
            Self::Damaged => "damaged",
            Self::Unavailable => "unavailable",
            Self::Denied => "denied",
            Self::Io => "io",
        }
    }

    pub(crate) fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::IsADirectory => Self::NotFound,
            io::ErrorKind::PermissionDenied => Self::Denied,
            _ => Self::Io,
        }
    }

    const fn of_kek(kind: KekErrorKind) -> Self {
        match kind {
            KekErrorKind::UnknownKey => Self::Mismatch,
            KekErrorKind::Denied => Self::Denied,
            KekErrorKind::Unavailable | KekErrorKind::Exhausted => Self::Unavailable,
            KekErrorKind::Malformed | KekErrorKind::Authentication => Self::Damaged,
            _ => Self::Io,
        }
    }
}

/// What of the caller's input an error is about, so that a program can name its own flag or field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subject {
    /// The folder, or the bucket and its prefix.
    Store,
    /// The name of the cluster.
    Cluster,
    /// The id of the snapshot.
    Snapshot,
    /// The format to write.
    Format,
    /// The key encryption key.
    Key,
    /// The endpoint of the S3 server.
    Endpoint,
    /// The region of the bucket.
    Region,
    /// The file with certificates of authorities.
    CaFile,
    /// That requests name the bucket in the name of the server.
    VirtualAddressing,
    /// A variable of the environment, or an entry of an AWS profile.
    Named(&'static str),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Store => "store",
            Self::Cluster => "cluster",
            Self::Snapshot => "snapshot id",
            Self::Format => "format",
            Self::Key => "key",
            Self::Endpoint => "endpoint",
            Self::Region => "region",
            Self::CaFile => "CA file",
            Self::VirtualAddressing => "virtual addressing",
            Self::Named(name) => name,
        })
    }
}

/// A failure of a store, of a key, or of a snapshot. Its text is for people and may change; programs go by its [`kind`](Self::kind).
#[derive(Debug)]
pub struct BackupError {
    kind: BackupErrorKind,
    subject: Option<Subject>,
    message: String,
    advice: Option<Advice>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl BackupError {
    pub(crate) fn new(kind: BackupErrorKind, message: impl fmt::Display) -> Self {
        Self {
            kind,
            subject: None,
            message: message.to_string(),
            advice: None,
            source: None,
        }
    }

    /// What failed, with the error behind it.
    pub(crate) fn at(
        kind: BackupErrorKind,
        message: impl fmt::Display,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            source: Some(source.into()),
            ..Self::new(kind, message)
        }
    }

    /// An error of which only the text is of use, with all that is behind it.
    pub(crate) fn wrap(kind: BackupErrorKind, error: &(dyn Error + 'static)) -> Self {
        Self::new(kind, ErrorChain::new(error).to_string())
    }

    /// A failure of a store that another crate implements.
    pub fn of_store(
        kind: BackupErrorKind,
        message: impl fmt::Display,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::at(kind, message, source).about(Subject::Store)
    }

    pub(crate) fn about(mut self, subject: Subject) -> Self {
        self.subject = Some(subject);
        self
    }

    pub(crate) fn advise(mut self, advice: impl Into<Advice>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// The same with a further fact.
    pub(crate) fn and(mut self, fact: &str) -> Self {
        self.message.push_str("; ");
        self.message.push_str(fact);
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub const fn kind(&self) -> BackupErrorKind {
        self.kind
    }

    /// What of the caller's input it is about.
    #[must_use]
    pub const fn subject(&self) -> Option<Subject> {
        self.subject
    }

    /// What happened, without the subject, the source and the advice.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What an operator can do about it.
    #[must_use]
    pub const fn advice(&self) -> Option<&Advice> {
        self.advice.as_ref()
    }

    pub(crate) fn of_kek(message: impl fmt::Display, error: KekError) -> Self {
        Self::at(BackupErrorKind::of_kek(error.kind()), message, error)
    }

    pub(crate) fn of_metadata(message: impl fmt::Display, error: MetadataError) -> Self {
        Self::at(BackupErrorKind::Damaged, message, error)
    }

    /// A snapshot that cannot be sealed. What a store says passes through as it was.
    pub(crate) fn of_seal(message: impl fmt::Display, error: SealError) -> Self {
        let error = match error {
            SealError::Sink(source) => match Self::carried(source) {
                Ok(error) => return error,
                Err(source) => SealError::Sink(source),
            },
            SealError::Source(source) => match Self::carried(source) {
                Ok(error) => return error,
                Err(source) => SealError::Source(source),
            },
            other => other,
        };
        let kind = match &error {
            SealError::Sink(source) | SealError::Source(source) => BackupErrorKind::of_io(source),
            SealError::Empty | SealError::Trailer(_) | SealError::TooLong { .. } => {
                BackupErrorKind::Damaged
            }
            _ => BackupErrorKind::Io,
        };
        Self::at(kind, message, error)
    }

    /// A snapshot that cannot be opened. What a store says passes through as it was.
    pub(crate) fn of_open(message: impl fmt::Display, error: OpenError) -> Self {
        let error = match error {
            OpenError::Sink(source) => match Self::carried(source) {
                Ok(error) => return error,
                Err(source) => OpenError::Sink(source),
            },
            OpenError::Source(source) => match Self::carried(source) {
                Ok(error) => return error,
                Err(source) => OpenError::Source(source),
            },
            other => other,
        };
        let kind = match &error {
            OpenError::Sink(source) | OpenError::Source(source) => BackupErrorKind::of_io(source),
            OpenError::OtherIdentity { .. } => BackupErrorKind::Mismatch,
            _ => BackupErrorKind::Damaged,
        };
        Self::at(kind, message, error)
    }

    /// The error of a store that came through [`std::io`], or what else it is.
    pub(crate) fn carried(error: io::Error) -> Result<Self, io::Error> {
        error.downcast::<Self>()
    }
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subject {
            Some(subject) => write!(f, "{subject}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl Error for BackupError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }
}

/// So that it survives a pass through [`std::io`].
impl From<BackupError> for io::Error {
    fn from(error: BackupError) -> Self {
        Self::other(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_comes_back_out_of_std_io_as_it_was() {
        let error = BackupError::new(BackupErrorKind::Denied, "no").about(Subject::Store);
        let carried = BackupError::of_seal("seal", SealError::Sink(error.into()));
        assert_eq!(carried.kind(), BackupErrorKind::Denied);
        assert_eq!(carried.to_string(), "store: no");
        let other = io::Error::from(io::ErrorKind::PermissionDenied);
        let other = BackupError::of_seal("seal", SealError::Source(other));
        assert_eq!(other.kind(), BackupErrorKind::Denied);
        assert_eq!(other.to_string(), "seal");
        assert!(other.source().is_some());
    }
}
