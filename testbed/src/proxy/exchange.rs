//! One request and its answer, on the wire.

use std::io;
use std::time::Duration;

use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Fault;

const MAX_HEADERS: usize = 64;
const CHUNK: usize = 64 * 1024;

/// Headers of one connection alone (RFC 9110, 7.6.1), and those that are
/// written anew. `Host` is kept: requests to S3 are signed with it.
const NOT_FORWARDED: [&str; 4] = [
    "connection",
    "content-length",
    "keep-alive",
    "transfer-encoding",
];

/// A request that came in whole.
#[derive(Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// `METHOD /PATH`.
    pub(super) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    /// A header as text, empty if there is none.
    pub(crate) fn header(&self, name: &str) -> String {
        let found = self
            .headers
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name));
        let value = found.map_or(&[][..], |(_, value)| value);
        String::from_utf8_lossy(value).into_owned()
    }

    /// The next request, or `None` when the client closed instead or `is_cut`
    /// says of `METHOD /PATH` to reset the connection before the body. `buffer`
    /// keeps what was read beyond it.
    pub(crate) async fn read(
        stream: &mut TcpStream,
        buffer: &mut Vec<u8>,
        is_cut: impl FnOnce(&str) -> bool,
    ) -> io::Result<Option<Self>> {
        let (mut request, head, length) = loop {
            if let Some(parsed) = Self::parse_head(buffer)? {
                break parsed;
            }
            if stream.read_buf(buffer).await? == 0 {
                return Ok(None);
            }
        };
        if is_cut(&request.line()) {
            stream.set_zero_linger()?;
            return Ok(None);
        }
        while buffer.len() < head + length {
            if stream.read_buf(buffer).await? == 0 {
                return Ok(None);
            }
        }
        request.body = buffer.drain(..head + length).skip(head).collect();
        Ok(Some(request))
    }

    /// A request without its body, and the lengths of head and body.
    fn parse_head(buffer: &[u8]) -> io::Result<Option<(Self, usize, usize)>> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(head) = parsed.parse(buffer).map_err(malformed)? else {
            return Ok(None);
        };
        let header = |name: &str| {
            parsed
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case(name))
        };
        if header("transfer-encoding").is_some() {
            return Err(malformed("chunked requests are not read"));
        }
        let length = match header("content-length") {
            None => 0,
            Some(header) => std::str::from_utf8(header.value)
                .ok()
                .and_then(|value| value.parse().ok())
                .ok_or_else(|| malformed("the length of the request is no number"))?,
        };
        let request = Self {
            method: parsed.method.unwrap_or_default().to_owned(),
            target: parsed.path.unwrap_or_default().to_owned(),
            headers: parsed
                .headers
                .iter()
                .map(|header| (header.name.to_owned(), header.value.to_vec()))
                .filter(|(name, _)| is_forwarded(name))
                .collect(),
            body: Vec::new(),
        };
        Ok(Some((request, head, length)))
    }
}

/// An answer in full.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Without those of [`NOT_FORWARDED`].
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// What an answer to HEAD says of the body that it does not have.
    pub(crate) told_length: Option<String>,
}

impl Answer {
    pub(super) fn json(status: u16, body: &str) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: body.as_bytes().to_vec(),
            told_length: None,
        }
    }

    /// Status line and headers; `framing` says how the body ends.
    fn head(&self, framing: &str) -> String {
        let mut head = format!("HTTP/1.1 {} \r\n{framing}", self.status);
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head + "\r\n"
    }
}

/// Asks the real server.
pub(super) async fn forward(
    http: &reqwest::Client,
    upstream: &str,
    request: &Request,
) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
    let method = Method::from_bytes(request.method.as_bytes())?;
    let mut forwarded = http.request(method, format!("{upstream}{}", request.target));
    for (name, value) in &request.headers {
        forwarded = forwarded.header(name, value.as_slice());
    }
    let answer = forwarded.body(request.body.clone()).send().await?;
    let length = answer.headers().get("content-length");
    let length = length.filter(|_| request.method == "HEAD");
    Ok(Answer {
        told_length: length.map(|length| String::from_utf8_lossy(length.as_bytes()).into_owned()),
        status: answer.status().as_u16(),
        headers: answer
            .headers()
            .iter()
            .filter(|(name, _)| is_forwarded(name.as_str()))
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes());
                (name.to_string(), value.into_owned())
            })
            .collect(),
        body: answer.bytes().await?.to_vec(),
    })
}

/// Writes an answer as the fault has it; tells whether the connection can take
/// another request.
pub(crate) async fn write(
    stream: &mut TcpStream,
    answer: &Answer,
    fault: Option<&Fault>,
) -> io::Result<bool> {
    if let Some(Fault::Oversized(size)) = fault {
        write_oversized(stream, answer, *size).await?;
        return Ok(true);
    }
    if let Some(Fault::Raw(bytes)) = fault {
        stream.write_all(bytes).await?;
        return Ok(false);
    }
    // A 204 has no body, so must not tell its length (RFC 9110, 8.6).
    let framing = match answer.status {
        204 => String::new(),
        _ => match &answer.told_length {
            Some(length) => format!("content-length: {length}\r\n"),
            None => format!("content-length: {}\r\n", answer.body.len()),
        },
    };
    let head = answer.head(&framing).into_bytes();
    match fault {
        Some(Fault::TruncateBody(length)) => {
            stream.write_all(&head).await?;
            let body = answer.body.iter().copied().take(*length);
            stream.write_all(&body.collect::<Vec<_>>()).await?;
            Ok(false)
        }
        Some(Fault::Reset(length)) => {
            let bytes = head.iter().chain(&answer.body).copied().take(*length);
            stream.write_all(&bytes.collect::<Vec<_>>()).await?;
            stream.set_zero_linger()?;
            Ok(false)
        }
        Some(Fault::SlowBytes(pause)) => {
            stream.write_all(&head).await?;
            write_slowly(stream, &answer.body, *pause).await?;
            Ok(true)
        }
        _ => {
            stream
                .write_all(&[head.as_slice(), &answer.body].concat())
                .await?;
            Ok(true)
        }
    }
}

async fn write_slowly(stream: &mut TcpStream, body: &[u8], pause: Duration) -> io::Result<()> {
    for byte in body {
        tokio::time::sleep(pause).await;
        stream.write_all(&[*byte]).await?;
    }
    Ok(())
}

/// A JSON string in chunks (RFC 9112, 7.1).
async fn write_oversized(stream: &mut TcpStream, answer: &Answer, size: usize) -> io::Result<()> {
    let head = answer.head("transfer-encoding: chunked\r\n");
    stream
        .write_all(format!("{head}1\r\n\"\r\n").as_bytes())
        .await?;
    let chunk = format!("{CHUNK:x}\r\n{}\r\n", "x".repeat(CHUNK));
    for _ in 0..size.div_ceil(CHUNK) {
        stream.write_all(chunk.as_bytes()).await?;
    }
    stream.write_all(b"1\r\n\"\r\n0\r\n\r\n").await
}

/// Returns when the client has closed the connection or its half of it.
pub(super) async fn closed(stream: &TcpStream) {
    let mut byte = [0];
    match stream.peek(&mut byte).await {
        Ok(0) | Err(_) => {}
        // It sent the next request already; the answer comes first.
        Ok(_) => std::future::pending().await,
    }
}

fn malformed(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, cause)
}

fn is_forwarded(name: &str) -> bool {
    !NOT_FORWARDED
        .iter()
        .any(|other| name.eq_ignore_ascii_case(other))
}
