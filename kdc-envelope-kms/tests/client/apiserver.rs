//! The API server without an API server, against plugins that live, rotate and go away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::double::{Fault, KEY_ID, OTHER_KEY_ID, Served};
use crate::own_plugin::OwnPlugin;
use kdc_envelope::kmsv2::{ProviderName, Value};
use kdc_envelope::local::{Keyring, LocalKek};
use kdc_envelope_kms::client::KmsClient;
use kdc_envelope_kms::client::apiserver::{ApiServer, ReadError, WriteError, monotonic_clock};
use kdc_envelope_kms::server::SocketAddress;
use tokio::time::sleep;
use tonic::Code;

const KEY: &[u8] = b"/registry/secrets/default/a";

/// A clock that only the test moves.
#[derive(Clone, Default)]
struct Clock(Arc<AtomicU64>);

impl Clock {
    fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::SeqCst);
    }

    fn read(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

fn api_server(socket: &SocketAddress, clock: &Clock) -> ApiServer {
    let client = KmsClient::new(socket).with_timeout(Duration::from_millis(200));
    let clock = clock.clone();
    let name = ProviderName::new("demo").unwrap();
    ApiServer::new(client, name, move || clock.read())
}

fn calls(served: &Served) -> (u64, u64, u64) {
    let journal = served.journal();
    let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
    (
        count(&journal.statuses),
        count(&journal.encrypts),
        count(&journal.decrypts),
    )
}

#[tokio::test]
async fn rows_of_any_size_go_in_and_come_out_at_one_encrypt() {
    let served = Served::new(Fault::None);
    let server = api_server(&served.socket, &Clock::default());
    server.check_now().await.unwrap();
    for size in [0, 1, 1024, 1 << 20] {
        let plaintext = vec![7; size];
        let row = server.seal(KEY, &plaintext).unwrap();
        let opened = server.open(KEY, &row).await.unwrap();
        assert_eq!(opened.plaintext.expose(), plaintext);
        assert!(!opened.is_stale);
    }
    assert_eq!(calls(&served), (1, 1, 0));
}

#[tokio::test]
async fn a_restarted_server_asks_once_for_each_seed() {
    let served = Served::new(Fault::None);
    let clock = Clock::default();
    let mut rows = Vec::new();
    for _ in 0..3 {
        let server = api_server(&served.socket, &clock);
        server.check_now().await.unwrap();
        rows.push(server.seal(KEY, b"data").unwrap());
        rows.push(server.seal(KEY, b"data").unwrap());
    }
    let restarted = api_server(&served.socket, &clock);
    restarted.check_now().await.unwrap();
    for row in rows.iter().chain(&rows) {
        assert_eq!(
            restarted.open(KEY, row).await.unwrap().plaintext.expose(),
            b"data"
        );
    }
    assert_eq!(calls(&served), (4, 4, 3));
    assert_eq!(restarted.dek_sources(), 3);
}

#[tokio::test]
async fn concurrent_readers_of_one_seed_each_ask_for_it() {
    let served = Served::new(Fault::None);
    let clock = Clock::default();
    let writer = api_server(&served.socket, &clock);
    writer.check_now().await.unwrap();
    let row = writer.seal(KEY, b"data").unwrap();
    let reader = Arc::new(api_server(&served.socket, &clock));
    reader.check_now().await.unwrap();
    *served.journal().delay.lock().unwrap() = Duration::from_millis(50);
    let reads = (0..8).map(|_| {
        let (reader, row) = (Arc::clone(&reader), row.clone());
        tokio::spawn(async move { reader.open(KEY, &row).await.unwrap().is_stale })
    });
    for read in reads.collect::<Vec<_>>() {
        assert!(!read.await.unwrap());
    }
    assert_eq!(calls(&served).2, 8);
    assert_eq!(reader.dek_sources(), 1);
}

#[tokio::test]
async fn a_rotation_is_seen_by_the_next_check_and_makes_rows_stale() {
    let served = Served::new(Fault::None);
    let clock = Clock::default();
    let server = api_server(&served.socket, &clock);
    server.check_now().await.unwrap();
    let old = server.seal(KEY, b"data").unwrap();
    OTHER_KEY_ID.clone_into(&mut served.journal().key_id.lock().unwrap());
    clock.set(19);
    server.check_now().await.unwrap();
    assert_eq!(
        server.key_id().as_deref(),
        Some(KEY_ID),
        "the last result still counts"
    );
    clock.set(20);
    server.check_now().await.unwrap();
    assert_eq!(server.key_id().as_deref(), Some(OTHER_KEY_ID));
    assert!(server.open(KEY, &old).await.unwrap().is_stale);
    let new = server.seal(KEY, b"data").unwrap();
    assert!(!server.open(KEY, &new).await.unwrap().is_stale);
    assert_eq!(calls(&served), (2, 2, 0));
}

#[tokio::test]
async fn with_the_plugin_down_known_seeds_are_read_and_writing_ends_after_3_minutes() {
    let mut served = Served::new(Fault::None);
    let clock = Clock::default();
    let server = api_server(&served.socket, &clock);
    let other = api_server(&served.socket, &clock);
    server.check_now().await.unwrap();
    other.check_now().await.unwrap();
    let known = server.seal(KEY, b"data").unwrap();
    let unknown = other.seal(KEY, b"data").unwrap();
    served.stop().await;

    clock.set(60);
    server.check_now().await.unwrap_err();
    assert!(server.seal(KEY, b"data").is_ok());
    clock.set(181);
    server.check_now().await.unwrap_err();
    let expired = server.seal(KEY, b"data").unwrap_err();
    assert!(matches!(expired, WriteError::Expired { .. }), "{expired}");
    assert_eq!(
        server.open(KEY, &known).await.unwrap().plaintext.expose(),
        b"data"
    );
    let unreadable = server.open(KEY, &unknown).await.unwrap_err();
    let ReadError::Decrypt(error) = &unreadable else {
        panic!("{unreadable}");
    };
    assert_eq!(error.code(), Code::DeadlineExceeded);

    let restarted = api_server(&served.socket, &clock);
    restarted.check_now().await.unwrap_err();
    let nothing = restarted.open(KEY, &known).await.unwrap_err();
    assert!(matches!(nothing, ReadError::NoState(_)), "{nothing}");

    served.start();
    clock.set(190);
    server.check_now().await.unwrap();
    assert!(server.seal(KEY, b"data").is_ok());
    assert_eq!(calls(&served).1, 2, "the same key id needs no new seed");
}

#[tokio::test]
async fn rows_that_are_not_ours_are_refused_by_name() {
    let served = Served::new(Fault::None);
    let server = api_server(&served.socket, &Clock::default());
    server.check_now().await.unwrap();
    let row = server.seal(KEY, b"data").unwrap();
    let moved = server
        .open(b"/registry/secrets/default/b", &row)
        .await
        .unwrap_err();
    assert!(matches!(moved, ReadError::Open(_)), "{moved}");
    let plain = server.open(KEY, b"k8s\0data").await.unwrap_err();
    assert!(matches!(plain, ReadError::Parse(_)), "{plain}");
    let foreign = [
        b"k8s:enc:kms:v2:other:",
        &row[b"k8s:enc:kms:v2:demo:".len()..],
    ]
    .concat();
    let foreign = server.open(KEY, &foreign).await.unwrap_err();
    assert_eq!(
        foreign.to_string(),
        "the row was written for provider `other`, not `demo`"
    );
}

#[tokio::test(start_paused = true)]
async fn the_loop_asks_every_minute_and_every_10_seconds_while_unhealthy() {
    let served = Served::new(Fault::None);
    let client = KmsClient::new(&served.socket);
    let name = ProviderName::new("demo").unwrap();
    let server = Arc::new(ApiServer::new(client, name, monotonic_clock()));
    let looping = Arc::clone(&server);
    let task = tokio::spawn(async move { looping.run().await });
    sleep(Duration::from_secs(605)).await;
    assert_eq!(calls(&served), (11, 1, 0), "at 0, 60, .. 600 s");
    *served.journal().is_down.lock().unwrap() = true;
    sleep(Duration::from_secs(120)).await;
    assert_eq!(calls(&served).0, 18, "at 660, then 670, .. 720 s");
    *served.journal().is_down.lock().unwrap() = false;
    sleep(Duration::from_secs(130)).await;
    assert_eq!(calls(&served).0, 21, "at 730, then 790, 850 s");
    task.abort();
}

#[tokio::test]
async fn our_own_plugin_serves_it_through_a_rotation() {
    let keyring = Keyring::generate(0).unwrap();
    let mut rotated = Keyring::parse(&keyring.to_text()).unwrap();
    let added = rotated.add(1).unwrap();
    rotated.promote(added).unwrap();
    let kek = Arc::new(LocalKek::new(keyring).unwrap());
    let plugin = OwnPlugin::with(kek.clone()).await;
    let clock = Clock::default();
    let server = api_server(&plugin.socket, &clock);
    server.check_now().await.unwrap();
    let old = server.seal(KEY, b"data").unwrap();
    kek.replace(rotated).unwrap();
    clock.set(20);
    server.check_now().await.unwrap();
    let opened = server.open(KEY, &old).await.unwrap();
    assert_eq!(opened.plaintext.expose(), b"data");
    assert!(opened.is_stale);
    let new = server.seal(KEY, b"data").unwrap();
    let key_id = |row: &[u8]| Value::parse(row).unwrap().object.key_id.to_owned();
    assert_ne!(key_id(&old), key_id(&new));
    let restarted = api_server(&plugin.socket, &clock);
    restarted.check_now().await.unwrap();
    assert!(restarted.open(KEY, &old).await.unwrap().is_stale);
    assert!(!restarted.open(KEY, &new).await.unwrap().is_stale);
}
