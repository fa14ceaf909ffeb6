//! Starts the real program, and talks to it as a raw client.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use kdc_envelope::local::{Keyring, keyring_file};
use kdc_envelope_kms::proto::key_management_service_client::KeyManagementServiceClient;
use kdc_envelope_kms::proto::{
    DecryptRequest, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse,
};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

pub(crate) type Client = KeyManagementServiceClient<Channel>;

pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kms-plugin"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KMS_PLUGIN_") {
            command.env_remove(name);
        }
    }
    command.env_remove("NOTIFY_SOCKET");
    command
}

/// Runs the program to its end, which must be soon: with a fault in its arguments it must not serve.
pub(crate) fn output(arguments: &[&str]) -> Output {
    let mut command = program();
    command.args(arguments).stdin(Stdio::null());
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = Pid::from_child(&child);
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = receiver.recv_timeout(Duration::from_secs(30)) else {
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
        panic!("{arguments:?} does not end");
    };
    output.unwrap()
}

/// What the program wrote to stderr.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A folder with a keyring, and room for a socket and a log.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
    pub(crate) socket: PathBuf,
    pub(crate) keyring: PathBuf,
    pub(crate) log: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        let (socket, keyring, log) = (path("kms.sock"), path("keyring"), path("log"));
        keyring_file::create(&keyring, &Keyring::generate(1).unwrap()).unwrap();
        Self {
            socket,
            keyring,
            log,
            folder,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program on this socket with this keyring.
    pub(crate) fn command(&self) -> Command {
        let mut command = program();
        command
            .arg("--socket")
            .arg(&self.socket)
            .arg("--keyring")
            .arg(&self.keyring);
        command
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Starts `command` with its log in a file, and waits until it listens.
    pub(crate) async fn start(&self, mut command: Command) -> Running {
        let log = File::create(&self.log).unwrap();
        let child = command.stderr(log).stdin(Stdio::null()).spawn().unwrap();
        let running = Running { child };
        eventually("it listens", async || self.connect().await.is_some()).await;
        running
    }

    pub(crate) async fn connect(&self) -> Option<Client> {
        connect(&self.socket).await
    }

    pub(crate) async fn client(&self) -> Client {
        self.connect().await.unwrap()
    }
}

/// A running program; killed when a test ends early.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// The most memory that it held so far, in KiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let number = line.unwrap().split_whitespace().nth(1);
        number.unwrap().parse().unwrap()
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("it ends", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }

    pub(crate) async fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    pub(crate) async fn kill(mut self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) async fn connect(path: &Path) -> Option<Client> {
    let path = path.to_owned();
    let channel = Endpoint::from_static("http://localhost")
        .connect_with_connector(tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        }))
        .await
        .ok()?;
    Some(KeyManagementServiceClient::new(channel))
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

pub(crate) async fn decrypt(
    client: &mut Client,
    wrapped: &EncryptResponse,
) -> Result<Vec<u8>, Status> {
    let request = DecryptRequest {
        ciphertext: wrapped.ciphertext.clone(),
        uid: "test-uid".to_owned(),
        key_id: wrapped.key_id.clone(),
        annotations: wrapped.annotations.clone(),
    };
    Ok(client.decrypt(request).await?.into_inner().plaintext)
}

/// Waits until `condition` holds, at most half a minute.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < Duration::from_secs(30), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The HTTP address that a log tells.
pub(crate) fn http_address(log: &str) -> String {
    let (_, rest) = log.split_once("http=").unwrap();
    rest.split_whitespace().next().unwrap().to_owned()
}

/// The whole answer to a GET.
pub(crate) fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
