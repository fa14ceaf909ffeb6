//! Single calls: deadlines, patience, what goes over the wire, and what is said when it fails.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::double::{Double, Fault, KEY_ID, Served};
use crate::own_plugin::OwnPlugin;
use kdc_envelope::Key256;
use kdc_envelope::local::{Keyring, LocalKek};
use kdc_envelope_kms::client::{CallError, KmsClient, Method};
use kdc_envelope_kms::proto::key_management_service_server::KeyManagementServiceServer;
use kdc_envelope_kms::server::SocketAddress;
use tokio::time::sleep;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::Code;
use tonic::codegen::http;

const SHORT: Duration = Duration::from_millis(150);

#[tokio::test]
async fn all_three_calls_work() {
    let served = Served::new(Fault::None);
    let client = KmsClient::new(&served.socket);
    let status = client.status().await.unwrap();
    assert_eq!(
        (&*status.version, &*status.healthz, &*status.key_id),
        ("v2", "ok", KEY_ID)
    );
    let wrapped = client.encrypt(b"a seed").await.unwrap();
    assert_eq!(wrapped.key_id, KEY_ID);
    assert_eq!(client.decrypt(&wrapped).await.unwrap().expose(), b"a seed");
}

#[tokio::test]
async fn every_call_has_a_fresh_uid() {
    let served = Served::new(Fault::None);
    let client = KmsClient::new(&served.socket);
    for _ in 0..5 {
        let wrapped = client.encrypt(b"a seed").await.unwrap();
        client.decrypt(&wrapped).await.unwrap();
    }
    let uids = served.journal().uids.lock().unwrap().clone();
    assert!(uids.iter().all(|uid| uuid::Uuid::try_parse(uid).is_ok()));
    assert_eq!(uids.iter().collect::<BTreeSet<_>>().len(), 10);
}

#[tokio::test]
async fn a_call_waits_for_a_socket_that_comes_later() {
    let mut served = Served::new(Fault::None);
    served.stop().await;
    let client = KmsClient::new(&served.socket);
    let call = tokio::spawn(async move { client.status().await });
    sleep(SHORT).await;
    assert!(!call.is_finished());
    served.start();
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_missing_socket_costs_the_whole_timeout_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let socket = SocketAddress::Path(folder.path().join("missing.sock"));
    let client = KmsClient::new(&socket).with_timeout(SHORT);
    let begin = Instant::now();
    let error = client.status().await.unwrap_err();
    assert!(begin.elapsed() >= SHORT);
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert_eq!(
        error.to_string(),
        "Status: no connection within 150ms: No such file or directory (os error 2)"
    );
}

#[tokio::test]
async fn a_slow_call_ends_at_its_deadline_and_its_work_is_cancelled() {
    let served = Served::new(Fault::None);
    *served.journal().delay.lock().unwrap() = Duration::from_secs(60);
    let client = KmsClient::new(&served.socket).with_timeout(SHORT);
    let error = client.encrypt(b"a seed").await.unwrap_err();
    assert_eq!(
        error,
        CallError::Deadline {
            method: Method::Encrypt,
            timeout: SHORT
        }
    );
    assert_eq!(error.code(), Code::DeadlineExceeded);
    let begin = Instant::now();
    while served.journal().cancelled.load(Ordering::SeqCst) == 0 {
        assert!(begin.elapsed() < Duration::from_secs(5), "the work goes on");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_restart_between_calls_is_not_noticed() {
    let mut served = Served::new(Fault::None);
    let client = KmsClient::new(&served.socket);
    let wrapped = client.encrypt(b"a seed").await.unwrap();
    for _ in 0..5 {
        served.stop().await;
        served.start();
        // The client's own task has to see the end of the old connection.
        sleep(Duration::from_millis(20)).await;
        assert_eq!(client.decrypt(&wrapped).await.unwrap().expose(), b"a seed");
    }
}

#[tokio::test]
async fn a_call_that_was_sent_is_not_repeated_when_the_connection_breaks() {
    let mut served = Served::new(Fault::None);
    let client = KmsClient::new(&served.socket);
    client.status().await.unwrap();
    *served.journal().delay.lock().unwrap() = Duration::from_secs(60);
    let sent = client.clone();
    let call = tokio::spawn(async move { sent.encrypt(b"a seed").await });
    while served.journal().encrypts.load(Ordering::SeqCst) == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    served.stop().await;
    let error = call.await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::BrokenOff { .. }), "{error}");
    assert_eq!(error.code(), Code::Unavailable);
    assert_eq!(served.journal().encrypts.load(Ordering::SeqCst), 1);

    *served.journal().delay.lock().unwrap() = Duration::ZERO;
    served.start();
    client.status().await.unwrap();
}

#[tokio::test]
async fn the_plugin_s_error_is_passed_on_and_escaped() {
    let served = Served::new(Fault::EncryptError);
    let client = KmsClient::new(&served.socket);
    let error = client.encrypt(b"a seed").await.unwrap_err();
    assert_eq!(error.code(), Code::Internal);
    assert_eq!(
        error.to_string(),
        "Encrypt: Internal: the double cannot encrypt"
    );
    let hostile = CallError::Refused {
        method: Method::Status,
        code: Code::Unknown,
        message: "a\n\u{1b}[31m".into(),
    };
    assert_eq!(hostile.to_string(), "Status: Unknown: a\\n\\u{1b}[31m");
}

#[tokio::test]
async fn the_wire_shows_authority_localhost_and_the_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wire.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let wiretap = tower::util::MapRequestLayer::new(move |request: http::Request<_>| {
        let authority = request.uri().authority().map(ToString::to_string);
        let timeout = request.headers().get("grpc-timeout").cloned();
        log.lock().unwrap().push((authority, timeout));
        request
    });
    let serving = tonic::transport::Server::builder()
        .layer(wiretap)
        .add_service(KeyManagementServiceServer::new(Double::new(Fault::None)))
        .serve_with_incoming(UnixListenerStream::new(listener));
    let serving = tokio::spawn(serving);
    let client = KmsClient::new(&SocketAddress::Path(path));
    client.status().await.unwrap();
    let (authority, timeout) = seen.lock().unwrap().pop().unwrap();
    assert_eq!(authority.as_deref(), Some("localhost"));
    let timeout = timeout.unwrap();
    let micros: u64 = timeout
        .to_str()
        .unwrap()
        .strip_suffix('u')
        .unwrap()
        .parse()
        .unwrap();
    assert!((2_000_000..=3_000_000).contains(&micros), "{timeout:?}");
    serving.abort();
}

#[tokio::test]
async fn an_abstract_socket_is_reached() {
    let name = format!("@kdc-envelope-test-{}", uuid::Uuid::new_v4());
    let socket: SocketAddress = name.parse().unwrap();
    let keyring = Keyring::from_root_secret(Key256::new([7; 32]));
    let kek = Arc::new(LocalKek::new(keyring).unwrap());
    let _plugin = OwnPlugin::on(kek, socket.clone(), tempfile::tempdir().unwrap()).await;
    let client = KmsClient::new(&socket);
    let wrapped = client.encrypt(b"a seed").await.unwrap();
    assert_eq!(client.decrypt(&wrapped).await.unwrap().expose(), b"a seed");
}

#[tokio::test]
async fn a_peer_that_does_not_speak_grpc_is_no_plugin() {
    use tokio::io::AsyncWriteExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let other = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .await
                .unwrap();
        }
    });
    let client = KmsClient::new(&SocketAddress::Path(path)).with_timeout(SHORT);
    let error = client.status().await.unwrap_err();
    assert!(!matches!(error, CallError::Refused { .. }), "{error}");
    other.abort();
}
