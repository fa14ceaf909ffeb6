//! Which API server a request went to: a layer of the client that tells the sender.

use core::fmt;
use core::task::{Context, Poll};
use std::sync::{Arc, OnceLock};

use http::Request;
use tower::{Layer, Service};

/// The address of an API server, as far as it is known: clients that [`connect`](super::connect()) made know it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerName(Option<Arc<str>>);

impl ServerName {
    /// The one at this address, reached through this proxy.
    pub(super) fn new(address: &http::Uri, proxy: Option<&str>) -> Self {
        let address = address.to_string();
        let address = address.trim_end_matches('/');
        Self(Some(match proxy {
            Some(proxy) => format!("{address} (through the proxy {proxy})").into(),
            None => address.into(),
        }))
    }
}

/// For the middle of a sentence.
impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(address) => write!(f, "the API server {address}"),
            None => f.write_str("the API server"),
        }
    }
}

/// An extension of a request, in which the client notes whom it asks, whether there is an answer or not.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked(Arc<OnceLock<ServerName>>);

impl Asked {
    /// Who was asked, once something was sent by a client that knows.
    pub(crate) fn server(&self) -> ServerName {
        self.0.get().cloned().unwrap_or_default()
    }
}

/// Notes the server.
#[derive(Debug, Clone)]
pub(super) struct NameLayer(pub(super) ServerName);

/// A client's service that notes the server in each request.
#[derive(Debug, Clone)]
pub(super) struct Named<S> {
    inner: S,
    server: ServerName,
}

impl<S> Layer<S> for NameLayer {
    type Service = Named<S>;

    fn layer(&self, inner: S) -> Named<S> {
        Named {
            inner,
            server: self.0.clone(),
        }
    }
}

impl<S, B> Service<Request<B>> for Named<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        if let Some(Asked(slot)) = request.extensions().get() {
            slot.get_or_init(|| self.server.clone());
        }
        self.inner.call(request)
    }
}
