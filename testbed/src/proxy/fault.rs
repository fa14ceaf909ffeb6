//! What the proxy does to a request, and to which.

use std::time::Duration;

/// What is done to a request or its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Never answers; the server sees nothing of the request.
    Hang,
    /// Passes the request on after so long.
    Delay(Duration),
    /// Answers this; the server sees nothing of the request.
    Answer {
        /// HTTP status.
        status: u16,
        /// Headers besides `Content-Length`.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
    },
    /// Answers these bytes, unchecked, and closes the connection; the
    /// server sees nothing of the request.
    Raw(Vec<u8>),
    /// Passes the request on, and of its answer the head and so many bytes of
    /// the body; then closes the connection.
    TruncateBody(usize),
    /// Passes the request on, and of its answer so many bytes, head included;
    /// then resets the connection.
    Reset(usize),
    /// Resets the connection while the body of the request is on its way; the
    /// server sees nothing of it.
    CutRequest,
    /// Passes the request on, and the body of its answer in single bytes with
    /// so long a pause before each.
    SlowBytes(Duration),
    /// Answers 200 with JSON of so many bytes and more, whose length only
    /// shows as they come; the server sees nothing of the request.
    Oversized(usize),
}

impl Fault {
    /// Answers a status with `{"errors":[ERROR]}`, as OpenBao does.
    #[must_use]
    pub fn status(status: u16, error: &str) -> Self {
        let body = serde_json::json!({"errors": [error]}).to_string();
        Self::answer(status, &[("content-type", "application/json")], &body)
    }

    /// Answers 200 with a page in HTML, as a misplaced load balancer does.
    #[must_use]
    pub fn html() -> Self {
        let page = "<!DOCTYPE html><html><body>It works!</body></html>";
        Self::answer(200, &[("content-type", "text/html")], page)
    }

    /// Answers 200 with a body that claims to be JSON and is none.
    #[must_use]
    pub fn garbage() -> Self {
        let headers = [("content-type", "application/json")];
        Self::answer(200, &headers, "{\"data\": \u{0}garbage")
    }

    /// [`Self::Answer`] of text.
    #[must_use]
    pub fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        Self::Answer {
            status,
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: body.as_bytes().to_vec(),
        }
    }

    /// For requests alone whose `METHOD /PATH` contains `part`.
    #[must_use]
    pub fn on(self, part: &str) -> Rule {
        Rule::from(self).on(part)
    }

    /// For so many requests alone.
    #[must_use]
    pub fn times(self, count: usize) -> Rule {
        Rule::from(self).times(count)
    }
}

/// A fault, and the requests that it befalls: all, without further calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    fault: Fault,
    parts: Vec<String>,
    left: Option<usize>,
}

impl From<Fault> for Rule {
    fn from(fault: Fault) -> Self {
        Self {
            fault,
            parts: Vec::new(),
            left: None,
        }
    }
}

impl Rule {
    /// As [`Fault::on`]. Called again, requests must contain this part, too.
    #[must_use]
    pub fn on(mut self, part: &str) -> Self {
        self.parts.push(part.to_owned());
        self
    }

    /// As [`Fault::times`].
    #[must_use]
    pub fn times(mut self, count: usize) -> Self {
        self.left = Some(count);
        self
    }

    /// Whether a request of which only the head has come is to be cut off; one
    /// that is counts.
    pub(super) fn cuts(&mut self, line: &str) -> bool {
        self.fault == Fault::CutRequest && self.befalls(line)
    }

    /// The fault that befalls a request, which is counted.
    pub(super) fn applied_to(&mut self, line: &str) -> Option<Fault> {
        let is_due = self.fault != Fault::CutRequest && self.befalls(line);
        is_due.then(|| self.fault.clone())
    }

    fn befalls(&mut self, line: &str) -> bool {
        if !self.parts.iter().all(|part| line.contains(part)) {
            return false;
        }
        let Some(left) = &mut self.left else {
            return true;
        };
        let is_due = *left > 0;
        *left = left.saturating_sub(1);
        is_due
    }
}
