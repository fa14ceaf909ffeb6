//! Counts the bytes between clients and a server as they are on the wire, TLS included.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::Error;

const BUFFER: usize = 64 * 1024;

/// A port of 127.0.0.1 that forwards to a server. It and its connections end when it is dropped.
#[derive(Debug)]
pub struct Meter {
    address: SocketAddr,
    bytes: Arc<AtomicU64>,
    acceptor: JoinHandle<()>,
}

impl Meter {
    /// Forwards to the server at `url`, such as `https://127.0.0.1:6443`.
    ///
    /// # Errors
    /// [`Error::File`] without a port.
    pub async fn start(url: &str) -> Result<Self, Error> {
        let any = Path::new("127.0.0.1:0");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(Error::file("listen on", any))?;
        let address = listener
            .local_addr()
            .map_err(Error::file("listen on", any))?;
        let upstream = url.split_once("://").map_or(url, |(_, rest)| rest);
        let bytes = Arc::default();
        let acceptor = accept(listener, upstream.to_owned(), Arc::clone(&bytes));
        Ok(Self {
            address,
            bytes,
            acceptor: tokio::spawn(acceptor),
        })
    }

    /// Where clients of a TLS server connect.
    #[must_use]
    pub fn https_url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Bytes that went through, both ways.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn accept(listener: TcpListener, upstream: String, bytes: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // An error is that of one connection, such as one reset at once.
            Ok((client, _)) = listener.accept() => {
                connections.spawn(forward(client, upstream.clone(), Arc::clone(&bytes)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn forward(client: TcpStream, upstream: String, bytes: Arc<AtomicU64>) -> io::Result<()> {
    let server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    tokio::try_join!(
        copy(client_read, server_write, &bytes),
        copy(server_read, client_write, &bytes),
    )
    .map(|_| ())
}

async fn copy(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    bytes: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        buffer.clear();
        let count = from.read_buf(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        bytes.fetch_add(u64::try_from(count).unwrap_or_default(), Ordering::Relaxed);
        to.write_all(&buffer).await?;
    }
}
