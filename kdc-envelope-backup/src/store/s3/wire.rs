//! Requests and answers on their way: no redirect is followed, no answer is taken for what it is not, and none takes memory without bound.
//!
//! The client of `object_store` sends through this. Whatever is not what was asked for becomes an error that carries a [`Refusal`], and is
//! tried again by the client only if it may pass.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use http::Uri;
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest,
    HttpResponse, HttpService,
};
use object_store::{ClientOptions, Error as StoreError, HeaderMap};
use reqwest::redirect::Policy;

use super::listing::MAX_PAGE_LEN;
use super::response::{Asked, No, Operation, Refusal, carried, is_page, looks_like_page, not_s3};
use super::xml::Element;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For a part to be sent and answered, for each piece of an object, and for the whole of any other answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// What there is to read of an error. More is cut off.
const MAX_ERROR_LEN: usize = 64 << 10;
/// Answers about uploads are short, but for the spaces by which a server says that it is still at work.
const MAX_REPLY_LEN: usize = 1 << 20;

/// Makes what the client sends through.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    wire: Wire,
}

impl Connector {
    /// Of a bucket at this address. With authorities, no others are trusted.
    ///
    /// # Errors
    /// When the system's own authorities cannot be read.
    pub(super) fn new(
        bucket: Uri,
        authorities: Option<Vec<reqwest::Certificate>>,
    ) -> Result<Self, reqwest::Error> {
        let tls = authorities.map_or_else(builder, |own| builder().tls_certs_only(own));
        Ok(Self {
            wire: Wire {
                bucket: Arc::new(bucket),
                plain: plain().build()?,
                tls: tls.https_only(true).build()?,
                allows_plain: true,
            },
        })
    }

    /// The same for requests of our own.
    pub(super) fn wire(&self) -> Wire {
        self.wire.clone()
    }
}

/// A proxy would see all of what goes over plain HTTP, the signatures too.
fn plain() -> reqwest::ClientBuilder {
    builder().no_proxy().tls_certs_only([])
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(Policy::none())
        // One connection for several large bodies would be slower than several.
        .http1_only()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(ANSWER_TIMEOUT)
        // The length that is told must be that of the object.
        .no_gzip()
        .no_brotli()
        .no_deflate()
        .no_zstd()
        .user_agent(concat!("kdc/", env!("CARGO_PKG_VERSION")))
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient, StoreError> {
        // What hands out credentials has rules of its own: a machine that is not at AWS is to learn it soon.
        let option = |key| options.get_config_value(&key);
        let patience = option(ClientConfigKey::ConnectTimeout);
        let patience = patience.and_then(|text| humantime::parse_duration(&text).ok());
        let plain = match patience.filter(|patience| *patience < CONNECT_TIMEOUT) {
            None => self.wire.plain.clone(),
            Some(patience) => {
                let quick = plain().connect_timeout(patience).build();
                quick.map_err(carried)?
            }
        };
        Ok(HttpClient::new(Wire {
            allows_plain: option(ClientConfigKey::AllowHttp).as_deref() == Some("true"),
            plain,
            ..self.wire.clone()
        }))
    }
}

/// Sends requests, and judges answers.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    bucket: Arc<Uri>,
    plain: reqwest::Client,
    tls: reqwest::Client,
    allows_plain: bool,
}

#[async_trait]
impl HttpService for Wire {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let is_plain = request.uri().scheme_str() == Some("http") && self.allows_plain;
        let client = if is_plain { &self.plain } else { &self.tls };
        if !self.is_of_bucket(&request) {
            return ask_for_credentials(client, request).await;
        }
        let asked = Asked::of(&request, self.path());
        judge(asked, HttpService::call(client, request).await?).await
    }
}

impl Wire {
    /// The other ones go where credentials come from.
    fn is_of_bucket(&self, request: &HttpRequest) -> bool {
        let is_of_server = request.uri().authority() == self.bucket.authority();
        let rest = request.uri().path().strip_prefix(self.path());
        is_of_server && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Of the bucket at its server, without a slash at the end.
    fn path(&self) -> &str {
        self.bucket.path().trim_end_matches('/')
    }
}

/// What an answer of no means is known to the caller, so only the last word of it is told.
async fn ask_for_credentials(
    client: &reqwest::Client,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let host = request.uri().host().unwrap_or_default().to_owned();
    // The client reads the status of the metadata service of a machine.
    let is_of_machine = request.uri().path().starts_with("/latest/");
    let asked = Asked::of(&request, "");
    let response = HttpService::call(client, request).await;
    let response = response.map_err(|error| {
        let why = "does not answer".to_owned();
        HttpError::new(
            error.kind(),
            Refusal::Credentials {
                host: host.clone(),
                why,
            },
        )
    })?;
    let status = response.status();
    if is_of_machine || !status.is_client_error() {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let (body, _) = collect(body, MAX_ERROR_LEN).await?;
    let no = No::new(status.as_u16(), &parts.headers, &body, asked);
    let mut why = format!("answered {}", no.status);
    for (begin, words, end) in [(" (", &no.code, ")"), (": ", &no.message, "")] {
        if !words.is_empty() {
            why.extend([begin, words, end]);
        }
    }
    Err(refuse(Refusal::Credentials { host, why }))
}

/// The answer, if it is one to what was asked.
async fn judge(asked: Asked, response: HttpResponse) -> Result<HttpResponse, HttpError> {
    let (parts, body) = response.into_parts();
    let status = parts.status.as_u16();
    let is_success = parts.status.is_success();
    if is_success && matches!(asked.operation, Operation::Get | Operation::Head) {
        check_object(asked, status, &parts.headers)?;
        return Ok(HttpResponse::from_parts(parts, body));
    }
    let limit = match asked.operation {
        _ if !is_success => MAX_ERROR_LEN,
        Operation::List => MAX_PAGE_LEN,
        _ => MAX_REPLY_LEN,
    };
    let collected = tokio::time::timeout(ANSWER_TIMEOUT, collect(body, limit)).await;
    let (body, is_whole) =
        collected.map_err(|elapsed| HttpError::new(HttpErrorKind::Timeout, elapsed))??;
    if !is_success {
        return Err(refuse(no(asked, status, &parts.headers, &body)));
    }
    if !is_whole {
        let what = format!("more than {} MiB, which no answer to this has", limit >> 20);
        return Err(refuse(Refusal::Odd(what)));
    }
    check_reply(asked, status, &parts.headers, &body)?;
    Ok(HttpResponse::from_parts(parts, body.into()))
}

/// The answer in memory, and whether it is the whole one.
async fn collect(
    body: object_store::client::HttpResponseBody,
    limit: usize,
) -> Result<(Vec<u8>, bool), HttpError> {
    let mut bytes = Vec::new();
    let mut stream = body.bytes_stream();
    while let Some(piece) = stream.next().await {
        let piece = piece?;
        let room = limit.saturating_sub(bytes.len());
        bytes.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
        if piece.len() > room {
            return Ok((bytes, false));
        }
    }
    Ok((bytes, true))
}

/// The head of an object: its content may be anything.
fn check_object(asked: Asked, status: u16, headers: &HeaderMap) -> Result<(), HttpError> {
    let what = match asked.operation {
        _ if is_page(headers) => return Err(refuse(not_s3(headers, b""))),
        _ if !headers.contains_key("content-length") => {
            "an object without a length (Content-Length)"
        }
        Operation::Get if asked.has_range && status != 206 => {
            "the whole object when a part of it was asked for (Range)"
        }
        _ => return Ok(()),
    };
    Err(refuse(Refusal::Odd(what.to_owned())))
}

/// An answer of success that is not an object.
fn check_reply(
    asked: Asked,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(), HttpError> {
    let root = Element::parse(body.trim_ascii());
    if root.as_ref().is_some_and(|root| root.name() == "Error") {
        return Err(refuse(Refusal::No(Box::new(No::new(
            status, headers, body, asked,
        )))));
    }
    let is = |name: &str, part: &str| {
        let root = root.as_ref().filter(|root| root.is_of_s3(name));
        root.is_some_and(|root| root.text(part).is_some())
    };
    let is_right = match asked.operation {
        Operation::Begin => is("InitiateMultipartUploadResult", "UploadId"),
        Operation::Complete => is("CompleteMultipartUploadResult", "ETag"),
        Operation::Put => body.trim_ascii().is_empty() && headers.contains_key("etag"),
        Operation::Delete => body.trim_ascii().is_empty(),
        // Judged by its reader: a listing may be whole, and still not the one that was asked for.
        Operation::List | Operation::Get | Operation::Head => true,
    };
    if is_right {
        return Ok(());
    }
    Err(refuse(match asked.operation {
        Operation::Put if body.trim_ascii().is_empty() => {
            Refusal::Odd("no ETag for what it stored".to_owned())
        }
        _ => not_s3(headers, body),
    }))
}

/// An answer that is not of success.
fn no(asked: Asked, status: u16, headers: &HeaderMap, body: &[u8]) -> Refusal {
    let no = No::new(status, headers, body, asked);
    let location = headers.get("location").and_then(|to| to.to_str().ok());
    if (300..400).contains(&status)
        && let Some(to) = location
        && no.region.is_none()
    {
        return Refusal::Redirect {
            to: origin(to).to_owned(),
        };
    }
    let is_blank = body.trim_ascii().is_empty();
    let is_page = no.message.is_empty() && looks_like_page(body);
    // A web server that knows nothing of this address must not be taken for a bucket that lacks an object.
    let is_other = status == 404 && !is_blank && no.code.is_empty();
    match not_s3(headers, body) {
        Refusal::NotS3(what) | Refusal::Odd(what) if status < 500 && (is_page || is_other) => {
            Refusal::NotS3(format!("{what} and status {status}"))
        }
        _ => Refusal::No(Box::new(no)),
    }
}

/// Scheme, host and port; what follows may hold a signature.
fn origin(address: &str) -> &str {
    let begin = address.find("://").map_or(0, |at| at + 3);
    let rest = address.get(begin..).unwrap_or_default();
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    address.get(..begin + end).unwrap_or_default()
}

/// An answer that did not come to its end in time.
pub(super) fn too_slow(elapsed: tokio::time::error::Elapsed) -> StoreError {
    carried(HttpError::new(HttpErrorKind::Timeout, elapsed))
}

fn refuse(refusal: Refusal) -> HttpError {
    let kind = match &refusal {
        Refusal::No(no) if no.is_transient() => HttpErrorKind::Request,
        _ => HttpErrorKind::Decode,
    };
    HttpError::new(kind, refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_redirect_only_the_server_is_told() {
        for (address, told) in [
            (
                "https://a.example:9000/b/c?X-Amz-Signature=x",
                "https://a.example:9000",
            ),
            ("http://a", "http://a"),
            ("/login?next=x", ""),
        ] {
            assert_eq!(origin(address), told);
        }
    }
}
