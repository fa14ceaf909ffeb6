//! What an S3 server says when it says no, in one line that tells what to do.

use kdc_envelope::ErrorChain;
use object_store::Error as StoreError;
use object_store::client::HttpError;

use super::response::{Condition, No, Operation, Refusal};
use crate::advice::Advice;
use crate::error::{BackupError, BackupErrorKind as ErrorKind};

/// More of a server's words than this, in characters, does not help.
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
    pub(super) fn failure(&self, verb: &str, error: &StoreError) -> BackupError {
        let Self {
            bucket,
            endpoint,
            key,
        } = self;
        let what = match key.is_empty() {
            true => format!("cannot {verb} s3://{bucket}"),
            false => format!("cannot {verb} s3://{bucket}/{key}"),
        };
        let (exit, reason, hint) = match refusal(error) {
            Some(Refusal::No(no)) => {
                let kind = Kind::of_no(no);
                let words = no_words(kind, endpoint, verb, no);
                (kind.error_kind(), words.0, words.1)
            }
            Some(refusal) => {
                let words = refusal_words(refusal, endpoint);
                (Kind::of(error).error_kind(), words.0, words.1)
            }
            None => {
                let kind = Kind::of(error);
                let words = store_words(kind, endpoint, error);
                (kind.error_kind(), words.0, words.1)
            }
        };
        let failure = BackupError::new(exit, format!("{what}: {reason}"));
        match hint {
            None => failure,
            Some(hint) => failure.advise(hint),
        }
    }
}

/// What kind of no it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    NoBucket,
    NoObject,
    /// The key id, its secret or a token.
    Credentials,
    /// A token that was good once.
    Expired,
    /// The clocks differ.
    Clock,
    /// A right is missing.
    Forbidden,
    Exists,
    Changed,
    Region,
    /// It wants the bucket in the path, or in its name.
    Addressing,
    /// A checksum that it does not take, or that it demands.
    Checksum,
    /// It does not know what was asked.
    Unknown,
    /// It has not what snapshots need.
    Unfit,
    /// What came in is not what was sent.
    Altered,
    /// The upload in parts is not known any more.
    Aborted,
    /// Nothing more goes in.
    Full,
    /// It does not accept a request of this length.
    TooLong,
    /// The object must be fetched from an archive.
    Archived,
    /// TLS where there is none, or the reverse.
    Scheme,
    Redirect,
    NotS3,
    Listing,
    Server,
    Silent,
    Other,
}

impl Kind {
    pub(super) fn of(error: &StoreError) -> Self {
        match refusal(error) {
            Some(Refusal::No(no)) => Self::of_no(no),
            Some(Refusal::NotS3(_) | Refusal::Odd(_)) => Self::NotS3,
            Some(Refusal::Listing(_)) => Self::Listing,
            Some(Refusal::Redirect { .. }) => Self::Redirect,
            Some(Refusal::Credentials { .. }) => Self::Credentials,
            None => match error {
                StoreError::AlreadyExists { .. } => Self::Exists,
                _ if is_transport(error) => Self::Silent,
                _ => Self::Other,
            },
        }
    }

    /// By the code where there is one, since it says more than the status.
    fn of_no(no: &No) -> Self {
        Self::of_code(&no.code).unwrap_or_else(|| Self::of_status(no))
    }

    fn of_code(code: &str) -> Option<Self> {
        match code {
            "NoSuchBucket" => Some(Self::NoBucket),
            "NoSuchKey" | "NoSuchVersion" => Some(Self::NoObject),
            "NoSuchUpload" => Some(Self::Aborted),
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "InvalidToken"
            | "NotSignedUp"
            | "InvalidClientTokenId"
            | "InvalidSecurity" => Some(Self::Credentials),
            "ExpiredToken" | "TokenRefreshRequired" => Some(Self::Expired),
            "RequestTimeTooSkewed" | "RequestExpired" => Some(Self::Clock),
            "PermanentRedirect"
            | "TemporaryRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException" => Some(Self::Region),
            "SecondLevelDomainForbidden"
            | "PathStyleDomainForbidden"
            | "InvalidBucketName"
            | "InvalidURI"
            | "VirtualHostDomainRequired" => Some(Self::Addressing),
            "BadDigest"
            | "XAmzContentSHA256Mismatch"
            | "XAmzContentChecksumMismatch"
            | "IncompleteBody" => Some(Self::Altered),
            "QuotaExceeded"
            | "BucketQuotaExceeded"
            | "XMinioStorageFull"
            | "XMinioAdminBucketQuotaExceeded"
            | "InsufficientStorage" => Some(Self::Full),
            "EntityTooLarge" => Some(Self::TooLong),
            "InvalidObjectState" => Some(Self::Archived),
            "AccessDenied" | "AllAccessDisabled" => Some(Self::Forbidden),
            "ConditionalRequestConflict" | "OperationAborted" => Some(Self::Changed),
            _ => None,
        }
    }

    fn of_status(no: &No) -> Self {
        let words = no.message.to_ascii_lowercase();
        let is_of_checksum = ["checksum", "content-md5", "crc64"]
            .iter()
            .any(|word| words.contains(word));
        let is_of_scheme = words.contains("https server") || words.contains("https port");
        match (no.status, no.asked.condition) {
            (400, _) if is_of_scheme => Self::Scheme,
            (400 | 501, _) if is_of_checksum => Self::Checksum,
            (501, Some(_)) => Self::Unfit,
            (501, None) if no.asked.has_checksum => Self::Checksum,
            (405 | 501, _) => Self::Unknown,
            (404, _) if no.asked.operation == Operation::List => Self::NoBucket,
            (404, Some(Condition::Same)) => Self::Changed,
            (404, _) => Self::NoObject,
            (304 | 409 | 412, Some(Condition::Absent)) => Self::Exists,
            (304 | 409 | 412, _) => Self::Changed,
            (301 | 307 | 308, _) => Self::Region,
            (401, _) => Self::Credentials,
            (403, _) => Self::Forbidden,
            (413, _) => Self::TooLong,
            (507, _) => Self::Full,
            (500.., _) => Self::Server,
            _ if no.is_transient() => Self::Server,
            _ => Self::Other,
        }
    }

    const fn error_kind(self) -> ErrorKind {
        match self {
            Self::NoBucket | Self::NoObject | Self::Archived => ErrorKind::NotFound,
            Self::Credentials | Self::Expired | Self::Clock | Self::Forbidden => ErrorKind::Denied,
            Self::Exists => ErrorKind::AlreadyExists,
            Self::Changed => ErrorKind::Conflict,
            Self::Region
            | Self::Redirect
            | Self::Addressing
            | Self::Checksum
            | Self::Scheme
            | Self::Unknown
            | Self::Unfit => ErrorKind::Configuration,
            Self::NotS3 | Self::Listing => ErrorKind::Damaged,
            Self::Server | Self::Silent => ErrorKind::Unavailable,
            Self::Altered | Self::Aborted | Self::Full | Self::TooLong | Self::Other => {
                ErrorKind::Io
            }
        }
    }
}

/// A reason, and what to do.
type Words = (String, Option<Advice>);

/// A no of the server.
fn no_words(kind: Kind, endpoint: &str, verb: &str, no: &No) -> Words {
    match kind {
        Kind::Exists => exists_words(),
        Kind::Region => region_words(no),
        Kind::Checksum => checksum_words(endpoint, no),
        Kind::Unfit => unfit_words(endpoint, no),
        _ => (no_reason(kind, endpoint, no), no_hint(kind, verb, no)),
    }
}

fn no_reason(kind: Kind, endpoint: &str, no: &No) -> String {
    let code = match no.code.is_empty() {
        true => String::new(),
        false => format!(" ({})", no.code),
    };
    let said = said(no);
    match kind {
        Kind::NoBucket => format!("there is no such bucket at {endpoint}"),
        Kind::NoObject => "there is no such object".to_owned(),
        Kind::Credentials => format!("{endpoint} refuses the credentials{code}"),
        Kind::Expired => format!("the token of the credentials has expired{code}"),
        Kind::Clock => format!(
            "the clocks of this machine and of {endpoint} differ by more than it allows{code}"
        ),
        Kind::Forbidden => {
            let more = of_its_own(no);
            format!("{endpoint} does not allow it with these credentials{code}{more}")
        }
        Kind::Changed => "another process changed it concurrently".to_owned(),
        Kind::Addressing => format!("{endpoint} does not take the bucket like this: {said}{code}"),
        Kind::Unknown => format!("{endpoint} does not know this request: {said}{code}"),
        Kind::Altered => format!("what {endpoint} got is not what was sent{code}"),
        Kind::Aborted => format!("{endpoint} does not know the upload any more{code}"),
        Kind::Full => format!("{endpoint} has no more room: {said}{code}"),
        Kind::TooLong => {
            format!("{endpoint} does not accept a request of this length: {said}{code}")
        }
        Kind::Archived => format!("the object is archived{code}"),
        Kind::Scheme => format!("{endpoint} speaks TLS"),
        Kind::Server => format!("{endpoint} keeps failing: {said}{code}"),
        _ => format!("{endpoint} says: {said}{code}"),
    }
}

fn no_hint(kind: Kind, verb: &str, no: &No) -> Option<Advice> {
    let hint = match kind {
        Kind::NoBucket => "create it, or correct {store}, {endpoint} or {region}",
        Kind::Credentials => credentials_hint(no),
        Kind::Expired => "get new credentials; AWS_SESSION_TOKEN goes with its key id and secret",
        Kind::Clock => "set the clock of this machine, by NTP for example",
        Kind::Forbidden => {
            return Some(Advice::with(
                "grant {}, or use other credentials",
                right(verb),
            ));
        }
        Kind::Changed => "try again",
        Kind::Addressing => {
            "try {addressing} virtual, or path if that was given, and check the name of the bucket"
        }
        Kind::Unknown => {
            "a server that lacks it is not fit for snapshots; if it has it, check {endpoint}"
        }
        Kind::Altered => "try again; if it stays, something in between changes it",
        Kind::Aborted => {
            "try again; a lifecycle rule of the bucket may abort uploads too soon: give it a day at least"
        }
        Kind::Full => "raise the quota of the bucket, or delete snapshots by {prune}",
        Kind::TooLong => {
            "parts have 8 MiB, and 64 MiB after the first 64 GiB; raise the limit, also that of a proxy before the server"
        }
        Kind::Archived => {
            "restore it from the archive first, with `aws s3api restore-object` for example"
        }
        Kind::Scheme => "begin {endpoint} with https://",
        Kind::Server => "try again later",
        _ => return None,
    };
    Some(hint.into())
}

/// The server's own words, or else the status.
fn said(no: &No) -> String {
    match no.message.is_empty() {
        true => format!("status {}", no.status),
        false => {
            let message = no.message.trim_end_matches('.');
            message.chars().take(MAX_REASON_LEN).collect()
        }
    }
}

/// The words of a server that says more than that access is denied, as for a locked object.
fn of_its_own(no: &No) -> String {
    let words = no.message.trim_end_matches('.');
    let is_plain = words.is_empty()
        || words.eq_ignore_ascii_case("access denied")
        || words.eq_ignore_ascii_case("forbidden");
    match is_plain {
        true => String::new(),
        false => format!(": {}", said(no)),
    }
}

fn credentials_hint(no: &No) -> &'static str {
    match no.code.as_str() {
        "InvalidAccessKeyId" | "InvalidClientTokenId" => {
            "check AWS_ACCESS_KEY_ID, or the profile in ~/.aws: it is not known there"
        }
        "SignatureDoesNotMatch" => {
            "check AWS_SECRET_ACCESS_KEY, or the profile in ~/.aws, and whether a proxy changes host or path"
        }
        "InvalidToken" => "check AWS_SESSION_TOKEN: it must be that of the key id",
        _ => "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile in ~/.aws",
    }
}

/// What a verb needs, in the words of policies.
fn right(verb: &str) -> &'static str {
    match verb {
        "list" => "s3:ListBucket on the bucket",
        "read" => "s3:GetObject on its objects, and s3:ListBucket on the bucket",
        "delete" => "s3:DeleteObject on its objects",
        "abort the upload of" => "s3:AbortMultipartUpload on its objects",
        _ => "s3:PutObject on its objects",
    }
}

fn region_words(no: &No) -> Words {
    match &no.region {
        Some(region) => (
            format!("the bucket is in the region {region}"),
            Some(Advice::with(
                "give {region} {}, and no {endpoint} of another region",
                region,
            )),
        ),
        None => (
            "the bucket is in another region".to_owned(),
            Some("give {region}".into()),
        ),
    }
}

fn checksum_words(endpoint: &str, no: &No) -> Words {
    let said = said(no);
    // By its words: what is said of a checksum that was not sent may be said of anything.
    let (reason, hint) = match no.asked.has_checksum {
        _ if said.contains("required") => (
            "wants a checksum with what is stored",
            "give {checksum} sha256",
        ),
        true => (
            "does not take the checksum that goes along",
            "try {checksum} sha256, or {checksum} none",
        ),
        false => (
            "refuses the request over a checksum, and none goes along",
            "try {checksum} sha256, or another server",
        ),
    };
    (format!("{endpoint} {reason}: {said}"), Some(hint.into()))
}

fn unfit_words(endpoint: &str, no: &No) -> Words {
    let header = match no.asked.condition {
        Some(Condition::Same) => "If-Match",
        _ => "If-None-Match",
    };
    let reason = format!(
        "{endpoint} has no conditional writes ({header}), by which one run cannot overwrite another's snapshot: it is not fit for snapshots"
    );
    let hint = match no.asked.has_checksum {
        true => "use another server; if this one is said to have them, try {checksum} none",
        false => "use another server, or a folder",
    };
    (reason, Some(hint.into()))
}

/// What is no answer of S3.
fn refusal_words(refusal: &Refusal, endpoint: &str) -> Words {
    let (reason, hint) = match refusal {
        Refusal::NotS3(what) => (
            format!("{endpoint} is not an S3 server: it answered with {what}"),
            "check {endpoint}; a web console or a proxy may be there",
        ),
        Refusal::Odd(what) => (
            format!("{endpoint} does not answer as S3 servers do: it gave {what}"),
            "check {endpoint}, and what is between, or use another server",
        ),
        Refusal::Listing(why) => (
            format!("{endpoint} gives no complete listing: {why}"),
            "check {endpoint}, or use another server",
        ),
        Refusal::Redirect { to } if to.is_empty() => (
            format!("{endpoint} redirects to another of its pages, as S3 servers do not"),
            "check {endpoint}; a web console or a proxy may be there",
        ),
        Refusal::Redirect { to } => (
            format!(
                "{endpoint} redirects to {to}, which is not followed, as credentials would go there"
            ),
            "if that is the server, give it as {endpoint}, or give {region}",
        ),
        Refusal::Credentials { host, why } => (
            format!("{host}, which hands out the credentials, {why}"),
            "check it, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        Refusal::No(_) => return (refusal.to_string(), None),
    };
    (reason, Some(hint.into()))
}

/// What the client says by itself.
fn store_words(kind: Kind, endpoint: &str, error: &StoreError) -> Words {
    let (reason, hint) = match kind {
        Kind::Exists => return exists_words(),
        Kind::Silent => {
            let reason = reason(error);
            let hint = silent_hint(&reason);
            (
                format!("{endpoint} does not answer: {reason}"),
                Some(hint.into()),
            )
        }
        _ => (format!("{}, at {endpoint}", reason(error)), None),
    };
    (reason, hint)
}

/// By the words of what speaks TLS and HTTP here.
fn silent_hint(reason: &str) -> &'static str {
    match reason {
        _ if reason.contains("InvalidContentType") => {
            "it may have no TLS: then begin {endpoint} with http://, and say {allow_http}"
        }
        _ if reason.contains("invalid HTTP version") => {
            "it may have TLS: then begin {endpoint} with https://"
        }
        _ => {
            "check {endpoint}, the network, and {ca_file} if its certificate is of an own authority"
        }
    }
}

fn exists_words() -> Words {
    (
        "it exists already".to_owned(),
        Some(crate::store::NEVER_OVERWRITTEN.into()),
    )
}

/// The refusal that an error carries.
fn refusal(error: &StoreError) -> Option<&Refusal> {
    let mut causes = ErrorChain::new(error).causes();
    causes.find_map(|cause| cause.downcast_ref::<Refusal>())
}

/// Whether no answer came, or only a part of one.
fn is_transport(error: &StoreError) -> bool {
    let mut causes = ErrorChain::new(error).causes();
    causes.any(|cause| cause.is::<HttpError>())
}

/// The innermost words: those around them repeat them.
fn reason(error: &StoreError) -> String {
    let innermost = ErrorChain::new(error).innermost().to_string();
    innermost.chars().take(MAX_REASON_LEN).collect()
}
