//! An HTTP/1.1 proxy before a real server, which counts what a client sends
//! and can do to it what the real server never does when asked: hang, cut an
//! answer off, or answer rubbish.
//!
//! It writes its answers to the socket by itself, since an HTTP server library
//! would not let it break the protocol.

mod counts;
pub(crate) mod exchange;
mod fault;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub use counts::Counts;
pub use fault::{Fault, Rule};

use crate::{Error, ports};
use exchange::{Answer, Request};

/// Longer than any server lets a request last.
const UPSTREAM_LIMIT: Duration = Duration::from_secs(120);

/// A running proxy; it and its connections end when it is dropped. It speaks
/// plain HTTP on both sides.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Accepts connections and owns those that are open.
    acceptor: Option<JoinHandle<()>>,
}

/// What the connections share.
#[derive(Debug)]
struct Shared {
    upstream: String,
    http: reqwest::Client,
    rule: Mutex<Option<Rule>>,
    counts: Mutex<Counts>,
}

impl Proxy {
    /// Starts a proxy before the server at `upstream`, `http://HOST:PORT`.
    ///
    /// # Errors
    /// [`Error::File`] without a port, [`Error::Http`] without an HTTP client.
    pub async fn start(upstream: &str) -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .timeout(UPSTREAM_LIMIT)
            .build()
            .map_err(|source| Error::Http {
                name: "the proxy",
                source,
            })?;
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            http,
            rule: Mutex::default(),
            counts: Mutex::default(),
        });
        let mut attempt = 1;
        loop {
            let mut proxy = Self {
                address: SocketAddr::from((Ipv4Addr::LOCALHOST, ports::lasting()?)),
                shared: Arc::clone(&shared),
                acceptor: None,
            };
            match proxy.accept_connections().await {
                Ok(()) => return Ok(proxy),
                // Another process took the port meanwhile.
                Err(_) if attempt < ports::ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Where clients connect: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Does this to requests from now on, in place of what was set before. A
    /// request that hangs already hangs on.
    pub fn set(&self, rule: impl Into<Rule>) {
        *lock(&self.shared.rule) = Some(rule.into());
    }

    /// Removes the rule: requests are passed on.
    pub fn clear(&self) {
        *lock(&self.shared.rule) = None;
    }

    /// Closes the port and all connections, as if the server had gone.
    pub async fn refuse_connections(&mut self) {
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.abort();
            // Cancelled, which is what was asked for.
            let _ = acceptor.await;
        }
    }

    /// Opens the port again.
    ///
    /// # Errors
    /// [`Error::File`] when another process took the port.
    pub async fn accept_connections(&mut self) -> Result<(), Error> {
        if self.acceptor.is_none() {
            let listener = TcpListener::bind(self.address)
                .await
                .map_err(Error::file("listen on", Path::new(&self.address())))?;
            self.acceptor = Some(tokio::spawn(accept(listener, Arc::clone(&self.shared))));
        }
        Ok(())
    }

    /// What was counted since the start or [`Self::reset_counts`].
    #[must_use]
    pub fn counts(&self) -> Counts {
        lock(&self.shared.counts).clone()
    }

    /// Counts from zero again; connections that are open stay counted.
    pub fn reset_counts(&self) {
        lock(&self.shared.counts).reset();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(acceptor) = &self.acceptor {
            acceptor.abort();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // An error is that of one connection, such as one reset at once.
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve(stream, Arc::clone(&shared)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// All requests of one connection. An error means that the client has gone.
async fn serve(mut stream: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    let _open = Open::count(&shared);
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        let is_cut = |line: &str| {
            lock(&shared.rule)
                .as_mut()
                .is_some_and(|rule| rule.cuts(line))
        };
        let request = match Request::read(&mut stream, &mut buffer, is_cut).await {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let refusal = Fault::status(400, &format!("the proxy: {error}"));
                let answer = answer(&shared, &Request::default(), Some(&refusal)).await;
                exchange::write(&mut stream, &answer, None).await?;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        lock(&shared.counts).add_request(&request);
        let fault = lock(&shared.rule)
            .as_mut()
            .and_then(|rule| rule.applied_to(&request.line()));
        let answer = tokio::select! {
            answer = answer(&shared, &request, fault.as_ref()) => answer,
            () = exchange::closed(&stream) => return Ok(()),
        };
        if !exchange::write(&mut stream, &answer, fault.as_ref()).await? {
            return Ok(());
        }
    }
}

/// The response for the client: that of the fault, or that of the server behind.
async fn answer(shared: &Shared, request: &Request, fault: Option<&Fault>) -> Answer {
    match fault {
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Answer {
            status,
            headers,
            body,
        }) => Answer {
            status: *status,
            headers: headers.clone(),
            body: body.clone(),
            told_length: None,
        },
        Some(Fault::Oversized(_) | Fault::Raw(_)) => Answer::json(200, ""),
        Some(Fault::Delay(delay)) => {
            tokio::time::sleep(*delay).await;
            forward(shared, request).await
        }
        _ => forward(shared, request).await,
    }
}

async fn forward(shared: &Shared, request: &Request) -> Answer {
    match exchange::forward(&shared.http, &shared.upstream, request).await {
        Ok(answer) => answer,
        Err(_) => Answer::json(502, r#"{"errors":["the server behind the proxy is away"]}"#),
    }
}

/// Counts a connection for as long as it lives, however it ends.
struct Open(Arc<Shared>);

impl Open {
    fn count(shared: &Arc<Shared>) -> Self {
        lock(&shared.counts).connection_opened();
        Self(Arc::clone(shared))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        lock(&self.0.counts).connection_closed();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
