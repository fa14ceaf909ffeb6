//! A service on one connection, whose calls are counted from the head of the request to the end of the answer.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::{Request, Response, StatusCode};
use hyper_util::service::TowerToHyperService;
use tonic::codegen::Service;

use super::{Call, Party, Seat};

/// `S` on the connection of a [`Seat`].
#[derive(Debug)]
pub(crate) struct Served<S, P: Party> {
    service: TowerToHyperService<S>,
    seat: Arc<Seat<P>>,
}

impl<S, P: Party> Served<S, P> {
    /// Serves `service` to who has this `seat`.
    pub(crate) fn new(service: S, seat: Arc<Seat<P>>) -> Self {
        Self {
            service: TowerToHyperService::new(service),
            seat,
        }
    }
}

impl<S, B, P: Party> hyper::service::Service<Request<Incoming>> for Served<S, P>
where
    S: Service<Request<Asked<P>>, Response = Response<B>, Error = Infallible> + Clone,
    S::Future: Send + 'static,
    S: Send + 'static,
{
    type Response = Response<Answer<B, P>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let Some(call) = self.seat.begin_call().map(Arc::new) else {
            return Box::pin(async { Ok(Answer::busy()) });
        };
        let body = |body| Asked {
            body,
            call: Arc::clone(&call),
        };
        let answering = self.service.call(request.map(body));
        Box::pin(async move {
            let response = answering.await?;
            call.answered();
            Ok(response.map(|body| Answer {
                body: Some((body, call)),
            }))
        })
    }
}

/// The body of a request; what is read of it counts for its call.
#[derive(Debug)]
pub(crate) struct Asked<P: Party> {
    body: Incoming,
    call: Arc<Call<P>>,
}

impl<P: Party> Body for Asked<P> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.call.take_bytes(data.len());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer, none for a call that was refused. While the client has not taken it, the call goes on.
#[derive(Debug)]
pub(crate) struct Answer<B, P: Party> {
    body: Option<(B, Arc<Call<P>>)>,
}

impl<B, P: Party> Answer<B, P> {
    /// What gRPC takes for `UNAVAILABLE`.
    fn busy() -> Response<Self> {
        let mut response = Response::new(Self { body: None });
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response
    }
}

impl<B: Body + Unpin, P: Party> Body for Answer<B, P> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match &mut self.body {
            Some((body, _)) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body
            .as_ref()
            .is_none_or(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), |(body, _)| body.size_hint())
    }
}
