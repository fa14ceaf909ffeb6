//! Accepts connections from those who may connect, and keeps the socket where clients look for it.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use kdc_envelope::ErrorChain;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::address::SocketAddress;
use super::bind::{BoundSocket, Presence, SocketOptions, bind_when_unlocked};
use crate::metrics::KeyMetrics;

/// How often the socket's file is looked at; one `lstat`.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Rest after a failed accept, which is out of file descriptors or memory: both need time, not haste.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// At most one warning about refused peers in this time; the metric counts all.
const PEER_WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Hands accepted connections to the gRPC server until stopped.
pub(super) struct Acceptor {
    pub(super) socket: BoundSocket,
    pub(super) options: SocketOptions,
    pub(super) metrics: KeyMetrics,
    pub(super) connections: mpsc::Sender<Result<UnixStream, Infallible>>,
    last_warning: Option<Instant>,
    trouble: Option<String>,
}

impl Acceptor {
    pub(super) fn new(
        socket: BoundSocket,
        options: SocketOptions,
        metrics: KeyMetrics,
        connections: mpsc::Sender<Result<UnixStream, Infallible>>,
    ) -> Self {
        Self {
            socket,
            options,
            metrics,
            connections,
            last_warning: None,
            trouble: None,
        }
    }

    /// Runs until `stop`; then removes the file, takes in who had already connected, and closes.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut watch = tokio::time::interval(WATCH_INTERVAL);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.socket.listener.accept() => match accepted {
                    Ok((stream, _)) => self.admit(stream).await,
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                _ = watch.tick() => self.watch().await,
            }
        }
        self.socket.remove_file();
        self.take_in_waiting().await;
    }

    async fn admit(&mut self, stream: UnixStream) {
        if self.may_connect(&stream) {
            // Fails only when the server is gone, and then nobody is left to serve.
            let _ = self.connections.send(Ok(stream)).await;
        }
    }

    fn may_connect(&mut self, stream: &UnixStream) -> bool {
        let Some(allowed) = &self.options.allowed_uids else {
            return true;
        };
        let peer = match stream.peer_cred() {
            Ok(peer) => peer,
            Err(error) => {
                tracing::warn!(%error, "cannot learn who connects; connection closed");
                return false;
            }
        };
        if allowed.contains(&peer.uid()) {
            return true;
        }
        self.metrics.peer_refused();
        if self
            .last_warning
            .is_none_or(|at| at.elapsed() >= PEER_WARNING_INTERVAL)
        {
            self.last_warning = Some(Instant::now());
            tracing::warn!(
                socket = %self.options.address,
                uid = peer.uid(),
                pid = peer.pid(),
                "connection refused: this uid is not allowed"
            );
        }
        false
    }

    /// Makes the socket anew if it is no longer where clients look for it.
    async fn watch(&mut self) {
        let presence = self.socket.presence();
        if presence == Presence::Ours {
            self.trouble = None;
            return;
        }
        match bind_when_unlocked(&self.options).await {
            Ok(socket) => {
                tracing::warn!(
                    socket = %self.options.address,
                    cause = if presence == Presence::Missing { "vanished" } else { "replaced" },
                    "socket created again"
                );
                self.metrics.socket_recreated();
                self.trouble = None;
                self.take_in_waiting().await;
                self.socket = socket;
            }
            Err(error) => {
                let trouble = ErrorChain::new(&error).to_string();
                if self.trouble.as_ref() != Some(&trouble) {
                    tracing::error!(socket = %self.options.address, error = trouble, "socket is gone and cannot be created again; still trying");
                    self.trouble = Some(trouble);
                }
            }
        }
    }

    /// Accepts those who connected before the listener goes, so that their calls are served too.
    async fn take_in_waiting(&mut self) {
        let waiting = std::future::poll_fn(|context| {
            let mut streams = Vec::new();
            while let std::task::Poll::Ready(Ok((stream, _))) =
                self.socket.listener.poll_accept(context)
            {
                streams.push(stream);
            }
            std::task::Poll::Ready(streams)
        })
        .await;
        for stream in waiting {
            self.admit(stream).await;
        }
    }
}

/// Who may connect, spelled out: without a file there are no permissions, so there must be a list.
pub(super) fn allowed_uids(options: &SocketOptions) -> Option<Vec<u32>> {
    match (&options.allowed_uids, &options.address) {
        (Some(uids), _) => Some(uids.clone()),
        (None, SocketAddress::Abstract(_)) => Some(vec![0, rustix::process::geteuid().as_raw()]),
        (None, SocketAddress::Path(_)) => None,
    }
}
