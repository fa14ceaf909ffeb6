//! The HTTP/2 connection under the calls.
//!
//! Built on hyper rather than on tonic's channel: that gives exactly grpc-go's `WaitForReady`, keeps the
//! reason why the socket could not be reached, and costs a load generator less.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::body::Body;
use tonic::codegen::http::{Request, Response, Uri};
use tonic::codegen::{Service, StdError};

use crate::server::SocketAddress;

/// What kube-apiserver since 1.32 sends as `:authority`.
const ORIGIN: &str = "http://localhost";
/// The first pause before the socket is tried again; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// One connection, made when it is needed and again when it was lost.
pub(super) struct Connection {
    socket: PathBuf,
    origin: Uri,
    current: Mutex<Option<SendRequest<Body>>>,
    /// Held while connecting, so that waiting calls share one attempt.
    connecting: tokio::sync::Mutex<()>,
    last_failure: Mutex<String>,
}

impl Connection {
    pub(super) fn new(socket: &SocketAddress) -> Self {
        Self {
            socket: path_to_dial(socket),
            origin: Uri::from_static(ORIGIN),
            current: Mutex::new(None),
            connecting: tokio::sync::Mutex::new(()),
            last_failure: Mutex::new("not tried yet".to_owned()),
        }
    }

    pub(super) fn origin(&self) -> Uri {
        self.origin.clone()
    }

    /// A live connection, waiting for the socket if need be; otherwise what the last attempt met.
    pub(super) async fn ready_before(&self, deadline: Instant) -> Result<Http, String> {
        if let Some(http) = self.ready() {
            return Ok(http);
        }
        match timeout_at(deadline, self.connect()).await {
            Ok(http) => Ok(http),
            Err(_) => Err(lock(&self.last_failure).clone()),
        }
    }

    /// Gives the connection up, so that the next call makes another.
    pub(super) fn forget(&self) {
        *lock(&self.current) = None;
        "the peer closes connections at once".clone_into(&mut lock(&self.last_failure));
    }

    fn ready(&self) -> Option<Http> {
        let current = lock(&self.current);
        let sender = current.as_ref().filter(|sender| !sender.is_closed())?;
        Some(Http(sender.clone()))
    }

    async fn connect(&self) -> Http {
        let _guard = self.connecting.lock().await;
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(http) = self.ready() {
                return http;
            }
            match self.dial().await {
                Ok(sender) => *lock(&self.current) = Some(sender),
                Err(failure) => {
                    *lock(&self.last_failure) = failure;
                    sleep(pause).await;
                    pause = LONGEST_PAUSE.min(pause * 2);
                }
            }
        }
    }

    async fn dial(&self) -> Result<SendRequest<Body>, String> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| error.to_string())?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        // Ends with the peer or with the last sender; callers see its error in their own calls.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

/// The transport that the generated client writes to.
pub(super) struct Http(SendRequest<Body>);

impl Service<Request<Body>> for Http {
    type Response = Response<Incoming>;
    type Error = StdError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.0.send_request(request);
        Box::pin(async move { Ok(answer.await?) })
    }
}

/// As tokio takes it: an abstract name begins with a NUL byte.
fn path_to_dial(socket: &SocketAddress) -> PathBuf {
    match socket {
        SocketAddress::Path(path) => path.clone(),
        SocketAddress::Abstract(name) => OsString::from(format!("\0{name}")).into(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
