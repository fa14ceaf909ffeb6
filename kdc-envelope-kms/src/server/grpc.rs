//! gRPC on one connection: HTTP/2 within tight bounds.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::connections::{Bounds, Connections, Seat, Served};
use crate::metrics::Metrics;

/// A kube-apiserver has one connection to each of its providers. With these, and [`MAX_STREAMS`], [`HEAD_LEN`] and the windows, a
/// program with one key stays below 64 MiB whatever its clients do.
const BOUNDS: Bounds = Bounds {
    connections: 256,
    calls: 512,
    bytes: 4 << 20,
};

/// So many more calls for each further key: the API servers of many clusters may start at once.
const CALLS_PER_KEY: usize = 64;

/// One of so many file descriptors at most may be a connection here.
const SHARE_OF_DESCRIPTORS: u64 = 2;

/// Calls that one connection may have open at once; more wait in the client.
const MAX_STREAMS: u32 = 128;

/// Calls that a client may have given up before they were looked at. kube-apiserver gives up all its calls in flight when
/// their deadline passes; with h2's default of 20 that would cost it the connection.
const MAX_ABANDONED: usize = 2 * MAX_STREAMS as usize;

/// Of the headers of a call, in bytes as HTTP/2 counts them; kube-apiserver sends some 600, and up to 8 KiB of its clients' baggage
/// (W3C Baggage) when it traces.
const HEAD_LEN: u32 = 16 * 1_024;

/// What a client may send ahead on one call: a whole message.
const STREAM_WINDOW: u32 = 64 * 1_024;

/// What it may send ahead on all its calls.
const CONNECTION_WINDOW: u32 = 256 * 1_024;

/// Of an answer that waits for the client to read; the longest legal one is smaller.
const SEND_BUFFER_LEN: usize = 64 * 1_024;

/// A client that answers no ping, sent this long after the last sign of life, is gone.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_LIMIT: Duration = Duration::from_secs(10);

/// How long a connection may stay without a first call.
const FIRST_CALL_LIMIT: Duration = Duration::from_secs(60);

/// Who is behind a connection: a user, on the socket of a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Peer {
    pub(super) key: Arc<str>,
    /// `None` if the system did not say.
    pub(super) uid: Option<u32>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.uid {
            Some(uid) => write!(f, "uid {uid} at key {}", self.key),
            None => write!(f, "an unknown user at key {}", self.key),
        }
    }
}

/// The connections to the sockets of all `keys`.
pub(super) fn connections(keys: usize, metrics: &Metrics) -> Connections<Peer> {
    let bounds = Bounds {
        calls: BOUNDS.calls + CALLS_PER_KEY * keys.saturating_sub(1),
        ..BOUNDS
    };
    let bounds = bounds.within_descriptors(SHARE_OF_DESCRIPTORS);
    Connections::new(bounds, metrics.evicted_connections("grpc"))
}

/// Serves until the client or `stop` ends it, or it has to make room for others. After `stop`, calls in flight end first.
pub(super) async fn serve(
    stream: UnixStream,
    seat: Seat<Peer>,
    routes: Routes,
    stop: CancellationToken,
) {
    let seat = Arc::new(seat);
    let service = Served::new(routes, Arc::clone(&seat));
    let mut connection = pin!(builder().serve_connection(TokioIo::new(stream), service));
    let mut silence = pin!(first_call_limit(&seat));
    let mut is_stopping = false;
    loop {
        tokio::select! {
            // The connection first: a call that is there already is taken before a stop is heeded.
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
            () = seat.evicted() => return,
            () = &mut silence => return,
            () = stop.cancelled(), if !is_stopping => {
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

fn builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_LIMIT)
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_ABANDONED)
        .max_header_list_size(HEAD_LEN)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER_LEN);
    builder
}

/// Ends if there was no call for too long at the beginning; pings tell the rest.
async fn first_call_limit(seat: &Seat<Peer>) {
    tokio::time::sleep(FIRST_CALL_LIMIT).await;
    if seat.was_used() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use super::*;

    /// By a clock that jumps.
    const PATIENCE: Duration = Duration::from_secs(3_600);

    fn start() -> (UnixStream, JoinHandle<()>) {
        let (client, server) = UnixStream::pair().unwrap();
        let peer = Peer {
            key: "test".into(),
            uid: None,
        };
        let seat = connections(1, &Metrics::new("test")).admit(peer);
        let served = serve(server, seat, Routes::default(), CancellationToken::new());
        (client, tokio::spawn(served))
    }

    /// What it takes until the server closes the connection.
    async fn time_until_closed(mut client: UnixStream, served: JoinHandle<()>) -> Duration {
        let begin = Instant::now();
        // A reset is as good an end as any, so what is read is of no interest.
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(PATIENCE, client.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "still open");
        served.await.unwrap();
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_calls_is_closed() {
        let (client, served) = start();
        let taken = time_until_closed(client, served).await;
        assert!((FIRST_CALL_LIMIT..2 * FIRST_CALL_LIMIT).contains(&taken));
    }

    #[tokio::test(start_paused = true)]
    async fn who_called_once_and_answers_no_ping_is_closed() {
        let (mut client, served) = start();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        client.write_all(preface).await.unwrap();
        // HEADERS of a whole request: POST, http, path `/x` and authority `a` (RFC 7541).
        let head = b"\0\0\x09\x01\x05\0\0\0\x01\x83\x86\x04\x02/x\x01\x01a";
        client.write_all(head).await.unwrap();
        let taken = time_until_closed(client, served).await;
        assert!(taken >= PING_INTERVAL, "{taken:?}");
        assert!(taken < FIRST_CALL_LIMIT, "{taken:?}");
    }
}
