//! Several keys in one process: each on its socket, none in the way of another.

use std::fs;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kdc_envelope::cache::{CachedKek, Limits};
use kdc_envelope::local::{Keyring, LocalKek};
use kdc_envelope::{Aad, Key256, KeyEncryptionKey};
use kdc_envelope_kms::metrics::Metrics;
use kdc_envelope_kms::server::{KeyEndpoint, ServeError, Server};
use tempfile::TempDir;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::fixture::{
    Client, Mood, Running, TestKek, at, connect, decrypt, echo, encrypt, eventually, folder,
    health, local_kek, status,
};

const SEED: [u8; 32] = [0xC3; 32];

/// The keys `a` and `b` on sockets of the same names in one folder.
struct Pair {
    running: Running,
    a: PathBuf,
    b: PathBuf,
    _folder: TempDir,
}

impl Pair {
    async fn start(a: Arc<dyn KeyEncryptionKey>, b: Arc<dyn KeyEncryptionKey>) -> Self {
        let folder = folder();
        let (path_a, path_b) = (folder.path().join("a.sock"), folder.path().join("b.sock"));
        let endpoints = [local("a", a, &path_a), local("b", b, &path_b)];
        Self {
            running: Running::several(endpoints).await.unwrap(),
            a: path_a,
            b: path_b,
            _folder: folder,
        }
    }

    async fn clients(&self) -> (Client, Client) {
        (
            connect(&self.a).await.unwrap(),
            connect(&self.b).await.unwrap(),
        )
    }
}

fn local(name: &str, kek: Arc<dyn KeyEncryptionKey>, path: &Path) -> KeyEndpoint {
    KeyEndpoint::local(name, kek, "", at(path))
}

fn other_kek() -> Arc<LocalKek> {
    let keyring = Keyring::from_root_secret(Key256::new([8; 32]));
    Arc::new(LocalKek::new(keyring).unwrap())
}

async fn failure(endpoints: impl IntoIterator<Item = KeyEndpoint>) -> ServeError {
    match Running::several(endpoints).await {
        Err(error) => error,
        Ok(_) => panic!("it was bound"),
    }
}

#[tokio::test]
async fn each_socket_serves_its_own_key_and_counts_for_it() {
    let pair = Pair::start(local_kek(), other_kek()).await;
    let (mut a, mut b) = pair.clients().await;
    let of_a = encrypt(&mut a, &SEED).await.unwrap();
    let of_b = encrypt(&mut b, &SEED).await.unwrap();
    encrypt(&mut b, &SEED).await.unwrap();
    assert_eq!(status(&mut a).await.unwrap().key_id, of_a.key_id);
    assert_eq!(status(&mut b).await.unwrap().key_id, of_b.key_id);
    assert_ne!(of_a.key_id, of_b.key_id);
    assert_eq!(decrypt(&mut a, echo(&of_a)).await.unwrap(), SEED);
    let refused = decrypt(&mut b, echo(&of_a)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let wraps = |key: &str, key_id: &str| {
        let name = format!("kdc_kms_wraps_total{{key=\"{key}\",key_id=\"{key_id}\"}}");
        pair.running.metric(&name)
    };
    assert_eq!(wraps("a", &of_a.key_id), Some(1.0));
    assert_eq!(wraps("b", &of_b.key_id), Some(2.0));
    assert_eq!(wraps("b", &of_a.key_id), None);
    for (key, code, count) in [("a", "ok", 1.0), ("b", "ok", 0.0), ("b", "not_found", 1.0)] {
        let name = format!("kdc_kms_rpcs_total{{key=\"{key}\",rpc=\"decrypt\",code=\"{code}\"}}");
        assert_eq!(pair.running.metric(&name), Some(count), "{name}");
    }
    pair.running.stop().await;
    assert!(!pair.a.exists() && !pair.b.exists());
}

#[tokio::test]
async fn a_key_id_that_a_client_sends_is_no_label() {
    let pair = Pair::start(local_kek(), other_kek()).await;
    let (mut a, _) = pair.clients().await;
    let mut request = echo(&encrypt(&mut a, &SEED).await.unwrap());
    request.key_id = "sent-by-a-client".into();
    assert!(decrypt(&mut a, request).await.is_err());
    let text = pair.running.metrics.render();
    assert!(!text.contains("sent-by-a-client"), "{text}");
}

#[tokio::test]
async fn readyz_names_each_key_that_is_not_ready_and_why() {
    let (a, b) = (TestKek::new(Mood::Well), TestKek::new(Mood::Well));
    let pair = Pair::start(a.clone(), b.clone()).await;
    assert_eq!(pair.running.get("/readyz").await, (200, "ok\n".into()));
    let unavailable = "the key encryption key is unavailable: internal detail 10.9.8.7";
    let denied = "the backend denies the use of the key encryption key: internal detail 10.9.8.7";
    b.set(Mood::Unavailable);
    let one = format!("not ready: key b: {unavailable}\n");
    assert_eq!(pair.running.get("/readyz").await, (503, one.clone()));
    a.set(Mood::Denied);
    let both = format!("not ready: key a: {denied}\n{one}");
    assert_eq!(pair.running.get("/readyz").await, (503, both));
    let (_, metrics) = pair.running.get("/metrics").await;
    for key in ["a", "b"] {
        let line = format!("kdc_kms_healthy{{key=\"{key}\"}} 0\n");
        assert!(metrics.contains(&line), "{metrics}");
    }
    a.set(Mood::Well);
    b.set(Mood::Well);
    assert_eq!(pair.running.get("/readyz").await, (200, "ok\n".into()));
}

/// A probe that failed would take the caller out of use, which the good status is there to prevent.
#[tokio::test]
async fn a_degraded_key_is_served_and_shown() {
    let (a, b) = (TestKek::new(Mood::Degraded), TestKek::new(Mood::Well));
    let pair = Pair::start(a.clone(), b.clone()).await;
    let mut client = connect(&pair.a).await.unwrap();
    let reported = status(&mut client).await.unwrap();
    assert_eq!((&*reported.healthz, &*reported.key_id), ("ok", "test.v1"));
    let shown = "degraded: key a: away for now\n";
    let (code, body) = pair.running.get("/readyz").await;
    assert_eq!((code, body), (200, format!("degraded\n{shown}")));
    assert_eq!(health(&pair.a).await, ServingStatus::Serving);
    assert!(!a.entered.load(Ordering::SeqCst), "no self-test is made");
    let (_, metrics) = pair.running.get("/metrics").await;
    for line in [
        "kdc_kms_healthy{key=\"a\"} 0\n",
        "kdc_kms_degraded{key=\"a\"} 1\n",
        "kdc_kms_key_version{key=\"a\"} 1\n",
        "kdc_kms_healthy{key=\"b\"} 1\n",
        "kdc_kms_degraded{key=\"b\"} 0\n",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
    b.set(Mood::Denied);
    let (code, body) = pair.running.get("/readyz").await;
    assert_eq!(code, 503);
    assert!(body.starts_with("not ready: key b: "), "{body}");
    assert!(body.ends_with(shown), "{body}");
}

#[tokio::test]
async fn probes_cost_a_remote_backend_nothing() {
    let folder = folder();
    let path = folder.path().join("kms.sock");
    let kek = TestKek::new(Mood::CannotUnwrap);
    let cache = Arc::new(CachedKek::new(kek.clone(), Limits::default(), || {
        Duration::ZERO
    }));
    let endpoint = KeyEndpoint::remote("remote", cache, "", at(&path));
    let running = Running::several([endpoint]).await.unwrap();
    for _ in 0..20 {
        assert_eq!(running.get("/readyz").await, (200, "ok\n".into()));
        assert_eq!(health(&path).await, ServingStatus::Serving);
    }
    assert!(!kek.entered.load(Ordering::SeqCst), "it was never asked");
    kek.set(Mood::Unavailable);
    assert_eq!(running.get("/readyz").await.0, 503);
    assert!(!kek.entered.load(Ordering::SeqCst));
}

#[tokio::test]
async fn grpc_health_of_a_socket_is_that_of_its_key() {
    let (a, b) = (TestKek::new(Mood::Well), TestKek::new(Mood::Denied));
    let pair = Pair::start(a.clone(), b.clone()).await;
    assert_eq!(health(&pair.a).await, ServingStatus::Serving);
    assert_eq!(health(&pair.b).await, ServingStatus::NotServing);
    a.set(Mood::Unavailable);
    b.set(Mood::Well);
    eventually("health follows", async || {
        health(&pair.a).await == ServingStatus::NotServing
            && health(&pair.b).await == ServingStatus::Serving
    })
    .await;
}

#[tokio::test]
async fn a_start_that_fails_at_the_last_socket_leaves_none_behind() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("file"), "precious").unwrap();
    let live = StdListener::bind(path("live.sock")).unwrap();
    let good = || {
        [
            local("a", local_kek(), &path("a.sock")),
            local("b", local_kek(), &path("b.sock")),
        ]
    };
    for (bad, words) in [
        ("file", "exists and is not a socket"),
        ("live.sock", "another process listens"),
        ("missing/c.sock", "does not exist"),
    ] {
        let last = local("c", local_kek(), &path(bad));
        let error = failure(good().into_iter().chain([last])).await;
        assert!(matches!(error, ServeError::Socket(_)), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(!path("a.sock").exists() && !path("b.sock").exists());
    }
    drop(live);
    assert_eq!(fs::read_to_string(path("file")).unwrap(), "precious");
    assert!(path("live.sock").exists());
    Running::several(good()).await.unwrap().stop().await;
}

#[tokio::test]
async fn two_keys_on_one_socket_are_refused_before_anything_is_taken() {
    let folder = folder();
    let path = folder.path().join("kms.sock");
    drop(StdListener::bind(&path).unwrap());
    let detour = folder.path().join(".").join("kms.sock");
    let error = failure([
        local("a", local_kek(), &path),
        local("b", local_kek(), &detour),
    ])
    .await;
    let ServeError::SocketTwice { keys, .. } = &error else {
        panic!("another error: {error}");
    };
    assert_eq!(keys, &["a", "b"]);
    assert!(path.exists(), "not even the stale socket was touched");
    let error = failure([]).await;
    assert!(matches!(error, ServeError::NoKeys), "{error}");
    let again = folder.path().join("other.sock");
    let error = failure([
        local("a", local_kek(), &path),
        local("a", local_kek(), &again),
    ])
    .await;
    assert!(matches!(error, ServeError::NameTwice(name) if name == "a"));
}

#[tokio::test]
async fn a_server_that_is_dropped_gives_its_sockets_back() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let bind = async || {
        Server::new(Metrics::new("test"))
            .with_key(local("a", local_kek(), &path("a.sock")))
            .with_key(local("b", local_kek(), &path("b.sock")))
            .bind()
            .await
            .unwrap()
    };
    let gone = || !path("a.sock").exists() && !path("b.sock").exists();
    let bound = bind().await;
    assert!(!gone());
    drop(bound);
    assert!(gone(), "before it ran");
    let running = tokio::spawn(bind().await.run(std::future::pending()));
    assert!(
        status(&mut connect(&path("b.sock")).await.unwrap())
            .await
            .is_ok()
    );
    running.abort();
    eventually("they are gone", async || gone()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_vanishes_comes_back_while_the_others_go_on() {
    let slow = TestKek::new(Mood::Slow(Duration::from_secs(2)));
    let pair = Pair::start(local_kek(), slow.clone()).await;
    let (_, mut b) = pair.clients().await;
    let call = tokio::spawn(async move { encrypt(&mut b, &SEED).await });
    eventually("the call arrives", async || {
        slow.entered.load(Ordering::SeqCst)
    })
    .await;
    fs::remove_file(&pair.a).unwrap();
    eventually("the socket is back", async || {
        connect(&pair.a).await.is_ok()
    })
    .await;
    assert!(call.await.unwrap().is_ok(), "the other was not disturbed");
    let recreations = |key: &str| {
        let name = format!("kdc_kms_socket_recreations_total{{key=\"{key}\"}}");
        pair.running.metric(&name)
    };
    assert_eq!((recreations("a"), recreations("b")), (Some(1.0), Some(0.0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_that_vanish_together_all_come_back() {
    let folder = folder();
    let paths: Vec<PathBuf> = (0..8)
        .map(|number| folder.path().join(format!("{number}.sock")))
        .collect();
    let endpoints = paths
        .iter()
        .map(|path| local(path.to_str().unwrap(), local_kek(), path));
    let running = Running::several(endpoints).await.unwrap();
    for path in &paths {
        fs::remove_file(path).unwrap();
    }
    for path in &paths {
        eventually("the socket is back", async || connect(path).await.is_ok()).await;
    }
    running.stop().await;
    assert!(paths.iter().all(|path| !path.exists()));
}

#[tokio::test]
async fn each_socket_has_a_list_of_peers_of_its_own() {
    let own = rustix::process::geteuid().as_raw();
    let folder = folder();
    let (path_a, path_b) = (folder.path().join("a.sock"), folder.path().join("b.sock"));
    let (mut a, mut b) = (
        local("a", local_kek(), &path_a),
        local("b", local_kek(), &path_b),
    );
    a.socket.allowed_uids = Some(vec![own + 1]);
    b.socket.allowed_uids = Some(vec![own]);
    let running = Running::several([a, b]).await.unwrap();
    let answered = async |path: &Path| match connect(path).await {
        Ok(mut client) => status(&mut client).await.is_ok(),
        Err(_) => false,
    };
    assert!(!answered(&path_a).await);
    assert!(answered(&path_b).await);
    let refused =
        |key: &str| running.metric(&format!("kdc_kms_refused_peers_total{{key=\"{key}\"}}"));
    assert!(refused("a") > Some(0.0));
    assert_eq!(refused("b"), Some(0.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_drains_every_socket() {
    let slow = || TestKek::new(Mood::Slow(Duration::from_millis(1_500)));
    let mut pair = Pair::start(slow(), slow()).await;
    let mut calls = Vec::new();
    for _ in 0..10 {
        let (mut a, mut b) = pair.clients().await;
        calls.push(tokio::spawn(async move { encrypt(&mut a, &SEED).await }));
        calls.push(tokio::spawn(async move { encrypt(&mut b, &SEED).await }));
    }
    eventually("all calls run", async || {
        ["a", "b"].into_iter().all(|key| {
            let name = format!("kdc_kms_rpcs_in_flight{{key=\"{key}\"}}");
            pair.running.metric(&name) == Some(10.0)
        })
    })
    .await;
    pair.running.begin_stop();
    eventually("both sockets are gone first", async || {
        !pair.a.exists() && !pair.b.exists()
    })
    .await;
    let stopping = (503, "not ready: shutting down\n".to_owned());
    assert_eq!(pair.running.get("/readyz").await, stopping);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    pair.running.ended().await.unwrap();
}

#[tokio::test]
async fn status_waits_for_no_backend_and_no_key_for_another() {
    let kek = TestKek::new(Mood::Slow(Duration::from_secs(60)));
    let pair = Pair::start(kek.clone(), local_kek()).await;
    let (a, mut b) = pair.clients().await;
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let mut client = a.clone();
            tokio::spawn(async move { encrypt(&mut client, &SEED).await })
        })
        .collect();
    eventually("all calls hang", async || {
        pair.running.metric("kdc_kms_rpcs_in_flight{key=\"a\"}") == Some(20.0)
    })
    .await;
    let mut a = a;
    assert_eq!(status(&mut a).await.unwrap().key_id, "test.v1");
    assert!(encrypt(&mut b, &SEED).await.is_ok());
    assert_eq!(kek.completed.load(Ordering::SeqCst), 0);
    for call in calls {
        call.abort();
    }
}

#[tokio::test]
async fn a_cache_is_counted_under_its_key_and_relieved_of_what_is_too_old() {
    let folder = folder();
    let path = folder.path().join("kms.sock");
    let kek = TestKek::new(Mood::Well);
    let seconds = Arc::new(AtomicU64::new(0));
    let clock = {
        let seconds = Arc::clone(&seconds);
        move || Duration::from_secs(seconds.load(Ordering::SeqCst))
    };
    let cache = Arc::new(CachedKek::new(kek.clone(), Limits::default(), clock));
    let wrapped = cache.wrap(&SEED, Aad::EMPTY).await.unwrap();
    cache.unwrap(&wrapped, Aad::EMPTY).await.unwrap();
    seconds.store(3_600, Ordering::SeqCst);
    let endpoint = KeyEndpoint::remote("remote", Arc::clone(&cache), "", at(&path));
    let running = Running::several([endpoint]).await.unwrap();
    eventually("the old key is wiped", async || cache.is_empty()).await;
    let mut client = connect(&path).await.unwrap();
    let encrypted = encrypt(&mut client, &SEED).await.unwrap();
    for _ in 0..3 {
        let opened = decrypt(&mut client, echo(&encrypted)).await.unwrap();
        assert_eq!(opened, SEED);
    }
    let counted = |name: &str| running.metric(&format!("kdc_kms_cache_{name}{{key=\"remote\"}}"));
    assert_eq!(counted("hits_total"), Some(2.0));
    assert_eq!(
        counted("misses_total"),
        Some(2.0),
        "one of them before the start"
    );
    assert_eq!(counted("entries"), Some(1.0));
    kek.set(Mood::Unavailable);
    seconds.fetch_add(301, Ordering::SeqCst);
    assert_eq!(decrypt(&mut client, echo(&encrypted)).await.unwrap(), SEED);
    assert_eq!(counted("stale_total"), Some(1.0));
}
