//! What an answer of OpenBao means.
//!
//! The texts are those of OpenBao 2.6.2 and 2.7.2. Many come in two dresses, plain or as a list of one error, so they
//! are searched for inside the message.

use core::time::Duration;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use super::config::Namespace;
use crate::error::{BaoError, Place};

const MAX_MESSAGE_CHARS: usize = 300;

/// An answer that is no error, or one whose parts have errors of their own.
#[derive(Debug)]
pub struct Response {
    pub(crate) status: StatusCode,
    pub(crate) address: Arc<str>,
    pub(crate) body: Zeroizing<Vec<u8>>,
    pub(crate) index: Option<Arc<str>>,
    pub(crate) server_time: Option<SystemTime>,
}

#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
}

#[derive(Deserialize)]
struct Authenticated<T> {
    auth: T,
}

impl Response {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The clock of the server when it answered, in whole seconds.
    #[must_use]
    pub const fn server_time(&self) -> Option<SystemTime> {
        self.server_time
    }

    /// What the answer holds under `data`. `T` may borrow from it.
    ///
    /// # Errors
    /// [`BaoError::Unintelligible`]
    pub fn data<'a, T: Deserialize<'a>>(&'a self) -> Result<T, BaoError> {
        serde_json::from_slice::<Envelope<T>>(&self.body)
            .map(|envelope| envelope.data)
            .map_err(|_| self.unintelligible())
    }

    /// What the answer holds under `auth`.
    ///
    /// # Errors
    /// [`BaoError::Unintelligible`]
    pub(crate) fn auth<'a, T: Deserialize<'a>>(&'a self) -> Result<T, BaoError> {
        serde_json::from_slice::<Authenticated<T>>(&self.body)
            .map(|envelope| envelope.auth)
            .map_err(|_| self.unintelligible())
    }

    /// The whole answer, for the few that have no envelope.
    pub(crate) fn whole<T: DeserializeOwned>(&self) -> Result<T, BaoError> {
        serde_json::from_slice(&self.body).map_err(|_| self.unintelligible())
    }

    /// Refuses the page of another server under a status of success: OpenBao answers with a JSON object, or with 204 and nothing.
    fn checked(self) -> Result<Self, BaoError> {
        let body = self.body.trim_ascii();
        let is_object = body.starts_with(b"{") && body.ends_with(b"}");
        let is_nothing = body.is_empty() && self.status == StatusCode::NO_CONTENT;
        if is_object || is_nothing {
            return Ok(self);
        }
        Err(self.unintelligible())
    }

    pub(crate) fn unintelligible(&self) -> BaoError {
        self.strange("the body")
    }

    /// It has a part that OpenBao does not give.
    pub(crate) fn strange(&self, what: &'static str) -> BaoError {
        BaoError::Unintelligible {
            what,
            address: Arc::clone(&self.address),
        }
    }

    /// Scheme, host and port of the one that answered.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

/// For fields of answers: nothing where OpenBao has an empty list or text is `null` in some answers and left out in others.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// What was asked, as far as it decides what an answer means.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) operation: &'static str,
    pub(crate) path: &'a str,
    pub(crate) namespace: Option<&'a Namespace>,
    /// Whether errors may stand in the parts of the answer.
    pub(crate) is_batch: bool,
}

#[derive(Deserialize, Default)]
struct Failure<'a> {
    #[serde(borrow)]
    errors: Option<Vec<Cow<'a, str>>>,
    data: Option<IgnoredAny>,
    request_id: Option<IgnoredAny>,
}

/// Gives back what succeeded, and names what did not.
pub(crate) fn judge(
    question: Question<'_>,
    headers: &HeaderMap,
    answer: Response,
) -> Result<Response, BaoError> {
    let status = answer.status;
    if status.is_success() {
        return answer.checked();
    }
    let parsed: Option<Failure<'_>> = serde_json::from_slice(&answer.body).ok();
    let Some(failure) = parsed else {
        return Err(foreign(status, &answer));
    };
    if question.is_batch && failure.errors.is_none() && failure.data.is_some() {
        return Ok(answer);
    }
    let is_of_openbao = failure.errors.is_some() || failure.request_id.is_some();
    if !is_of_openbao && status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
        // A 404 of a gateway says nothing about what is in OpenBao, nor its 403 about the token.
        return Err(foreign(status, &answer));
    }
    let message = words(failure.errors.as_deref().unwrap_or_default());
    let address = Arc::clone(&answer.address);
    Err(name(
        question,
        status,
        address,
        message,
        retry_after(headers),
    ))
}

fn name(
    question: Question<'_>,
    status: StatusCode,
    address: Arc<str>,
    message: String,
    retry_after: Option<Duration>,
) -> BaoError {
    let place = Place {
        path: question.path.into(),
        namespace: question.namespace.cloned(),
        address: Arc::clone(&address),
    };
    let status = status.as_u16();
    match status {
        400 if is_lag(&message) => BaoError::Lagging { message },
        400 if message.contains("check-and-set parameter") => BaoError::Conflict { place },
        400 if message.contains("currently being created or deleted") => {
            BaoError::Lagging { message }
        }
        400 if message.contains("No secret engine mount at")
            || message.contains("encryption key not found")
            || message.contains("could be found")
            || message == "key not found" =>
        {
            not_found(place, message)
        }
        403 if is_policy_denial(&message) => BaoError::Forbidden {
            operation: question.operation,
            place,
        },
        403 => BaoError::Unauthenticated { address, message },
        404 => not_found(place, message),
        429 | 502 if retry_after.is_some() || !message.is_empty() => BaoError::Throttled {
            address,
            retry_after,
            message: or_none(message),
        },
        429 => BaoError::Lagging {
            message: "the node has not caught up".to_owned(),
        },
        503 if message.contains("is sealed") => BaoError::Sealed { address },
        500 if is_permanent(&message) => BaoError::Rejected {
            status,
            place,
            message,
        },
        412 | 500..=599 => BaoError::Unready {
            address,
            status,
            message: or_none(message),
        },
        _ => BaoError::Rejected {
            status,
            place,
            message: or_none(message),
        },
    }
}

fn not_found(place: Place, message: String) -> BaoError {
    let message = match message.as_str() {
        "" => message,
        words => format!(": {words}"),
    };
    BaoError::NotFound { place, message }
}

fn or_none(message: String) -> String {
    if message.is_empty() {
        return "no reason given".to_owned();
    }
    message
}

/// Of a proxy in between, whose status still says what it thinks.
fn foreign(status: StatusCode, answer: &Response) -> BaoError {
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return BaoError::Unready {
            address: Arc::clone(&answer.address),
            status: status.as_u16(),
            message: "the answer is not of OpenBao".to_owned(),
        };
    }
    answer.unintelligible()
}

/// A version that a standby may not have seen yet, and one that vanished; the caller tells them apart by trying again.
pub(crate) fn is_lag(message: &str) -> bool {
    message.contains("version is too new")
        || message
            .contains("requested version for encryption is higher than the latest key version")
}

/// The bare words mean the token; within a list of errors they mean its policies. Vault adds `invalid token` to the former.
fn is_policy_denial(message: &str) -> bool {
    message.contains("error occurred") && !message.contains("invalid token")
}

/// Answers with status 500 that no repetition changes.
fn is_permanent(message: &str) -> bool {
    [
        "failed to parse batch input",
        "illegal base64",
        "soft-deleted key",
        "could not load backend configuration",
        "past the max TTL",
        "does not exist during renewal",
    ]
    .iter()
    .any(|text| message.contains(text))
}

/// Seconds, or a date; more than an hour is taken for an hour.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let at = httpdate::parse_http_date(text).ok()?;
            let wait = at.duration_since(server_time(headers)?).ok()?;
            wait.as_secs()
        }
    };
    Some(Duration::from_secs(seconds.min(3_600)))
}

/// The clock of the server.
pub(crate) fn server_time(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()
}

/// One line of at most [`MAX_MESSAGE_CHARS`], whatever the server sends.
pub(crate) fn words(errors: &[Cow<'_, str>]) -> String {
    let joined = errors.join("; ");
    let mut line = String::new();
    for word in joined.split(|c: char| c.is_whitespace() || c.is_control()) {
        if !word.is_empty() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    match line.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}...", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

#[cfg(test)]
mod tests;
