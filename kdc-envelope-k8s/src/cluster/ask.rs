//! One question to an API server, within a time limit.

use core::time::Duration;

use http::Request;
use kube::Client;
use kube::client::Body;
use serde::Deserialize;

use super::{Asked, ClusterError, ServerName, cause};

/// How long an answer may take; the largest, metrics, is some hundred KiB.
const LIMIT: Duration = Duration::from_secs(15);
/// How much of an answer that is no `Status` is shown.
const SHOWN: usize = 200;

/// An answer with status 200.
pub(super) struct Response {
    pub(super) server: ServerName,
    pub(super) body: Vec<u8>,
}

/// Sends `GET path`; `resource` is what it is called in messages.
pub(super) async fn get(
    client: &Client,
    verb: &'static str,
    resource: &'static str,
    path: &str,
) -> Result<Response, ClusterError> {
    let asked = Asked::default();
    let unreachable = |message: String| ClusterError::Unreachable {
        server: asked.server(),
        message: message.into(),
    };
    let request = Request::get(path).extension(asked.clone());
    let request = request
        .body(Body::empty())
        .map_err(|error| unreachable(error.to_string()))?;
    let exchange = async {
        let sent = client.send(request).await;
        let (head, body) = sent
            .map_err(|error| unreachable(cause(&error)))?
            .into_parts();
        let body = body.collect_bytes().await;
        let body = body.map_err(|error| unreachable(cause(&error)))?;
        Ok((head.status.as_u16(), body.to_vec()))
    };
    let answered = tokio::time::timeout(LIMIT, exchange).await;
    let (status, body) = answered.unwrap_or_else(|_| {
        let message = format!("nothing within {} s", LIMIT.as_secs());
        Err(unreachable(message))
    })?;
    let server = asked.server();
    match status {
        200 => Ok(Response { server, body }),
        401 => Err(ClusterError::Unauthenticated { server }),
        403 => Err(ClusterError::Denied {
            server,
            verb,
            resource,
            message: message(status, &body),
        }),
        _ => Err(ClusterError::Refused {
            server,
            verb,
            resource,
            message: message(status, &body),
        }),
    }
}

/// What an answer says, on one line: the message of a `Status`, or the beginning of whatever it is.
fn message(status: u16, body: &[u8]) -> Box<str> {
    #[derive(Deserialize)]
    struct Status {
        message: String,
    }
    let text = match serde_json::from_slice(body) {
        Ok(Status { message }) => message,
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    let words: Vec<_> = text.split_whitespace().collect();
    let line: String = words.join(" ").chars().take(SHOWN).collect();
    let advice = if line.contains("HTTP request to an HTTPS server") {
        "; write https:// before its address in the kubeconfig"
    } else {
        ""
    };
    match line.is_empty() {
        true => format!("status {status} and no reason").into(),
        false => format!("{line} ({status}){advice}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_shown_on_one_line_with_its_status() {
        let shown = |body: &str| message(400, body.as_bytes());
        assert_eq!(
            &*shown(r#"{"kind": "Status", "message": "a\nb"}"#),
            "a b (400)"
        );
        assert_eq!(&*shown("<html>\n no </html>"), "<html> no </html> (400)");
        assert_eq!(&*shown(""), "status 400 and no reason");
        assert!(
            shown("Client sent an HTTP request to an HTTPS server.\n").contains("write https://")
        );
        assert_eq!(shown(&"x".repeat(5000)).len(), SHOWN + " (400)".len());
    }
}
