//! Why a call or a reconcile failed, and what that means for the next attempt.

use core::time::Duration;
use std::error::Error;

use super::ObjectKey;
use super::objects::Verb;
use crate::cluster::cause;

/// What an error means for the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// It may work a moment later: no answer, or too many requests.
    Transient,
    /// The object changed since it was read, or exists already: read again.
    Conflict,
    /// The object is not there.
    Missing,
    /// A right is missing; an administrator has to grant it.
    Denied,
    /// An admission rule or the schema refuses what was written.
    Rejected,
    /// What the user wrote is refused; a change of the object is waited for.
    Invalid,
    /// Another process leads, or none.
    NotLeader,
    /// A fault of the program itself.
    Internal,
}

impl ErrorKind {
    /// One word, for metrics and conditions.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Conflict => "conflict",
            Self::Missing => "missing",
            Self::Denied => "denied",
            Self::Rejected => "rejected",
            Self::Invalid => "invalid",
            Self::NotLeader => "not_leader",
            Self::Internal => "internal",
        }
    }
}

/// A call to the API server that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The API server refused.
    #[error("cannot {verb} {kind} {key}: {message} ({code})")]
    Refused {
        /// What was tried.
        verb: Verb,
        /// On which kind.
        kind: Box<str>,
        /// On which object.
        key: ObjectKey,
        /// The HTTP status.
        code: u16,
        /// What the API server said, on one line.
        message: Box<str>,
    },
    /// There was no answer.
    #[error("cannot {verb} {kind} {key}: {message}")]
    Unreachable {
        /// What was tried.
        verb: Verb,
        /// On which kind.
        kind: Box<str>,
        /// On which object.
        key: ObjectKey,
        /// What happened, on one line.
        message: Box<str>,
    },
    /// There was no answer in time. What was to be written may have been written.
    #[error("cannot {verb} {kind} {key}: no answer within {limit:?}")]
    Deadline {
        /// What was tried.
        verb: Verb,
        /// On which kind.
        kind: Box<str>,
        /// On which object.
        key: ObjectKey,
        /// How long was waited.
        limit: Duration,
    },
    /// The answer, or what was to be written, is not of the kind.
    #[error("cannot {verb} {kind} {key}: the object is not as expected")]
    Format {
        /// What was tried.
        verb: Verb,
        /// On which kind.
        kind: Box<str>,
        /// On which object.
        key: ObjectKey,
        /// Where it differs.
        source: serde_json::Error,
    },
    /// This process may not write at present.
    #[error("did not {verb} {kind} {key}: this process does not hold the Lease")]
    NotLeader {
        /// What was not tried.
        verb: Verb,
        /// On which kind.
        kind: Box<str>,
        /// On which object.
        key: ObjectKey,
    },
}

/// How much of what an API server says is shown, in characters.
const SHOWN: usize = 500;

impl CallError {
    /// What it means for the next attempt.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { code, message, .. } => of_code(*code, message),
            Self::Unreachable { .. } | Self::Deadline { .. } => ErrorKind::Transient,
            Self::Format { .. } => ErrorKind::Internal,
            Self::NotLeader { .. } => ErrorKind::NotLeader,
        }
    }

    /// Whether the request never left: nothing can have been written.
    #[must_use]
    pub const fn was_not_sent(&self) -> bool {
        matches!(self, Self::NotLeader { .. })
    }

    pub(super) fn of(verb: Verb, kind: &str, key: &ObjectKey, error: kube::Error) -> Self {
        let (kind, key) = (kind.into(), key.clone());
        match error {
            kube::Error::Api(status) => Self::Refused {
                verb,
                kind,
                key,
                code: status.code,
                message: one_line(&status.message),
            },
            kube::Error::SerdeError(source) => Self::Format {
                verb,
                kind,
                key,
                source,
            },
            other => Self::Unreachable {
                verb,
                kind,
                key,
                message: cause(&other).into(),
            },
        }
    }
}

fn of_code(code: u16, message: &str) -> ErrorKind {
    // Admission refuses with the status of a missing right.
    let is_admission = message.contains("admission webhook")
        || message.contains("ValidatingAdmissionPolicy")
        || message.contains("denied request");
    match code {
        404 => ErrorKind::Missing,
        409 => ErrorKind::Conflict,
        403 if is_admission => ErrorKind::Rejected,
        401 | 403 => ErrorKind::Denied,
        400 | 405 | 413 | 415 | 422 => ErrorKind::Rejected,
        _ => ErrorKind::Transient,
    }
}

fn one_line(text: &str) -> Box<str> {
    let words: Vec<_> = text.split_whitespace().collect();
    let line: String = words.join(" ").chars().take(SHOWN).collect();
    match line.is_empty() {
        true => "no reason given".into(),
        false => line.into(),
    }
}

/// A reconcile that failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ReconcileError {
    kind: ErrorKind,
    message: Box<str>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ReconcileError {
    /// Because of `source`.
    #[must_use]
    pub fn new(
        kind: ErrorKind,
        message: impl Into<Box<str>>,
        source: impl Error + Send + Sync + 'static,
    ) -> Self {
        Self {
            kind,
            message: message.into(),
            source: Some(source.into()),
        }
    }

    /// For no other reason than the message.
    #[must_use]
    pub fn message(kind: ErrorKind, message: impl Into<Box<str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// What it means for the next attempt.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl From<CallError> for ReconcileError {
    fn from(error: CallError) -> Self {
        Self {
            kind: error.kind(),
            message: error.to_string().into(),
            source: error.into_source(),
        }
    }
}

impl CallError {
    fn into_source(self) -> Option<Box<dyn Error + Send + Sync>> {
        match self {
            Self::Format { source, .. } => Some(source.into()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_the_next_attempt_is() {
        let denial = "admission webhook \"vtcp.kb.io\" denied the request: no such volume";
        for (code, message, kind) in [
            (
                403,
                "secrets is forbidden: User \"x\" cannot get",
                ErrorKind::Denied,
            ),
            (403, denial, ErrorKind::Rejected),
            (401, "Unauthorized", ErrorKind::Denied),
            (404, "", ErrorKind::Missing),
            (409, "", ErrorKind::Conflict),
            (422, "", ErrorKind::Rejected),
            (429, "", ErrorKind::Transient),
            (500, "", ErrorKind::Transient),
            (503, "", ErrorKind::Transient),
        ] {
            assert_eq!(of_code(code, message), kind, "{code} {message}");
        }
    }

    #[test]
    fn what_a_server_says_is_one_line() {
        assert_eq!(&*one_line("a\n  b"), "a b");
        assert_eq!(&*one_line(""), "no reason given");
        assert_eq!(one_line(&"x".repeat(9_999)).len(), SHOWN);
    }
}
