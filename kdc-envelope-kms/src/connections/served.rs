//! A service on one connection, whose calls are counted from the head of the request to the end of the answer.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::{Request, Response};
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
        let call = Arc::new(Mutex::new(self.seat.begin_call()));
        let body = |body| Asked {
            body,
            call: Arc::clone(&call),
        };
        let answering = self.service.call(request.map(body));
        Box::pin(async move {
            let response = answering.await?;
            lock(&call).answered();
            Ok(response.map(|body| Answer { body, _call: call }))
        })
    }
}
