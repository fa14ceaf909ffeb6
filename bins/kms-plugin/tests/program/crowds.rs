//! Clients that take all they can get: the others are served nevertheless, and memory stays below the limit that is shipped.

use std::collections::VecDeque;
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::fixture::{Place, Running, decrypt, encrypt, eventually, get, http_address, status};
use kdc_envelope::local::keyring_file;

const SEED: [u8; 32] = [0x5a; 32];
/// `MemoryMax=` of the unit and `limits.memory` of the pods, in KiB.
const SHIPPED_LIMIT: u64 = 64 * 1_024;
/// The bound that is documented for connections of gRPC and of HTTP.
const GRPC_CONNECTIONS: usize = 256;
const HTTP_CONNECTIONS: usize = 32;

/// The most memory that the program ever had, in KiB.
fn peak_memory(running: &Running) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", running.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse().unwrap()
}

fn assert_below_the_limit(running: &Running) {
    let peak = peak_memory(running);
    assert!(peak < SHIPPED_LIMIT, "{peak} KiB");
}

/// A kube-apiserver that starts now.
async fn assert_a_newcomer_is_served(place: &Place) {
    let begin = Instant::now();
    let mut client = place.client().await;
    let wrapped = encrypt(&mut client, &SEED).await.unwrap();
    assert_eq!(decrypt(&mut client, &wrapped).await.unwrap(), SEED);
    assert!(begin.elapsed() < Duration::from_secs(3), "its patience");
}

/// A process that holds as many connections as it can must cost neither probes nor key changes nor newcomers.
#[tokio::test]
async fn half_requests_to_the_http_address_lock_no_client_out() {
    let place = Place::new();
    let line = format!(
        "ulimit -n 1024; exec {} --http-address 127.0.0.1:0 --socket {} --keyring {}",
        env!("CARGO_BIN_EXE_kms-plugin"),
        place.socket.display(),
        place.keyring.display(),
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &line]);
    let running = place.start(shell).await;
    let http = http_address(&place.log());
    let mut client = place.client().await;
    let first = status(&mut client).await.unwrap().key_id;
    let half_requests: Vec<TcpStream> = (0..1_100)
        .map(|_| {
            let mut stream = TcpStream::connect(&http).unwrap();
            let head = b"GET /metrics HTTP/1.1\r\nHost: x\r\n";
            // The server may have closed it already.
            let _ = stream.write_all(head);
            stream
        })
        .collect();

    assert_a_newcomer_is_served(&place).await;
    let begin = Instant::now();
    assert!(get(&http, "/livez").ends_with("ok\n"));
    assert!(begin.elapsed() < Duration::from_secs(1), "of a probe");
    keyring_file::edit(&place.keyring, |keyring| keyring.add(2)).unwrap();
    keyring_file::edit(&place.keyring, |keyring| keyring.promote(2)).unwrap();
    eventually("the promoted version wraps", async || {
        status(&mut client).await.unwrap().key_id != first
    })
    .await;
    let metrics = get(&http, "/metrics");
    assert!(
        metrics.contains("kdc_kms_evicted_connections_total{listener=\"http\"} 1"),
        "{metrics}"
    );
    let open = half_requests.iter().filter(|stream| is_open(stream));
    assert!(open.count() <= HTTP_CONNECTIONS);
    let log = place.log();
    assert_eq!(log.matches("closed to make room").count(), 1, "{log}");
    assert!(running.stop().await.success());
}

fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut stream = stream;
    matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// The time for a head is a matter of seconds, so this waits for it.
#[tokio::test]
async fn a_half_request_is_closed_after_some_seconds() {
    let place = Place::new();
    let mut command = place.command();
    command.args(["--http-address", "127.0.0.1:0"]);
    let running = place.start(command).await;
    let mut stream = TcpStream::connect(http_address(&place.log())).unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost:").unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    assert!(running.stop().await.success());
}

#[tokio::test]
async fn ten_thousand_idle_connections_lock_no_client_out_and_cost_little() {
    let place = Place::new();
    let running = place.start(place.command()).await;
    let mut old = place.client().await;
    status(&mut old).await.unwrap();
    let mut idle = VecDeque::new();
    for number in 0..10_000 {
        idle.push_back(UnixStream::connect(&place.socket).unwrap());
        // Far more than the server keeps, and no more than this process may have.
        if idle.len() > 2 * GRPC_CONNECTIONS {
            idle.pop_front();
        }
        if number % 1_000 == 0 {
            assert_a_newcomer_is_served(&place).await;
        }
    }
    assert_a_newcomer_is_served(&place).await;
    status(&mut old).await.unwrap();
    assert_below_the_limit(&running);
    let descriptors = fs::read_dir(format!("/proc/{}/fd", running.id())).unwrap();
    assert!(descriptors.count() < GRPC_CONNECTIONS + 32);
    assert!(running.stop().await.success());
}

#[tokio::test]
async fn a_hundred_connections_with_a_thousand_calls_each_stay_below_the_limit() {
    // Calls that go on for ever, and calls whose answers are never taken.
    for (window, message) in [(65_535, unfinished(1_024)), (0, whole())] {
        let place = Place::new();
        let running = place.start(place.command()).await;
        let mut old = place.client().await;
        status(&mut old).await.unwrap();
        let socket = place.socket.clone();
        let flood = tokio::task::spawn_blocking(move || {
            let mut raw: Vec<Raw> = (0..100).map(|_| Raw::connect(&socket, window)).collect();
            for call in 0..1_000 {
                for connection in &mut raw {
                    connection.call(call, &message);
                }
            }
            raw
        });
        let raw = flood.await.unwrap();
        assert_a_newcomer_is_served(&place).await;
        status(&mut old).await.unwrap();
        assert_below_the_limit(&running);
        drop(raw);
        let log = place.log();
        assert!(log.matches("ran into its deadline").count() <= 2, "{log}");
        assert!(running.stop().await.success());
    }
}

#[tokio::test]
async fn a_thousand_unfinished_messages_of_full_length_stay_below_the_limit() {
    let place = Place::new();
    let running = place.start(place.command()).await;
    let socket = place.socket.clone();
    let flood = tokio::task::spawn_blocking(move || {
        let mut raw: Vec<Raw> = (0..8).map(|_| Raw::connect(&socket, 65_535)).collect();
        let message = unfinished(60_000);
        for call in 0..125 {
            for connection in &mut raw {
                connection.call(call, &message);
            }
        }
        raw
    });
    let raw = flood.await.unwrap();
    assert_a_newcomer_is_served(&place).await;
    assert_below_the_limit(&running);
    drop(raw);
    assert!(running.stop().await.success());
}

/// A message of gRPC, and whether it is all of it.
struct Message {
    bytes: Vec<u8>,
    is_whole: bool,
}

/// The first bytes of a message of the greatest length.
fn unfinished(len: usize) -> Message {
    let mut bytes = vec![0, 0, 0, 0xff, 0xff];
    bytes.resize(len, 0x5a);
    Message {
        bytes,
        is_whole: false,
    }
}

/// An `EncryptRequest` of a seed.
fn whole() -> Message {
    let mut bytes = vec![0, 0, 0, 0, 34, 0x0a, 32];
    bytes.extend(SEED);
    Message {
        bytes,
        is_whole: true,
    }
}

/// An HTTP/2 client (RFC 9113) that takes no answer. It obeys flow control, and goes on when its connection is gone.
struct Raw {
    stream: UnixStream,
    /// What may still be sent on the whole connection.
    window: usize,
    is_gone: bool,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;

impl Raw {
    /// Announces how much it takes on each call before it says so.
    fn connect(socket: &Path, window: u32) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        // A server that does not read is no reason to wait for ever.
        let limit = Some(Duration::from_millis(500));
        stream.set_write_timeout(limit).unwrap();
        stream.set_read_timeout(limit).unwrap();
        let mut raw = Self {
            stream,
            window: 65_535,
            is_gone: false,
        };
        raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let [a, b, c, d] = window.to_be_bytes();
        raw.send(&frame(SETTINGS, 0, 0, &[0, 4, a, b, c, d]));
        raw
    }

    /// Calls Encrypt.
    fn call(&mut self, call: u32, message: &Message) {
        let stream = 2 * call + 1;
        self.send(&frame(HEADERS, END_HEADERS, stream, &head()));
        for part in message.bytes.chunks(16_384) {
            while self.window < part.len() && !self.is_gone {
                self.read_frame();
            }
            self.window = self.window.saturating_sub(part.len());
            self.send(&frame(DATA, 0, stream, part));
        }
        if message.is_whole {
            self.send(&frame(DATA, END_STREAM, stream, &[]));
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.is_gone = self.is_gone || self.stream.write_all(bytes).is_err();
    }

    fn read_frame(&mut self) {
        let mut head = [0; 9];
        let mut read = || {
            self.stream.read_exact(&mut head)?;
            let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(len).unwrap()];
            self.stream.read_exact(&mut payload)?;
            Ok::<_, std::io::Error>(payload)
        };
        match read() {
            Ok(payload) if head[3] == WINDOW_UPDATE && head[5..] == [0; 4] => {
                let more = u32::from_be_bytes(payload.try_into().unwrap());
                self.window += usize::try_from(more).unwrap();
            }
            Ok(_) => {}
            Err(_) => self.is_gone = true,
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![len[1], len[2], len[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The headers of a call of gRPC, in HPACK without compression (RFC 7541).
fn head() -> Vec<u8> {
    let mut head = vec![0x83, 0x86];
    let mut field = |name: &[u8], value: &str| {
        head.extend(name);
        head.push(u8::try_from(value.len()).unwrap());
        head.extend(value.as_bytes());
    };
    field(&[0x04], "/v2.KeyManagementService/Encrypt");
    field(&[0x01], "localhost");
    field(&[0x0f, 0x10], "application/grpc");
    field(&[0x00, 2, b't', b'e'], "trailers");
    head
}
