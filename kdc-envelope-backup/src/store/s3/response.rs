//! What an answer is: what was asked for, a no of S3, or nothing of S3 at all.

use object_store::client::HttpRequest;
use object_store::{Error as StoreError, HeaderMap};

use super::xml::Element;

/// What a request asks for, and with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) operation: Operation,
    pub(super) condition: Option<Condition>,
    /// Whether the content, or the upload, has a checksum for the server to check.
    pub(super) has_checksum: bool,
    /// Whether only a part of the object was asked for.
    pub(super) has_range: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    List,
    Get,
    Head,
    Put,
    Delete,
    /// Of an upload in parts.
    Begin,
    Complete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// `If-None-Match`
    Absent,
    /// `If-Match`
    Same,
}

impl Asked {
    /// Of a request to the bucket at this path.
    pub(super) fn of(request: &HttpRequest, bucket: &str) -> Self {
        let headers = request.headers();
        let query = request.uri().query().unwrap_or_default();
        let path = request.uri().path().trim_end_matches('/');
        let operation = match request.method().as_str() {
            "GET" if path == bucket => Operation::List,
            "GET" => Operation::Get,
            "HEAD" => Operation::Head,
            "DELETE" => Operation::Delete,
            "POST" if query.starts_with("uploads") => Operation::Begin,
            "POST" => Operation::Complete,
            _ => Operation::Put,
        };
        let condition = match () {
            () if headers.contains_key("if-none-match") => Some(Condition::Absent),
            () if headers.contains_key("if-match") => Some(Condition::Same),
            () => None,
        };
        let is_checksum = |name: &str| name.starts_with("x-amz-checksum-");
        Self {
            operation,
            condition,
            has_checksum: headers.keys().any(|name| is_checksum(name.as_str())),
            has_range: headers.contains_key("range"),
        }
    }
}

/// Why a request did not bring what it asked for. It travels inside of the errors of the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// The server says no.
    #[error("the server answered {} {}", .0.status, .0.code)]
    No(Box<No>),
    /// No S3 server answers with this.
    #[error("{0}")]
    NotS3(String),
    /// An S3 server may be there, but does not answer with this.
    #[error("{0}")]
    Odd(String),
    /// A listing that cannot be taken for the whole one, and why.
    #[error("{0}")]
    Listing(String),
    /// It would have the request sent elsewhere.
    #[error("it redirects to {to}")]
    Redirect { to: String },
    /// What hands out credentials does not.
    #[error("no credentials from {host}: {why}")]
    Credentials { host: String, why: String },
}

/// An error of the client that carries what it did not see itself.
pub(super) fn carried(cause: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Generic {
        store: "S3",
        source: Box::new(cause),
    }
}

/// A status that is not of success, or an error that came with one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct No {
    pub(super) status: u16,
    /// Such as `NoSuchKey`; may be empty.
    pub(super) code: String,
    /// In the words of the server; may be empty.
    pub(super) message: String,
    /// Where the bucket is, if the answer tells.
    pub(super) region: Option<String>,
    pub(super) asked: Asked,
}

impl No {
    pub(super) fn new(status: u16, headers: &HeaderMap, body: &[u8], asked: Asked) -> Self {
        let document = Element::parse(body.trim_ascii()).filter(|root| root.name() == "Error");
        let text = |name: &str| document.as_ref().and_then(|root| root.text(name));
        let header = headers.get("x-amz-bucket-region");
        let region = header.and_then(|value| value.to_str().ok());
        let region = region.or_else(|| text("Region"));
        let is_code = |code: &&str| {
            let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            code.len() <= 64 && code.bytes().all(is_part)
        };
        let code = text("Code").filter(is_code).unwrap_or_default();
        let message = text("Message").or_else(|| words(body).filter(|_| document.is_none()));
        Self {
            status: match status {
                200..300 => status_of(code),
                _ => status,
            },
            code: code.to_owned(),
            message: message.unwrap_or_default().trim().to_owned(),
            region: region.map(str::to_owned),
            asked,
        }
    }

    /// Whether the same request may succeed later.
    pub(super) fn is_transient(&self) -> bool {
        let is_contested = self.status == 409 && self.asked.condition == Some(Condition::Same);
        matches!(self.status, 408 | 429 | 500 | 502..=504) || self.is_slow() || is_contested
    }

    /// Codes that come with other statuses than 503 too, with 200 for one.
    fn is_slow(&self) -> bool {
        let codes = [
            "InternalError",
            "RequestTimeout",
            "ServiceUnavailable",
            "SlowDown",
            "TooManyRequests",
        ];
        codes.contains(&self.code.as_str())
    }
}

/// The status that a code comes with, if it did not come with 200.
fn status_of(code: &str) -> u16 {
    match code {
        "AccessDenied" => 403,
        "MethodNotAllowed" => 405,
        "PreconditionFailed" => 412,
        "InternalError" => 500,
        "NotImplemented" => 501,
        "ServiceUnavailable" | "SlowDown" => 503,
        _ => 400,
    }
}

/// What a server says in text, or on the page by which nginx tells of the wrong scheme.
fn words(body: &[u8]) -> Option<&str> {
    const PLAIN_TO_TLS: &str = "The plain HTTP request was sent to HTTPS port";
    let text = std::str::from_utf8(body).ok()?.trim();
    if text.contains(PLAIN_TO_TLS) {
        return Some(PLAIN_TO_TLS);
    }
    let is_markup = text.starts_with(['<', '{', '[']);
    text.lines().next().filter(|_| !is_markup)
}

/// Whether an answer says of itself that it is a web page.
pub(super) fn is_page(headers: &HeaderMap) -> bool {
    let kind = headers.get("content-type");
    let kind = kind.and_then(|value| value.to_str().ok());
    let kind = kind.unwrap_or_default().to_ascii_lowercase();
    kind.starts_with("text/html") || kind.starts_with("application/xhtml")
}

/// Whether content begins as a web page does.
pub(super) fn looks_like_page(body: &[u8]) -> bool {
    let body = body.trim_ascii_start();
    let begins = |word: &str| {
        let begin = body.get(..word.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(word.as_bytes()))
    };
    begins("<!doctype html") || begins("<html")
}

/// What an answer is that is not the right one, with the name that its server gives itself.
pub(super) fn not_s3(headers: &HeaderMap, body: &[u8]) -> Refusal {
    let body = body.trim_ascii();
    let what = match body.first() {
        _ if is_page(headers) || looks_like_page(body) => "an HTML page".to_owned(),
        Some(b'<') => return Refusal::Odd(xml_words(body)),
        Some(b'{' | b'[') => "JSON".to_owned(),
        Some(_) => "something that is not XML".to_owned(),
        None => return Refusal::Odd("nothing".to_owned()),
    };
    let server = headers.get("server").and_then(|value| value.to_str().ok());
    Refusal::NotS3(match server.filter(|server| !server.is_empty()) {
        Some(server) => format!("{what} (its server: {server:.60})"),
        None => what,
    })
}

fn xml_words(body: &[u8]) -> String {
    match Element::parse(body) {
        Some(root) => format!("the XML document `{:.40}`", root.name()),
        None => "XML that is damaged or cut off".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use object_store::HeaderValue;

    use super::*;

    pub(crate) const ASKED: Asked = Asked {
        operation: Operation::Put,
        condition: None,
        has_checksum: false,
        has_range: false,
    };

    #[test]
    fn an_error_of_s3_is_read() {
        let body =
            b"<?xml version='1.0'?>\n<Error><Code>PermanentRedirect</Code><Message> m </Message>\
                     <Region>eu-west-1</Region></Error>";
        let no = No::new(301, &HeaderMap::new(), body, ASKED);
        assert_eq!(
            (no.code.as_str(), no.message.as_str()),
            ("PermanentRedirect", "m")
        );
        assert_eq!(no.region.as_deref(), Some("eu-west-1"));
        assert!(!no.is_transient());
        let slow = b"<Error><Code>SlowDown</Code></Error>";
        assert!(No::new(200, &HeaderMap::new(), slow, ASKED).is_transient());
        // Nothing of the kind is known by 501: it never passes.
        assert!(!No::new(501, &HeaderMap::new(), b"", ASKED).is_transient());
        let odd = b"<Error><Code>a b</Code></Error>";
        assert_eq!(No::new(400, &HeaderMap::new(), odd, ASKED).code, "");
    }

    #[test]
    fn what_answered_is_described() {
        let mut headers = HeaderMap::new();
        let describe = |headers: &HeaderMap, body: &[u8]| not_s3(headers, body).to_string();
        for (body, words) in [
            ("\n<!DOCTYPE html><p>", "an HTML page"),
            ("<HTML>", "an HTML page"),
            ("", "nothing"),
            ("<Error><Code>x</Code></Error>", "the XML document `Error`"),
            ("<ListBucketResult>", "XML that is damaged or cut off"),
            ("{\"errors\":[]}", "JSON"),
            ("default backend - 404", "something that is not XML"),
        ] {
            assert_eq!(describe(&headers, body.as_bytes()), words);
        }
        headers.insert("server", HeaderValue::from_static("MinIO Console"));
        let words = describe(&headers, b"<html></html>");
        assert_eq!(words, "an HTML page (its server: MinIO Console)");
    }
}
