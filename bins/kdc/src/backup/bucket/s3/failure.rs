//! What an S3 server says when it says no, in one line that tells what to do.

use std::error::Error;

use object_store::Error as StoreError;

use crate::failure::{Exit, Failure};

/// More of a server's words than this, in characters, helps nobody.
const MAX_REASON_LEN: usize = 300;

/// Where it happened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) bucket: &'a str,
    pub(super) endpoint: &'a str,
    pub(super) key: &'a str,
}

impl Place<'_> {
    /// `verb` failed there because of `error`.
    pub(super) fn failure(&self, verb: &str, error: &StoreError) -> Failure {
        let Self {
            bucket,
            endpoint,
            key,
        } = self;
        let text = error.to_string();
        let code = code(&text);
        let what = match key.is_empty() {
            true => format!("cannot {verb} s3://{bucket}"),
            false => format!("cannot {verb} s3://{bucket}/{key}"),
        };
        let fail = |exit: Exit, reason: &str| Failure::new(exit, format!("{what}: {reason}"));
        let kind = Kind::of(error, code, &text);
        let code = code.map_or_else(String::new, |code| format!(" ({code})"));
        match kind {
            Kind::NoBucket => {
                let reason = format!("there is no such bucket at {endpoint}");
                fail(Exit::NoInput, &reason)
                    .hint("create it, or correct --bucket, --s3-endpoint or --s3-region")
            }
            Kind::NoObject => fail(Exit::NoInput, "there is no such object"),
            Kind::Credentials => fail(
                Exit::Denied,
                &format!("{endpoint} refuses the credentials{code}"),
            )
            .hint("check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile in ~/.aws"),
            Kind::Forbidden => fail(
                Exit::Denied,
                &format!("{endpoint} does not allow it with these credentials{code}"),
            )
            .hint("check the credentials and the policy of the bucket"),
            Kind::Exists => fail(Exit::CannotCreate, "it exists already").hint(
                "a snapshot is never overwritten; take a new id, or let `kdc backup prune` delete it",
            ),
            Kind::Changed => fail(Exit::Negative, "somebody else changed it meanwhile").hint("try again"),
            Kind::Region => fail(Exit::Config, "the bucket is in another region").hint("give --s3-region"),
            Kind::Server => fail(
                Exit::Unavailable,
                &format!("{endpoint} keeps failing: {}{code}", reason(error)),
            )
            .hint("try again later"),
            Kind::Silent => fail(
                Exit::Unavailable,
                &format!("{endpoint} does not answer: {}", reason(error)),
            )
            .hint("check --s3-endpoint, the network, and --s3-ca-file if its certificate is of an own authority"),
            Kind::Other => fail(Exit::Io, &reason(error)),
        }
    }
}

/// What kind of no it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    NoBucket,
    NoObject,
    Credentials,
    Forbidden,
    Exists,
    Changed,
    Region,
    Server,
    Silent,
    Other,
}

impl Kind {
    pub(super) fn of_error(error: &StoreError) -> Self {
        let text = error.to_string();
        Self::of(error, code(&text), &text)
    }

    fn of(error: &StoreError, code: Option<&str>, text: &str) -> Self {
        match code {
            Some("NoSuchBucket") => return Self::NoBucket,
            Some(
                "InvalidAccessKeyId"
                | "SignatureDoesNotMatch"
                | "InvalidToken"
                | "ExpiredToken"
                | "NotSignedUp"
                | "RequestTimeTooSkewed",
            ) => return Self::Credentials,
            Some("PermanentRedirect" | "AuthorizationHeaderMalformed") => return Self::Region,
            _ => {}
        }
        match error {
            StoreError::NotFound { .. } => Self::NoObject,
            StoreError::Unauthenticated { .. } => Self::Credentials,
            StoreError::PermissionDenied { .. } => Self::Forbidden,
            StoreError::AlreadyExists { .. } => Self::Exists,
            StoreError::Precondition { .. } => Self::Changed,
            _ if text.contains("redirect without LOCATION") => Self::Region,
            _ if text.contains("non-2xx status code: 5") || text.contains("status code: 429") => {
                Self::Server
            }
            _ if is_transport(error) => Self::Silent,
            _ => Self::Other,
        }
    }
}

/// Whether no answer came, or only a part of one.
fn is_transport(error: &StoreError) -> bool {
    let mut next: Option<&dyn Error> = Some(error);
    while let Some(error) = next {
        if error.is::<object_store::client::HttpError>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// The code in an answer of S3, such as `NoSuchKey`.
fn code(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let is_word = code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_word.then_some(code)
}

/// The innermost words: those around them repeat them.
fn reason(error: &StoreError) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let text = innermost.to_string();
    let text = match text.split_once("<Message>") {
        Some((_, rest)) => rest.split("</Message>").next().unwrap_or_default(),
        None => &text,
    };
    text.chars().take(MAX_REASON_LEN).collect()
}
