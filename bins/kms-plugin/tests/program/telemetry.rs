//! Spans that are sent to a collector, and a collector that is away.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use crate::fixture::{Place, decrypt, encrypt, output, stderr};

const SEED: [u8; 32] = *b"a seed that no span may ever see";

/// Takes one export at each connection, and gives it as it came.
pub(crate) fn collector() -> (String, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = sender.send(take(stream.unwrap()));
        }
    });
    (address, receiver)
}

/// Reads a request with `Content-Length`, and answers 200.
fn take(mut stream: TcpStream) -> Vec<u8> {
    let (mut bytes, mut part) = (Vec::new(), [0; 4_096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let (_, length) = head.split_once("content-length: ").unwrap();
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            let head = bytes
                .windows(4)
                .position(|four| four == b"\r\n\r\n")
                .unwrap()
                + 4;
            if bytes.len() >= head + length {
                break;
            }
        }
        let len = stream.read(&mut part).unwrap();
        assert!(len > 0, "the request ends early");
        bytes.extend_from_slice(&part[..len]);
    }
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    stream.write_all(answer.as_bytes()).unwrap();
    bytes
}

pub(crate) fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn calls_become_spans_that_hold_no_seed() {
    let (address, exports) = collector();
    let place = Place::new();
    let mut command = place.command();
    command.args(["--otel-endpoint", &address]);
    let running = place.start(command).await;
    let mut client = place.client().await;
    let mut wrapped = encrypt(&mut client, &SEED).await.unwrap();
    assert_eq!(decrypt(&mut client, &wrapped).await.unwrap(), SEED);
    wrapped.key_id.push('x');
    assert!(decrypt(&mut client, &wrapped).await.is_err());
    assert!(running.stop().await.success());
    let first = exports.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(first.starts_with(b"POST /v1/traces HTTP/1.1\r\n"));
    let all = [first, exports.try_iter().flatten().collect()].concat();
    for part in [
        "service.name",
        "kms-plugin",
        "encrypt",
        "decrypt",
        "test-uid",
        "refused",
    ] {
        assert!(holds(&all, part.as_bytes()), "{part}");
    }
    assert!(!holds(&all, &SEED), "the seed was sent");
    assert!(!place.log().contains("DEBUG"), "it is not logged for that");
}

#[tokio::test]
async fn a_collector_that_is_away_or_hangs_delays_nothing() {
    // The kernel takes the connection, and no server reads.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let hanging = format!("http://{}", listener.local_addr().unwrap());
    for address in ["http://127.0.0.1:1", &hanging] {
        let place = Place::new();
        let mut command = place.command();
        command.args(["--otel-endpoint", address]);
        let running = place.start(command).await;
        let mut client = place.client().await;
        let wrapped = encrypt(&mut client, &SEED).await.unwrap();
        assert_eq!(decrypt(&mut client, &wrapped).await.unwrap(), SEED);
        assert!(running.stop().await.success());
    }
}

#[test]
fn a_bad_endpoint_is_refused_and_a_password_not_repeated() {
    for bad in [
        "127.0.0.1:4318",
        "grpc://127.0.0.1:4317",
        "http://user:hunter2@127.0.0.1:4318",
        "http://127.0.0.1:4318/?token=hunter2",
    ] {
        let output = output(&["--otel-endpoint", bad]);
        let line = stderr(&output);
        assert_eq!(output.status.code(), Some(64), "{line}");
        assert!(
            line.contains("must be a URL such as http://127.0.0.1:4318"),
            "{line}"
        );
        assert!(!line.contains("hunter2"), "{line}");
        assert_eq!(line.lines().count(), 1, "{line}");
    }
}
