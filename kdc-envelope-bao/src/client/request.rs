//! One request, before it goes anywhere.

use core::fmt;

use bytes::Bytes;
use serde::Serialize;
use zeroize::Zeroizing;

use super::config::Namespace;
use super::index::SharedIndex;
use super::stats::Operation;
use crate::credential::Secret;

/// The verbs of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// Read, and list with `?list=true`.
    Get,
    /// Write.
    Post,
    /// Write into what is there: the body is a JSON merge patch (RFC 7396).
    Patch,
    /// Delete.
    Delete,
}

impl Method {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Patch => "application/merge-patch+json",
            Self::Get | Self::Post | Self::Delete => "application/json",
        }
    }
}

/// One request. Its `Debug` shows neither body nor token.
#[derive(Clone)]
pub struct Request<'a> {
    pub(super) operation: Operation,
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) body: Option<Bytes>,
    pub(super) token: Option<&'a Secret>,
    /// `None` for that of the client; `Some(None)` for the root namespace.
    pub(super) namespace: Option<Option<&'a Namespace>>,
    /// What the server must know when it answers, as far as it takes that.
    pub(super) index: Option<SharedIndex>,
    pub(super) is_batch: bool,
    pub(super) is_repeatable: bool,
}

impl<'a> Request<'a> {
    /// A request for `path`, which has neither `/v1/` nor a slash in front.
    #[must_use]
    pub const fn new(operation: Operation, method: Method, path: &'a str) -> Self {
        Self {
            operation,
            method,
            path,
            body: None,
            token: None,
            namespace: None,
            index: None,
            is_batch: false,
            is_repeatable: true,
        }
    }

    /// With `body` as JSON. The bytes are wiped when they were sent.
    #[must_use]
    pub fn json(self, body: &impl Serialize) -> Self {
        // Maps with string keys and no fallible parts always serialise.
        let bytes = serde_json::to_vec(body).unwrap_or_default();
        self.body(Zeroizing::new(bytes))
    }

    pub(crate) fn body(mut self, body: Zeroizing<Vec<u8>>) -> Self {
        self.body = Some(Bytes::from_owner(body));
        self
    }

    /// Sent once only: whether it was carried out is not known after a failure.
    #[must_use]
    pub const fn once(mut self) -> Self {
        self.is_repeatable = false;
        self
    }

    /// In this namespace, or in the root namespace, instead of that of the client.
    #[must_use]
    pub const fn in_namespace(mut self, namespace: Option<&'a Namespace>) -> Self {
        self.namespace = Some(namespace);
        self
    }

    pub(crate) const fn token(mut self, token: &'a Secret) -> Self {
        self.token = Some(token);
        self
    }

    /// The parts of the answer may have errors of their own.
    pub(crate) const fn batch(mut self) -> Self {
        self.is_batch = true;
        self
    }

    /// The answer must know what was known when this index was learnt.
    pub(crate) fn after(mut self, index: &SharedIndex) -> Self {
        self.index = Some(index.clone());
        self
    }

    pub(super) fn forget_index(&self, refused: &str) {
        if let Some(index) = &self.index {
            index.forget(refused);
        }
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({} {})", self.method.as_str(), self.path)
    }
}
