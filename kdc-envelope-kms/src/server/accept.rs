//! Accepts connections from those who may connect, and keeps the socket where clients look for it.

use std::sync::Arc;
use std::time::Duration;

use kdc_envelope::ErrorChain;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use super::address::SocketAddress;
use super::bind::{BoundSocket, Presence, SocketOptions, bind_when_unlocked};
use super::grpc::{self, Peer};
use crate::connections::Connections;
use crate::metrics::KeyMetrics;
use crate::throttle::Throttle;

/// How often the socket's file is checked; one `lstat`.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Rest after a failed accept, which is out of file descriptors or memory: both need time, not haste.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the clients that connect, until stopped.
pub(super) struct Acceptor {
    socket: BoundSocket,
    options: SocketOptions,
    metrics: KeyMetrics,
    service: Service,
    tasks: JoinSet<()>,
    refused_peers: Throttle,
    failed_accepts: Throttle,
    trouble: Option<String>,
}

/// What every connection gets.
pub(super) struct Service {
    /// What is called on it.
    pub(super) routes: Routes,
    /// Its place among all others.
    pub(super) connections: Connections<Peer>,
    /// When it ends.
    pub(super) stop: CancellationToken,
}

impl Acceptor {
    pub(super) fn new(
        socket: BoundSocket,
        options: SocketOptions,
        metrics: KeyMetrics,
        service: Service,
    ) -> Self {
        Self {
            socket,
            options,
            metrics,
            service,
            tasks: JoinSet::new(),
            refused_peers: Throttle::default(),
            failed_accepts: Throttle::default(),
            trouble: None,
        }
    }

    /// Runs until told to stop; then removes the file, takes in who had already connected, and lets calls in flight end. Dropped, it
    /// ends all connections.
    pub(super) async fn run(mut self) {
        let stop = self.service.stop.clone();
        let mut watch = tokio::time::interval(WATCH_INTERVAL);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.socket.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        self.admit(stream);
                        // A client that had to make room does so now, before the next one comes.
                        tokio::task::yield_now().await;
                    }
                    Err(error) => {
                        if let Some(more_before) = self.failed_accepts.pass() {
                            tracing::warn!(%error, more_before, "cannot accept a connection");
                        }
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                // Of no interest; but what has ended must not pile up.
                Some(_) = self.tasks.join_next() => {}
                _ = watch.tick() => self.watch().await,
            }
        }
        self.socket.remove_file();
        self.take_in_waiting().await;
        while self.tasks.join_next().await.is_some() {}
    }

    fn admit(&mut self, stream: UnixStream) {
        if !self.may_connect(&stream) {
            return;
        }
        let Service {
            routes,
            connections,
            stop,
        } = &self.service;
        let seat = connections.admit(Peer {
            key: Arc::from(self.metrics.name()),
            uid: stream.peer_cred().ok().map(|peer| peer.uid()),
        });
        self.tasks
            .spawn(grpc::serve(stream, seat, routes.clone(), stop.clone()));
    }

    fn may_connect(&self, stream: &UnixStream) -> bool {
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
        if let Some(more_before) = self.refused_peers.pass() {
            tracing::warn!(
                socket = %self.options.address,
                uid = peer.uid(),
                pid = peer.pid(),
                more_before,
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
            self.admit(stream);
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
