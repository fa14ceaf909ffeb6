//! Which API server answered, or did not: a layer of the client that notes it with every answer and every failure.

use core::fmt;
use core::task::{Context, Poll};
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{Extensions, Request, Response};
use tower::{BoxError, Layer, Service};

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

    /// The one that gave an answer with these extensions.
    pub(crate) fn of_answer(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// The one that was asked in vain.
    pub(crate) fn of_failure(error: &(dyn core::error::Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(Unanswered { server, .. }) = error.downcast_ref() {
                return server.clone();
            }
            next = error.source();
        }
        Self::default()
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

/// A request that got no answer.
#[derive(Debug, thiserror::Error)]
#[error("{server} did not answer")]
pub(super) struct Unanswered {
    server: ServerName,
    source: BoxError,
}

/// Notes the server.
#[derive(Debug, Clone)]
pub(super) struct NameLayer(pub(super) ServerName);

/// A client's service whose answers and failures carry the name of the server.
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

impl<S, A, B> Service<Request<A>> for Named<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let server = self.server.clone();
        let answer = self.inner.call(request);
        answer
            .map(move |answer| match answer {
                Ok(mut answer) => {
                    answer.extensions_mut().insert(server);
                    Ok(answer)
                }
                Err(error) => {
                    let source = error.into();
                    Err(Unanswered { server, source }.into())
                }
            })
            .boxed()
    }
}
