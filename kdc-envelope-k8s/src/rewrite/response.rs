//! What an API server's responses mean for a pass. Pure, so that each of them can be tested.

use core::time::Duration;

use serde::{Deserialize, Deserializer};

use super::error::{RewriteError, Verb};
use super::lasting::{Lasting, TOO_LARGE, lasting};
use super::resolve::Object;
use crate::cluster::ServerName;
use crate::encryption_config::GroupResource;

/// A response in full.
#[derive(Debug, Default)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
    /// Who gave it.
    pub(super) server: ServerName,
}

/// A failure that may pass by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    /// On one line.
    pub(super) why: Box<str>,
}

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// The server has too much to do, and may say for how long.
    Busy(Option<Duration>),
    /// The server, what lies before it, or its etcd.
    Server,
    /// Perhaps this request alone.
    Request,
    /// No response came in time; perhaps this request alone.
    Timeout,
}

impl Failure {
    pub(super) fn server(why: &str) -> Self {
        Self {
            kind: FailureKind::Server,
            why: one_line(why),
        }
    }

    pub(super) fn request(why: &str) -> Self {
        Self {
            kind: FailureKind::Request,
            why: one_line(why),
        }
    }
}

/// What the response to a patch says of the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The resourceVersion changed.
    Rewritten,
    /// It did not.
    Current,
    /// The object is gone, or not as it was listed, says the server. It also says so of an object that has no uid.
    Changed(Box<str>),
    /// The row will not be written.
    Refused(Box<str>),
    /// Nothing will be.
    Denied {
        /// 401 or 403.
        status: u16,
        why: Box<str>,
    },
    /// Nor will anything be, because of the storage behind the server; with what to do about it.
    Storage(Box<str>, &'static str),
    /// Perhaps later.
    Failed(Failure),
}

/// What the response to a list says.
#[derive(Debug)]
pub(super) enum Listed {
    Page(Page),
    /// The continue token is too old; another one, if the server gives one.
    Expired(Option<String>),
    /// A row cannot be decrypted.
    Unreadable(Box<str>),
    /// Perhaps later.
    Failed(Failure),
}

/// A page of a listing.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) objects: Vec<Object>,
    /// Asks for the next page; `None` on the last one.
    pub(super) token: Option<String>,
    /// About how many objects come after this page.
    pub(super) remaining: Option<u64>,
    /// Length of the body.
    pub(super) bytes: usize,
}

/// Judges the response to a patch of `object`.
pub(super) fn judge_patch(object: &Object, response: &Response) -> Verdict {
    if matches!(response.status, 200 | 201) {
        return match serde_json::from_slice::<Head>(&response.body) {
            Ok(Head { metadata }) if metadata.uid == object.uid => {
                if metadata.resource_version == object.version {
                    Verdict::Current
                } else {
                    Verdict::Rewritten
                }
            }
            Ok(_) => Verdict::Failed(Failure::request("an answer about another object")),
            Err(error) => Verdict::Failed(Failure::request(&format!(
                "an answer that is no object: {error}"
            ))),
        };
    }
    let denied = |why| Verdict::Denied {
        status: response.status,
        why,
    };
    let Some(status) = Status::of(response) else {
        return match response.status {
            401 | 403 => denied(bare(response)),
            _ => Verdict::Failed(failure(response, None)),
        };
    };
    match response.status {
        401 => denied(status.why(response)),
        403 if status.is_by_authorizer() => denied(status.why(response)),
        404 if status.reason == "NotFound" => Verdict::Changed(status.why(response)),
        409 if status.reason == "Conflict" => Verdict::Changed(status.why(response)),
        413 => Verdict::Refused(status.why_with(response, TOO_LARGE)),
        500 if status.is_undecryptable() => Verdict::Refused(status.why(response)),
        500.. => match lasting(&status.message) {
            Some(Lasting::Row(advice)) => Verdict::Refused(status.why_with(response, advice)),
            Some(Lasting::Storage(advice)) => Verdict::Storage(status.why(response), advice),
            None => Verdict::Failed(failure(response, Some(&status))),
        },
        408 | 429 => Verdict::Failed(failure(response, Some(&status))),
        400.. => Verdict::Refused(status.why(response)),
        _ => Verdict::Failed(failure(response, Some(&status))),
    }
}

/// Judges the response to a list of a resource; an error is one that will stay.
pub(super) fn judge_list(
    resource: &GroupResource,
    response: &Response,
) -> Result<Listed, RewriteError> {
    let denied = |why| RewriteError::Denied {
        server: response.server.clone(),
        verb: Verb::List,
        resource: resource.to_string().into(),
        status: response.status,
        why,
    };
    if response.status == 200 {
        return Ok(match serde_json::from_slice::<List>(&response.body) {
            Ok(list) => page(list, response.body.len()),
            Err(error) => Listed::Failed(Failure::server(&format!(
                "an answer that is no list: {error}"
            ))),
        });
    }
    let Some(status) = Status::of(response) else {
        return match response.status {
            401 | 403 => Err(denied(bare(response))),
            _ => Ok(Listed::Failed(failure(response, None))),
        };
    };
    match response.status {
        401 | 403 => Err(denied(status.why(response))),
        404 => Err(RewriteError::NoSuchResource {
            resource: resource.clone(),
        }),
        410 => Ok(Listed::Expired(status.metadata.token())),
        _ if status.is_undecryptable() => Ok(Listed::Unreadable(status.why(response))),
        408 | 429 | 500.. => {
            check_storage(Verb::List, &resource.to_string(), &status, response)?;
            Ok(Listed::Failed(failure(response, Some(&status))))
        }
        _ => Err(RewriteError::Unexpected {
            server: response.server.clone(),
            verb: Verb::List,
            resource: resource.to_string().into(),
            why: status.why(response),
        }),
    }
}

/// What a response that is not to the point means to any request: a failure that may pass, or an error that will stay.
pub(super) fn judge_other(
    verb: Verb,
    what: &str,
    response: &Response,
) -> Result<Failure, RewriteError> {
    let (resource, why) = (what.into(), describe(response));
    let status = Status::of(response);
    if let Some(status) = &status {
        check_storage(verb, what, status, response)?;
    }
    match (response.status, &status) {
        (401 | 403, _) => Err(RewriteError::Denied {
            server: response.server.clone(),
            verb,
            resource,
            status: response.status,
            why,
        }),
        (408 | 429 | 500.., _) | (_, None) => Ok(failure(response, status.as_ref())),
        _ => Err(RewriteError::Unexpected {
            server: response.server.clone(),
            verb,
            resource,
            why,
        }),
    }
}

/// An error if the storage behind the server fails in a way that does not pass by itself.
fn check_storage(
    verb: Verb,
    what: &str,
    status: &Status,
    response: &Response,
) -> Result<(), RewriteError> {
    match lasting(&status.message) {
        Some(Lasting::Storage(advice)) if response.status >= 500 => Err(RewriteError::Storage {
            server: response.server.clone(),
            verb,
            resource: what.into(),
            why: status.why(response),
            advice,
        }),
        _ => Ok(()),
    }
}

/// Status and message of any response, on one line.
fn describe(response: &Response) -> Box<str> {
    Status::of(response).map_or_else(|| bare(response), |status| status.why(response))
}

fn page(list: List, bytes: usize) -> Listed {
    if !list.kind.ends_with("List") {
        return Listed::Failed(Failure::server("an answer that is no list"));
    }
    let mut objects = Vec::with_capacity(list.items.len());
    for Head { metadata } in list.items {
        let object = Object {
            namespace: metadata.namespace,
            name: metadata.name,
            uid: metadata.uid,
            version: metadata.resource_version,
        };
        if object.name.is_empty() || object.version.is_empty() {
            return Listed::Failed(Failure::server(
                "a list of objects without names or versions",
            ));
        }
        objects.push(object);
    }
    Listed::Page(Page {
        objects,
        token: list.metadata.token(),
        remaining: list
            .metadata
            .remaining
            .and_then(|count| u64::try_from(count).ok()),
        bytes,
    })
}

fn failure(response: &Response, status: Option<&Status>) -> Failure {
    let kind = match response.status {
        429 | 503 => FailureKind::Busy(response.retry_after),
        500 if status.is_some_and(|status| !status.is_about_etcd()) => FailureKind::Request,
        _ => FailureKind::Server,
    };
    Failure {
        kind,
        why: status.map_or_else(|| bare(response), |status| status.why(response)),
    }
}

/// A response that does not come from an API server, or not whole.
fn bare(response: &Response) -> Box<str> {
    format!(
        "status {} without the reason of an API server",
        response.status
    )
    .into()
}

/// The head of any object.
#[derive(Debug, Deserialize)]
struct Head {
    metadata: Metadata,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    namespace: Box<str>,
    #[serde(default)]
    name: Box<str>,
    #[serde(default)]
    uid: Box<str>,
    #[serde(default)]
    resource_version: Box<str>,
}

#[derive(Debug, Deserialize)]
struct List {
    #[serde(default)]
    kind: Box<str>,
    #[serde(default)]
    metadata: ListMetadata,
    /// Never left out, though it may be null.
    #[serde(deserialize_with = "or_null")]
    items: Vec<Head>,
}

/// `null` is what a list in Go without elements becomes.
fn or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Head>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[derive(Debug, Default, Deserialize)]
struct ListMetadata {
    #[serde(default, rename = "continue")]
    token: String,
    #[serde(default, rename = "remainingItemCount")]
    remaining: Option<i64>,
}

impl ListMetadata {
    fn token(&self) -> Option<String> {
        (!self.token.is_empty()).then(|| self.token.clone())
    }
}

/// `metav1.Status`, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Status {
    kind: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    metadata: ListMetadata,
    #[serde(default)]
    details: Option<Details>,
}

#[derive(Debug, Deserialize)]
struct Details {
    #[serde(default)]
    causes: Option<Vec<Cause>>,
}

#[derive(Debug, Deserialize)]
struct Cause {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    field: String,
}

impl Status {
    fn of(response: &Response) -> Option<Self> {
        let status: Self = serde_json::from_slice(&response.body).ok()?;
        (status.kind == "Status").then_some(status)
    }

    /// Whether RBAC or another authorizer forbids it, and not admission (`forbiddenMessage` in
    /// `k8s.io/apiserver/pkg/endpoints/handlers/responsewriters`).
    fn is_by_authorizer(&self) -> bool {
        self.message
            .split_once("User \"")
            .is_some_and(|(_, rest)| rest.contains("\" cannot "))
    }

    /// Whether no key that the server has decrypts the row. With a KMS plugin that does not answer it may be another
    /// time.
    fn is_undecryptable(&self) -> bool {
        let is_about_plugin = ["rpc error", "code = ", "context deadline exceeded"];
        let has = |texts: &[&str]| texts.iter().any(|text| self.message.contains(text));
        has(&UNDECRYPTABLE) && !has(&is_about_plugin)
    }

    /// Whether etcd or a KMS plugin fails, and so all rows alike.
    fn is_about_etcd(&self) -> bool {
        [
            "etcdserver: ",
            "context deadline exceeded",
            "rpc error",
            "transport is closing",
        ]
        .iter()
        .any(|text| self.message.contains(text))
    }

    /// Why, on one line. A validation repeats the values of fields, which may be secret: of it only the fields are
    /// named.
    fn why(&self, response: &Response) -> Box<str> {
        let causes = self
            .details
            .as_ref()
            .and_then(|details| details.causes.as_ref());
        let causes = causes.map(Vec::as_slice).unwrap_or_default();
        let text = if self.reason == "Invalid" && causes.iter().any(|cause| !cause.field.is_empty())
        {
            let parts: Vec<_> = causes.iter().map(Cause::without_values).collect();
            parts.join("; ")
        } else {
            self.message.clone()
        };
        if text.is_empty() {
            return bare(response);
        }
        one_line(&format!("{} ({})", text, response.status))
    }

    /// The same, and what to do about it.
    fn why_with(&self, response: &Response, advice: &str) -> Box<str> {
        format!("{}; {advice}", self.why(response)).into()
    }
}

impl Cause {
    fn without_values(&self) -> String {
        if self.field.is_empty() || self.field == "<nil>" {
            self.message.clone()
        } else {
            format!("{}: {}", self.field, self.reason)
        }
    }
}

/// The text without control characters and other ends of lines, and at most [`LONGEST_LINE`] characters of it.
pub(super) fn one_line(text: &str) -> Box<str> {
    let mut line = String::new();
    let mut count = 0;
    for word in text.split(|c: char| c.is_whitespace() || is_unprintable(c)) {
        if word.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        for c in word.chars() {
            count += 1;
            if count > LONGEST_LINE {
                line.push('…');
                return line.into();
            }
            line.push(c);
        }
    }
    line.into()
}

/// Control characters, and those that change the direction of text.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

const LONGEST_LINE: usize = 500;

/// What kube-apiserver says of such a row: in lists, and of each kind of provider in a patch.
const UNDECRYPTABLE: [&str; 5] = [
    "unable to transform key",
    "message authentication failed",
    "no matching prefix found",
    "no matching key was found",
    "identity transformer tried to read encrypted data",
];

#[cfg(test)]
mod tests;
