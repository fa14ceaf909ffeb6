//! Two S3 servers that share no code: [`S3`] runs in this process on a folder,
//! in constant memory, and refuses wrong secrets; [`Moto`] is a Python program
//! that knows more of what AWS does, and keeps everything in memory.
//!
//! What neither of them does, servers in the field do: [`Double`] is a server of
//! a few lines with the habits that it is given, and [`hostile`] is a table of
//! answers that no client may believe.

mod double;
pub mod hostile;
mod moto;
mod scripted;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

pub use double::{Double, Habit};
pub use moto::Moto;

use crate::Error;
use crate::pki::{self, TlsFiles};

/// The only key id that [`S3`] knows.
pub const ACCESS_KEY_ID: &str = "testbed";
/// Its secret.
pub const SECRET_ACCESS_KEY: &str = "testbed-secret";

/// A running S3 server; it and its data end when it is dropped.
#[derive(Debug)]
pub struct S3 {
    endpoint: String,
    tls: Option<TlsFiles>,
    acceptor: JoinHandle<()>,
    folder: TempDir,
}

impl S3 {
    /// Starts a server without TLS.
    ///
    /// # Errors
    /// [`Error::File`] without a port or a folder, [`Error::Unexpected`] when
    /// the server does not take the folder.
    pub async fn start() -> Result<Self, Error> {
        Self::start_as(None).await
    }

    /// Starts a server with TLS.
    ///
    /// # Errors
    /// As [`Self::start`], and [`Error::Certificate`].
    pub async fn start_with_tls() -> Result<Self, Error> {
        Self::start_with_tls_as(&[]).await
    }

    /// [`Self::start_with_tls`] with further names in its certificate.
    ///
    /// # Errors
    /// As [`Self::start_with_tls`].
    pub async fn start_with_tls_as(names: &[String]) -> Result<Self, Error> {
        Self::start_as(Some(names)).await
    }

    async fn start_as(tls_names: Option<&[String]>) -> Result<Self, Error> {
        let folder = tempfile::tempdir()
            .map_err(Error::file("create a folder in", &std::env::temp_dir()))?;
        let tls = match tls_names {
            Some(names) => {
                Some(pki::authority()?.write_party_of(folder.path(), "s3", None, names)?)
            }
            None => None,
        };
        let acceptor = tls.as_ref().map(pki::tls_acceptor).transpose()?;
        let data = folder.path().join("data");
        fs::create_dir(&data).map_err(Error::file("create", &data))?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let bound = TcpListener::bind(any).await;
        let bound = bound.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) =
            bound.map_err(Error::file("listen on", Path::new("127.0.0.1")))?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        Ok(Self {
            endpoint: format!("{scheme}://{address}"),
            tls,
            acceptor: tokio::spawn(accept(listener, service(&data)?, acceptor)),
            folder,
        })
    }

    /// Where clients connect: `http://127.0.0.1:PORT`, with TLS `https`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The certificate of its authority, if it has TLS.
    #[must_use]
    pub fn ca_file(&self) -> Option<&Path> {
        self.tls.as_ref().map(|tls| tls.ca.as_path())
    }

    /// Makes an empty bucket.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn create_bucket(&self, name: &str) -> Result<(), Error> {
        let path = self.bucket_folder(name);
        fs::create_dir(&path).map_err(Error::file("create", &path))
    }

    /// The folder that holds the objects of a bucket: each is a file of the name
    /// that its key has. What is put there by hand is an object, too.
    #[must_use]
    pub fn bucket_folder(&self, name: &str) -> PathBuf {
        self.data().join(name)
    }

    /// How many uploads in parts were begun and neither completed nor aborted,
    /// and how many parts are kept for them.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn unfinished_uploads(&self) -> Result<(usize, usize), Error> {
        let names: Vec<String> = fs::read_dir(self.data())
            .and_then(|entries| {
                let names = entries.map(|entry| Ok(entry?.file_name()));
                names.collect::<std::io::Result<Vec<_>>>()
            })
            .map_err(Error::file("read", &self.data()))?
            .into_iter()
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        let count = |start: &str| names.iter().filter(|name| name.starts_with(start)).count();
        Ok((count(".upload-"), count(".upload_id-")))
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

fn service(data: &Path) -> Result<S3Service, Error> {
    let files = FileSystem::new(data).map_err(|error| Error::Unexpected {
        name: "the S3 server",
        detail: format!("{error:?}"),
    })?;
    let mut builder = S3ServiceBuilder::new(files);
    builder.set_auth(SimpleAuth::from_single(ACCESS_KEY_ID, SECRET_ACCESS_KEY));
    Ok(builder.build())
}

async fn accept(listener: TcpListener, service: S3Service, tls: Option<TlsAcceptor>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // An error is that of one connection, such as one reset at once.
                let Ok((stream, _)) = accepted else { continue };
                let (service, tls) = (service.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, service).await,
                        Some(tls) => {
                            // A client that does not trust the certificate leaves.
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, service).await;
                            }
                        }
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, service: S3Service) {
    // An error means that the client has gone.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
