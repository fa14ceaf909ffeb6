//! An S3 server of a few lines, with habits that servers in the field have.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::scripted::Bucket;
use crate::Error;
use crate::proxy::exchange::{self, Request};

/// In what a server differs from what AWS documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Habit {
    /// A page of a listing has so many objects, not 1,000.
    PageOf(usize),
    /// Knows the first version of listings alone: a page begins after `marker`,
    /// and names `NextMarker`.
    FirstVersion,
    /// The same without `NextMarker`, as the first version is without a
    /// delimiter.
    FirstVersionWithoutMarker,
    /// Begins every listing with the first object.
    IgnoresPosition,
    /// Lists what is below other prefixes, too.
    IgnoresPrefix,
    /// Says of each page that it is the last one.
    StopsShort,
    /// Lists objects in no order.
    Unsorted,
    /// Lists by folders: `a/b` before `a-b`.
    ByFolder,
    /// Answers 501 to conditions.
    NoConditions,
    /// Heeds no condition when an upload is completed.
    NoConditionOnCompletion,
    /// Refuses checksums.
    NoChecksums,
    /// Refuses what has no checksum.
    WantsChecksums,
    /// Says of data that it is stored, and keeps nothing.
    Loses,
    /// Keeps all but the last byte of data.
    CutsOff,
    /// Answers that there is no object, and nothing else, without a body.
    BareNotFound,
    /// Wants the bucket in the name of the server.
    VirtualHostOnly,
}

/// A running server with one bucket in memory. It takes any credentials, and
/// ends when it is dropped.
#[derive(Debug)]
pub struct Double {
    address: SocketAddr,
    bucket: Arc<Mutex<Bucket>>,
    acceptor: JoinHandle<()>,
}

impl Double {
    /// Starts a server with a bucket of this name and these habits.
    ///
    /// # Errors
    /// [`Error::File`] without a port.
    pub async fn start(bucket: &str, habits: &[Habit]) -> Result<Self, Error> {
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let bound = bound.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) =
            bound.map_err(Error::file("listen on", Path::new("127.0.0.1")))?;
        let bucket = Arc::new(Mutex::new(Bucket::new(bucket, habits)));
        Ok(Self {
            address,
            acceptor: tokio::spawn(accept(listener, Arc::clone(&bucket))),
            bucket,
        })
    }

    /// Where clients connect: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Puts an object there.
    pub fn put(&self, key: &str, content: &[u8]) {
        lock(&self.bucket).put(key, content);
    }

    /// The content of an object.
    #[must_use]
    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        lock(&self.bucket).object(key)
    }

    /// The keys of all objects.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        lock(&self.bucket).keys()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn accept(listener: TcpListener, bucket: Arc<Mutex<Bucket>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // An error is that of one connection, such as one reset at once.
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve(stream, Arc::clone(&bucket)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// All requests of one connection. An error means that the client has gone.
async fn serve(mut stream: TcpStream, bucket: Arc<Mutex<Bucket>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(request) = Request::read(&mut stream, &mut buffer, |_| false).await? {
        let answer = lock(&bucket).answer(&request);
        exchange::write(&mut stream, &answer, None).await?;
    }
    Ok(())
}

fn lock(bucket: &Mutex<Bucket>) -> MutexGuard<'_, Bucket> {
    bucket.lock().unwrap_or_else(PoisonError::into_inner)
}
