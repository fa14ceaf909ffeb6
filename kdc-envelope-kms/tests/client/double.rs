//! A KMS v2 plugin with one fault of choice: for what the real one does not do.

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kdc_envelope_kms::proto::key_management_service_server::{
    KeyManagementService, KeyManagementServiceServer,
};
use kdc_envelope_kms::proto::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse,
};
use kdc_envelope_kms::server::SocketAddress;
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, async_trait};

pub const KEY_ID: &str = "double-key-1";
pub const OTHER_KEY_ID: &str = "double-key-2";
const ANNOTATION: &str = "double.example.com";

/// What the double does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    None,
    NoAnnotations,
    // Status
    StatusError,
    HealthzText,
    VersionV1,
    EmptyKeyId,
    LongKeyId,
    SlowStatus,
    HungStatus,
    KeyIdFlips,
    KeyIdChangesOnce,
    ManyKeyIds,
    VersionFlips,
    // Encrypt
    EncryptError,
    EmptyCiphertext,
    LongCiphertext,
    EncryptUsesOtherKeyId,
    AnnotationNotADomain,
    AnnotationsTooLarge,
    PlaintextInCiphertext,
    PlaintextInAnnotation,
    Deterministic,
    CutsAt32Bytes,
    // Decrypt
    DecryptError,
    WrongPlaintext,
    ShortPlaintext,
    NeedsUid,
    DiesWithoutUid,
    IgnoresKeyId,
    TrimsKeyId,
    WrongPlaintextForForeignKeyId,
    Malleable,
    IgnoresLastByte,
    PanicsOnShort,
    EmptyPlaintextOnShort,
    IgnoresAnnotations,
    NoAnnotationsAndStrict,
    PanicsOnLarge,
    RefusesAsUnavailable,
    RefusesAsUnknown,
    RefusesAsCancelled,
    // Under load
    RefusesWhenBusy,
    MixesUpWhenBusy,
    StatusSlowWhenBusy,
    StatusFailsWhenBusy,
    SickWhenBusy,
    QueuesAbandonedCalls,
    ForgetsOldCiphertexts,
}

struct Stored {
    plaintext: Vec<u8>,
    annotations: BTreeMap<String, Vec<u8>>,
    sequence: u64,
}

/// What the double has seen and keeps.
#[derive(Default)]
pub struct Journal {
    pub statuses: AtomicU64,
    pub encrypts: AtomicU64,
    pub decrypts: AtomicU64,
    pub cancelled: AtomicU64,
    pub uids: Mutex<Vec<String>>,
    /// Time that each call takes.
    pub delay: Mutex<Duration>,
    /// What Status answers and Encrypt uses.
    pub key_id: Mutex<String>,
    /// Whether Status answers a gRPC error.
    pub is_down: Mutex<bool>,
    busy: AtomicUsize,
    stored: Mutex<BTreeMap<Vec<u8>, Stored>>,
    queue: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
pub struct Double {
    fault: Fault,
    pub journal: Arc<Journal>,
}

/// Counts a call that ended without an answer.
struct CancelGuard<'a>(Option<&'a AtomicU64>);

impl Drop for CancelGuard<'_> {
    fn drop(&mut self) {
        if let Some(counter) = self.0 {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    }
}

struct Busy<'a>(&'a AtomicUsize);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Double {
    pub fn new(fault: Fault) -> Self {
        let journal = Journal::default();
        KEY_ID.clone_into(&mut journal.key_id.lock().unwrap());
        Self {
            fault,
            journal: Arc::new(journal),
        }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    async fn pause(&self) {
        let mut guard = CancelGuard(Some(&self.journal.cancelled));
        let delay = *self.journal.delay.lock().unwrap();
        if !delay.is_zero() {
            sleep(delay).await;
        }
        guard.0 = None;
    }

    /// Held while a call is served that others may find the double busy with.
    async fn work(&self) -> Busy<'_> {
        let busy = Busy(&self.journal.busy);
        self.journal.busy.fetch_add(1, Ordering::SeqCst);
        if (Fault::RefusesWhenBusy..=Fault::SickWhenBusy).contains(&self.fault) {
            sleep(Duration::from_millis(30)).await;
        }
        busy
    }

    fn is_busy(&self) -> bool {
        self.journal.busy.load(Ordering::SeqCst) > 10
    }

    fn status_key_id(&self, call: u64) -> String {
        let current = self.journal.key_id.lock().unwrap().clone();
        match self.fault {
            Fault::EmptyKeyId => String::new(),
            Fault::LongKeyId => "k".repeat(1025),
            Fault::KeyIdFlips if call % 2 == 1 => OTHER_KEY_ID.to_owned(),
            Fault::KeyIdChangesOnce if call > 5 => OTHER_KEY_ID.to_owned(),
            Fault::ManyKeyIds => format!("{current}-{call}"),
            _ => current,
        }
    }

    fn refuse(&self, message: &str) -> Status {
        match self.fault {
            Fault::RefusesAsUnavailable => Status::unavailable(message),
            Fault::RefusesAsUnknown => Status::unknown(message),
            Fault::RefusesAsCancelled => Status::cancelled(message),
            _ => Status::invalid_argument(message),
        }
    }

    fn annotations(&self, plaintext: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let (key, value) = match self.fault {
            Fault::NoAnnotations | Fault::NoAnnotationsAndStrict => return BTreeMap::new(),
            Fault::AnnotationNotADomain => ("nodots", b"1".to_vec()),
            Fault::AnnotationsTooLarge => (ANNOTATION, vec![b'x'; 32 * 1024]),
            Fault::PlaintextInAnnotation => (ANNOTATION, plaintext.to_vec()),
            _ => (ANNOTATION, b"1".to_vec()),
        };
        BTreeMap::from([(key.to_owned(), value)])
    }

    /// A random handle under which the plaintext is kept: nothing about it can be guessed or changed.
    fn ciphertext(&self, plaintext: &[u8]) -> Vec<u8> {
        let handle = || uuid::Uuid::new_v4().as_bytes().to_vec();
        match self.fault {
            Fault::EmptyCiphertext => Vec::new(),
            Fault::LongCiphertext => vec![7; 1025],
            Fault::Deterministic => plaintext.iter().map(|byte| byte ^ 0x55).collect(),
            Fault::PlaintextInCiphertext => [&handle(), plaintext].concat(),
            _ => [handle(), handle(), handle()].concat(),
        }
    }

    fn unwrap(&self, request: &DecryptRequest) -> Result<Vec<u8>, Status> {
        let current = self.journal.key_id.lock().unwrap().clone();
        let stored = self.journal.stored.lock().unwrap();
        let newest = stored.values().map(|entry| entry.sequence).max();
        let ciphertext = self.as_looked_up(&request.ciphertext, &stored);
        let is_known = request.key_id == current
            || request.key_id == OTHER_KEY_ID
            || self.is(Fault::IgnoresKeyId)
            || (self.is(Fault::TrimsKeyId) && request.key_id.trim() == current);
        if !is_known {
            if self.is(Fault::WrongPlaintextForForeignKeyId) {
                return Ok(vec![9; 32]);
            }
            return Err(self.refuse("unknown key id"));
        }
        let Some(entry) = stored.get(&ciphertext) else {
            return Err(self.refuse("not a ciphertext of this plugin"));
        };
        let age = newest.unwrap_or_default() - entry.sequence;
        if self.is(Fault::ForgetsOldCiphertexts) && age > 50 {
            return Err(self.refuse("not a ciphertext of this plugin"));
        }
        let ignores_annotations =
            self.is(Fault::IgnoresAnnotations) || self.is(Fault::NoAnnotations);
        if entry.annotations != request.annotations && !ignores_annotations {
            return Err(self.refuse("annotations were changed"));
        }
        let mut plaintext = entry.plaintext.clone();
        match self.fault {
            Fault::WrongPlaintext => plaintext.iter_mut().for_each(|byte| *byte ^= 1),
            Fault::ShortPlaintext => plaintext.truncate(31),
            Fault::CutsAt32Bytes => plaintext.truncate(32),
            Fault::Malleable if ciphertext != request.ciphertext => plaintext.reverse(),
            _ => {}
        }
        Ok(plaintext)
    }

    /// The ciphertext under which the request finds something, after the fault had its way with it.
    fn as_looked_up(&self, given: &[u8], stored: &BTreeMap<Vec<u8>, Stored>) -> Vec<u8> {
        let resembles = |own: &&Vec<u8>| {
            let same = own.iter().zip(given).filter(|(a, b)| a == b).count();
            own.len() == given.len() && same + 1 >= own.len()
        };
        let differs_at_the_end = |own: &&Vec<u8>| match (own.split_last(), given.split_last()) {
            (Some((_, own)), Some((_, given))) => own == given,
            _ => false,
        };
        let found = match self.fault {
            Fault::Malleable => stored.keys().find(resembles),
            Fault::IgnoresLastByte => stored.keys().find(differs_at_the_end),
            _ => None,
        };
        found.map_or_else(|| given.to_vec(), Clone::clone)
    }
}

#[async_trait]
impl KeyManagementService for Double {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let call = self.journal.statuses.fetch_add(1, Ordering::SeqCst);
        self.pause().await;
        if *self.journal.is_down.lock().unwrap() || self.is(Fault::StatusError) {
            return Err(Status::unavailable("the double is down"));
        }
        let is_busy = self.is_busy();
        match self.fault {
            Fault::SlowStatus => sleep(Duration::from_millis(150)).await,
            Fault::HungStatus if call > 3 => sleep(Duration::from_secs(60)).await,
            Fault::StatusSlowWhenBusy if is_busy => sleep(Duration::from_millis(1_200)).await,
            Fault::StatusFailsWhenBusy if is_busy => return Err(Status::unavailable("busy")),
            _ => {}
        }
        let healthz = match self.fault {
            Fault::HealthzText => "almost ok",
            Fault::SickWhenBusy if is_busy => "busy",
            _ => "ok",
        };
        let version = match self.fault {
            Fault::VersionV1 => "v1",
            Fault::VersionFlips if call % 2 == 1 => "v2beta1",
            _ => "v2",
        };
        Ok(Response::new(StatusResponse {
            version: version.to_owned(),
            healthz: healthz.to_owned(),
            key_id: self.status_key_id(call),
        }))
    }

    async fn encrypt(
        &self,
        request: Request<EncryptRequest>,
    ) -> Result<Response<EncryptResponse>, Status> {
        let sequence = self.journal.encrypts.fetch_add(1, Ordering::SeqCst);
        let EncryptRequest { plaintext, uid } = request.into_inner();
        self.journal.uids.lock().unwrap().push(uid.clone());
        self.pause().await;
        let _busy = self.work().await;
        match self.fault {
            Fault::EncryptError => return Err(Status::internal("the double cannot encrypt")),
            Fault::NeedsUid if uid.is_empty() => return Err(self.refuse("no uid")),
            Fault::DiesWithoutUid => assert!(!uid.is_empty(), "no uid"),
            Fault::RefusesWhenBusy if self.is_busy() => {
                return Err(Status::resource_exhausted("busy"));
            }
            Fault::QueuesAbandonedCalls => {
                let journal = Arc::clone(&self.journal);
                let queued = tokio::spawn(async move {
                    let _turn = journal.queue.lock().await;
                    sleep(Duration::from_millis(100)).await;
                });
                queued.await.unwrap();
            }
            _ => {}
        }
        if plaintext.is_empty() {
            return Err(self.refuse("nothing to encrypt"));
        }
        let ciphertext = self.ciphertext(&plaintext);
        let annotations = self.annotations(&plaintext);
        let stored = Stored {
            plaintext,
            annotations: annotations.clone(),
            sequence,
        };
        let mut all = self.journal.stored.lock().unwrap();
        all.insert(ciphertext.clone(), stored);
        let current = self.journal.key_id.lock().unwrap().clone();
        Ok(Response::new(EncryptResponse {
            ciphertext,
            key_id: match self.fault {
                Fault::EncryptUsesOtherKeyId => OTHER_KEY_ID.to_owned(),
                _ => current,
            },
            annotations,
        }))
    }

    async fn decrypt(
        &self,
        request: Request<DecryptRequest>,
    ) -> Result<Response<DecryptResponse>, Status> {
        self.journal.decrypts.fetch_add(1, Ordering::SeqCst);
        let request = request.into_inner();
        self.journal.uids.lock().unwrap().push(request.uid.clone());
        self.pause().await;
        let _busy = self.work().await;
        let is_short = request.ciphertext.len() < 12;
        match self.fault {
            Fault::DecryptError => return Err(Status::internal("the double cannot decrypt")),
            Fault::PanicsOnShort => assert!(!is_short, "index out of bounds"),
            Fault::PanicsOnLarge => assert!(request.key_id.len() <= 1024, "too long"),
            Fault::EmptyPlaintextOnShort if is_short => {
                return Ok(Response::new(DecryptResponse { plaintext: vec![] }));
            }
            _ => {}
        }
        let mut plaintext = self.unwrap(&request)?;
        if self.is(Fault::MixesUpWhenBusy) && self.is_busy() {
            plaintext = vec![3; 32];
        }
        Ok(Response::new(DecryptResponse { plaintext }))
    }
}

/// A double that serves until it is dropped.
pub struct Served {
    pub double: Double,
    pub socket: SocketAddress,
    /// Second handles of all accepted connections, to close them with.
    open: Arc<Mutex<Vec<StdUnixStream>>>,
    _folder: TempDir,
    task: Option<JoinHandle<()>>,
}

impl Served {
    pub fn new(fault: Fault) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("double.sock");
        let mut served = Self {
            double: Double::new(fault),
            socket: SocketAddress::Path(path),
            open: Arc::default(),
            _folder: folder,
            task: None,
        };
        served.start();
        served
    }

    /// Serves again, after [`stop`](Self::stop).
    pub fn start(&mut self) {
        let SocketAddress::Path(path) = &self.socket else {
            unreachable!("the double listens on a path");
        };
        let listener = UnixListener::bind(path).unwrap();
        let service = KeyManagementServiceServer::new(self.double.clone());
        let open = Arc::clone(&self.open);
        let accepted = UnixListenerStream::new(listener).map(move |stream| {
            let stream = stream?.into_std()?;
            open.lock().unwrap().push(stream.try_clone()?);
            UnixStream::from_std(stream)
        });
        let serving = Server::builder()
            .add_service(service)
            .serve_with_incoming(accepted);
        self.task = Some(tokio::spawn(async move { serving.await.unwrap() }));
    }

    /// Closes the socket and all connections, also under calls in flight, and removes the file.
    pub async fn stop(&mut self) {
        let task = self.task.take().unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        for stream in self.open.lock().unwrap().drain(..) {
            stream.shutdown(Shutdown::Both).unwrap();
        }
        if let SocketAddress::Path(path) = &self.socket {
            std::fs::remove_file(path).unwrap();
        }
    }

    pub fn journal(&self) -> &Journal {
        &self.double.journal
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
