//! What the tests of the server share: a running server, raw clients, and key encryption keys that misbehave.
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use kdc_envelope::kek::MAX_WRAPPED_LEN;
use kdc_envelope::local::{Keyring, LocalKek};
use kdc_envelope::{
    Aad, KekError, KekStatus, Key256, KeyEncryptionKey, KeyId, SecretBytes, WrappedKey,
};
use kdc_envelope_kms::metrics::Metrics;
use kdc_envelope_kms::proto::key_management_service_client::KeyManagementServiceClient;
use kdc_envelope_kms::proto::{
    DecryptRequest, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse,
};
use kdc_envelope_kms::server::{KeyEndpoint, ServeError, Server, SocketOptions};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

pub(crate) type Client = KeyManagementServiceClient<Channel>;

/// A folder that a socket may live in, whatever the umask.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub(crate) fn local_kek() -> Arc<LocalKek> {
    let keyring = Keyring::from_root_secret(Key256::new([7; 32]));
    Arc::new(LocalKek::new(keyring).unwrap())
}

/// A server that runs in this process until it is stopped.
pub(crate) struct Running {
    pub(crate) metrics: Metrics,
    pub(crate) http: Option<std::net::SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    pub(crate) async fn start(kek: Arc<dyn KeyEncryptionKey>, socket: SocketOptions) -> Self {
        Self::try_start(kek, socket).await.unwrap()
    }

    pub(crate) async fn try_start(
        kek: Arc<dyn KeyEncryptionKey>,
        socket: SocketOptions,
    ) -> Result<Self, ServeError> {
        let metrics = Metrics::new("test");
        let server = Server::of_one_key(kek, "", socket, metrics.clone());
        Self::serve(server, metrics).await
    }

    /// Serves several keys at once.
    pub(crate) async fn several(
        endpoints: impl IntoIterator<Item = KeyEndpoint>,
    ) -> Result<Self, ServeError> {
        let metrics = Metrics::new("test");
        let server = endpoints
            .into_iter()
            .fold(Server::new(metrics.clone()), Server::with_key);
        Self::serve(server, metrics).await
    }

    async fn serve(server: Server, metrics: Metrics) -> Result<Self, ServeError> {
        let server = server
            .with_http_address("127.0.0.1:0".parse().unwrap())
            .bind()
            .await?;
        let http = server.http_address();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Ok(Self {
            metrics,
            http,
            stop: Some(stop),
            task,
        })
    }

    pub(crate) fn begin_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub(crate) async fn ended(self) -> Result<(), ServeError> {
        self.task.await.unwrap()
    }

    pub(crate) async fn stop(mut self) {
        self.begin_stop();
        self.ended().await.unwrap();
    }

    /// The value of one metric line.
    pub(crate) fn metric(&self, line: &str) -> Option<f64> {
        let text = self.metrics.render();
        let found = text
            .lines()
            .find_map(|l| l.strip_prefix(line)?.strip_prefix(' '))?;
        Some(found.parse().unwrap())
    }

    /// The body and the status code of a GET.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(self.http.unwrap())
            .await
            .unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        (code, body.to_owned())
    }
}

pub(crate) fn at(path: &Path) -> SocketOptions {
    SocketOptions::new(path.to_str().unwrap().parse().unwrap())
}

/// A running server with a local key on a socket in a folder of its own.
pub(crate) struct Fixture {
    pub(crate) folder: TempDir,
    pub(crate) socket: PathBuf,
    pub(crate) running: Running,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(local_kek()).await
    }

    pub(crate) async fn with(kek: Arc<dyn KeyEncryptionKey>) -> Self {
        let folder = folder();
        let socket = folder.path().join("kms.sock");
        let running = Running::start(kek, at(&socket)).await;
        Self {
            folder,
            socket,
            running,
        }
    }

    pub(crate) async fn client(&self) -> Client {
        connect(&self.socket).await.unwrap()
    }
}

pub(crate) async fn connect(path: &Path) -> Result<Client, tonic::transport::Error> {
    connect_as(path, "http://localhost").await
}

/// Connects with the `:authority` of `origin`.
pub(crate) async fn connect_as(
    path: &Path,
    origin: &str,
) -> Result<Client, tonic::transport::Error> {
    let channel = channel_as(path, origin).await?;
    Ok(KeyManagementServiceClient::new(channel))
}

/// What gRPC health says about the KMS service on this socket.
pub(crate) async fn health(path: &Path) -> ServingStatus {
    let request = HealthCheckRequest {
        service: "v2.KeyManagementService".into(),
    };
    let mut client = HealthClient::new(channel(path).await);
    client.check(request).await.unwrap().into_inner().status()
}

pub(crate) async fn channel(path: &Path) -> Channel {
    channel_as(path, "http://localhost").await.unwrap()
}

async fn channel_as(path: &Path, origin: &str) -> Result<Channel, tonic::transport::Error> {
    let path = path.to_owned();
    Endpoint::from_static("http://localhost")
        .origin(origin.parse().unwrap())
        .connect_with_connector(tower::service_fn(move |_| {
            let path = path.clone();
            async move {
                let stream = match path.to_str().and_then(|p| p.strip_prefix('@')) {
                    Some(name) => connect_abstract(name)?,
                    None => UnixStream::connect(path).await?,
                };
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        }))
        .await
}

fn connect_abstract(name: &str) -> std::io::Result<UnixStream> {
    use std::os::linux::net::SocketAddrExt as _;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    let stream = std::os::unix::net::UnixStream::connect_addr(&address)?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

pub(crate) async fn status(client: &mut Client) -> Result<StatusResponse, Status> {
    Ok(client.status(StatusRequest {}).await?.into_inner())
}

pub(crate) async fn encrypt(
    client: &mut Client,
    plaintext: &[u8],
) -> Result<EncryptResponse, Status> {
    let request = EncryptRequest {
        plaintext: plaintext.to_vec(),
        uid: "test-uid".to_owned(),
    };
    Ok(client.encrypt(request).await?.into_inner())
}

/// The request that gives back what Encrypt returned.
pub(crate) fn echo(encrypted: &EncryptResponse) -> DecryptRequest {
    DecryptRequest {
        ciphertext: encrypted.ciphertext.clone(),
        uid: "test-uid".to_owned(),
        key_id: encrypted.key_id.clone(),
        annotations: encrypted.annotations.clone(),
    }
}

pub(crate) async fn decrypt(
    client: &mut Client,
    request: DecryptRequest,
) -> Result<Vec<u8>, Status> {
    Ok(client.decrypt(request).await?.into_inner().plaintext)
}

/// Waits until `condition` holds, at most ten seconds.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < Duration::from_secs(10), "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a [`TestKek`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Works.
    Well,
    /// Takes this long first.
    Slow(Duration),
    /// Reports this kind of error, in words that must not reach the client.
    Unavailable,
    /// The same for credentials.
    Denied,
    /// Cannot be reached, and was well shortly before.
    Degraded,
    /// Answers outside the limits of KMS v2.
    Oversized,
    /// Status is fine, unwrapping is not.
    CannotUnwrap,
}

/// A key encryption key with moods. Its ciphertext is the plaintext with every bit flipped.
#[derive(Debug)]
pub(crate) struct TestKek {
    pub(crate) mood: Mutex<Mood>,
    pub(crate) completed: AtomicU64,
    pub(crate) entered: AtomicBool,
}

impl TestKek {
    pub(crate) fn new(mood: Mood) -> Arc<Self> {
        Arc::new(Self {
            mood: Mutex::new(mood),
            completed: AtomicU64::new(0),
            entered: AtomicBool::new(false),
        })
    }

    pub(crate) fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn fail(&self) -> Result<(), KekError> {
        let source = "internal detail 10.9.8.7".into();
        match *self.mood.lock().unwrap() {
            Mood::Unavailable | Mood::Degraded => Err(KekError::Unavailable { source }),
            Mood::Denied => Err(KekError::Denied { source }),
            _ => Ok(()),
        }
    }

    async fn act(&self) -> Result<(), KekError> {
        self.entered.store(true, Ordering::SeqCst);
        self.fail()?;
        let mood = *self.mood.lock().unwrap();
        if let Mood::Slow(time) = mood {
            tokio::time::sleep(time).await;
        }
        self.completed.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[tonic::async_trait]
impl KeyEncryptionKey for TestKek {
    async fn wrap(&self, plaintext: &[u8], _: Aad<'_>) -> Result<WrappedKey, KekError> {
        self.act().await?;
        let ciphertext = match *self.mood.lock().unwrap() {
            Mood::Oversized => vec![0; MAX_WRAPPED_LEN + 1],
            _ => plaintext.iter().map(|byte| !byte).collect(),
        };
        Ok(WrappedKey::new(KeyId::new("test.v1").unwrap(), ciphertext))
    }

    async fn unwrap(&self, wrapped: &WrappedKey, _: Aad<'_>) -> Result<SecretBytes, KekError> {
        self.act().await?;
        if *self.mood.lock().unwrap() == Mood::CannotUnwrap {
            let source = "internal detail 10.9.8.7".into();
            return Err(KekError::Denied { source });
        }
        Ok(wrapped
            .ciphertext
            .iter()
            .map(|byte| !byte)
            .collect::<Vec<u8>>()
            .into())
    }

    fn status(&self) -> Result<KekStatus, KekError> {
        let status = KekStatus::new(KeyId::new("test.v1").unwrap(), 1);
        if *self.mood.lock().unwrap() == Mood::Degraded {
            return Ok(status.degraded_by("away\nfor now"));
        }
        self.fail()?;
        Ok(status)
    }
}
