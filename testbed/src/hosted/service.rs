//! The Service of a control plane: new connections go to its ready pods in turn, as those of kube-proxy do. One that ends is left out.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::Error;

/// The pods behind a Service, and whose turn it is.
#[derive(Debug, Default)]
struct Backends {
    pods: Mutex<Vec<Ipv4Addr>>,
    turn: AtomicUsize,
}

/// A running Service. Ends when dropped.
#[derive(Debug)]
pub(super) struct Service {
    address: SocketAddr,
    backends: Arc<Backends>,
    acceptor: JoinHandle<()>,
}

impl Service {
    pub(super) async fn start(address: SocketAddr) -> Result<Self, Error> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(Error::file("listen on", Path::new(&address.to_string())))?;
        let backends = Arc::new(Backends::default());
        Ok(Self {
            address,
            acceptor: tokio::spawn(accept(listener, Arc::clone(&backends), address.port())),
            backends,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The pods that are ready and do not end.
    pub(super) fn set(&self, pods: Vec<Ipv4Addr>) {
        *self
            .backends
            .pods
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = pods;
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

impl Backends {
    fn next(&self) -> Option<Ipv4Addr> {
        let pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = pods.len();
        (count > 0)
            .then(|| pods.get(turn % count).copied())
            .flatten()
    }
}

async fn accept(listener: TcpListener, backends: Arc<Backends>, port: u16) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // An error is that of one connection, such as one reset at once.
                if let Ok((stream, _)) = accepted {
                    let pod = backends.next();
                    connections.spawn(pass(stream, pod, port));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Without a pod the connection is reset.
async fn pass(mut client: TcpStream, pod: Option<Ipv4Addr>, port: u16) -> io::Result<()> {
    client.set_nodelay(true)?;
    let Some(pod) = pod else {
        return client.set_zero_linger();
    };
    let mut server = match TcpStream::connect((pod, port)).await {
        Ok(server) => server,
        Err(error) => {
            client.set_zero_linger()?;
            return Err(error);
        }
    };
    server.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
