use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};

use super::*;
use crate::KeyId;
use crate::local::{Keyring, LocalKek};

mod deadlines;
mod flight;
mod grace;
mod model;

const TTL: u64 = 10;

/// Counts calls, holds them up and fails on demand: no real backend does so at will.
#[derive(Debug)]
struct Backend {
    inner: LocalKek,
    calls: AtomicUsize,
    fails: Mutex<Option<KekErrorKind>>,
    /// While this is set no call ends.
    holds: AtomicBool,
}

#[async_trait::async_trait]
impl KeyEncryptionKey for Backend {
    async fn wrap(&self, plaintext: &[u8], aad: Aad<'_>) -> Result<WrappedKey, KekError> {
        self.inner.wrap(plaintext, aad).await
    }

    async fn unwrap(&self, wrapped: &WrappedKey, aad: Aad<'_>) -> Result<SecretBytes, KekError> {
        self.calls.fetch_add(1, SeqCst);
        while self.holds.load(SeqCst) {
            tokio::task::yield_now().await;
        }
        let fails = *self.fails.lock().unwrap();
        match fails {
            Some(kind) => Err(error(kind)),
            None => self.inner.unwrap(wrapped, aad).await,
        }
    }

    fn status(&self) -> Result<KekStatus, KekError> {
        self.inner.status()
    }
}

fn error(kind: KekErrorKind) -> KekError {
    let source = || "away".into();
    match kind {
        KekErrorKind::Unavailable => KekError::Unavailable { source: source() },
        KekErrorKind::Denied => KekError::Denied { source: source() },
        KekErrorKind::UnknownKey => KekError::RetiredKey(KeyId::new("gone").unwrap()),
        KekErrorKind::Malformed => KekError::Malformed {
            field: "version",
            offset: 0,
        },
        KekErrorKind::Authentication => KekError::Authentication,
        KekErrorKind::Exhausted => KekError::Exhausted("calls"),
        KekErrorKind::Misuse | KekErrorKind::Internal => KekError::Misuse("this"),
    }
}

struct Setup {
    backend: Arc<Backend>,
    cached: Arc<CachedKek>,
    seconds: Arc<AtomicU64>,
}

/// Room for `entries` keys for ten seconds, and ten more.
fn setup(entries: usize) -> Setup {
    limited(limits(entries, TTL))
}

fn limits(entries: usize, time_to_live: u64) -> Limits {
    let entries = NonZeroUsize::new(entries).unwrap();
    Limits::new(entries, Duration::from_secs(time_to_live))
}

fn limited(limits: Limits) -> Setup {
    let backend = Arc::new(Backend {
        inner: LocalKek::new(Keyring::generate(1).unwrap()).unwrap(),
        calls: AtomicUsize::new(0),
        fails: Mutex::new(None),
        holds: AtomicBool::new(false),
    });
    let seconds = Arc::new(AtomicU64::new(0));
    let clock = {
        let seconds = Arc::clone(&seconds);
        move || Duration::from_secs(seconds.load(SeqCst))
    };
    let inner: Arc<dyn KeyEncryptionKey> = backend.clone();
    let cached = Arc::new(CachedKek::new(inner, limits, clock));
    Setup {
        backend,
        cached,
        seconds,
    }
}

impl Setup {
    async fn wrapped(&self, secret: u8) -> WrappedKey {
        self.cached.wrap(&[secret; 32], Aad::EMPTY).await.unwrap()
    }

    fn at(&self, second: u64) {
        self.seconds.store(second, SeqCst);
    }

    fn fail(&self, kind: impl Into<Option<KekErrorKind>>) {
        *self.backend.fails.lock().unwrap() = kind.into();
    }

    fn hold(&self, holds: bool) {
        self.backend.holds.store(holds, SeqCst);
    }

    fn calls(&self) -> usize {
        self.backend.calls.load(SeqCst)
    }

    /// The first byte of the secret, which tells them apart.
    async fn read(&self, key: &WrappedKey) -> Result<u8, KekErrorKind> {
        match self.cached.unwrap(key, Aad::EMPTY).await {
            Ok(secret) => Ok(secret.expose()[0]),
            Err(error) => Err(error.kind()),
        }
    }
}

#[tokio::test]
async fn a_second_call_costs_nothing_until_the_time_is_over() {
    let setup = setup(8);
    let key = setup.wrapped(1).await;
    for (second, calls) in [(0, 1), (9, 1), (10, 2), (19, 2), (20, 3)] {
        setup.at(second);
        assert_eq!(setup.read(&key).await, Ok(1));
        assert_eq!(setup.calls(), calls, "at second {second}");
    }
    let stats = setup.cached.stats();
    assert_eq!((stats.hits, stats.misses, stats.stale), (2, 3, 0));
}

#[tokio::test]
async fn the_number_of_keys_is_bounded_and_the_least_used_goes_first() {
    let setup = setup(2);
    let (a, b, c) = (
        setup.wrapped(1).await,
        setup.wrapped(2).await,
        setup.wrapped(3).await,
    );
    for key in [&a, &b, &a, &c, &a] {
        setup.read(key).await.unwrap();
    }
    let stats = setup.cached.stats();
    assert_eq!((stats.entries, stats.evicted, setup.calls()), (2, 1, 3));
    setup.read(&b).await.unwrap();
    assert_eq!(setup.calls(), 4);
}

#[tokio::test]
async fn a_time_to_live_of_zero_keeps_nothing_whatever_the_grace() {
    let setup = limited(limits(8, 0).with_grace(Duration::from_secs(60)));
    let key = setup.wrapped(1).await;
    for calls in 1..=3 {
        assert_eq!(setup.read(&key).await, Ok(1));
        assert_eq!(setup.calls(), calls);
        assert!(setup.cached.is_empty());
    }
    setup.fail(KekErrorKind::Unavailable);
    assert_eq!(setup.read(&key).await, Err(KekErrorKind::Unavailable));
}

#[tokio::test]
async fn expired_keys_are_wiped_on_request_once_even_the_grace_is_over() {
    let setup = setup(8);
    let key = setup.wrapped(1).await;
    setup.read(&key).await.unwrap();
    for (second, kept) in [(0, 1), (10, 1), (19, 1), (20, 0)] {
        setup.at(second);
        setup.cached.expire();
        assert_eq!(setup.cached.len(), kept, "at second {second}");
    }
    assert_eq!(
        setup.cached.stats().evicted,
        0,
        "no other key took their place"
    );
}

/// The only copy that the cache holds of `key`: when it is gone, so are the bytes, which it wipes.
fn only_copy(setup: &Setup, key: &WrappedKey) -> std::sync::Weak<SecretBytes> {
    let state = setup.cached.state();
    let kept = state.kept.peek(&fingerprint(key, Aad::EMPTY)).unwrap();
    Arc::downgrade(&kept.secret)
}

#[tokio::test]
async fn a_secret_is_dropped_as_soon_as_it_leaves() {
    let setup = setup(1);
    let (a, b) = (setup.wrapped(1).await, setup.wrapped(2).await);
    let mut left = Vec::new();
    let read = async |key: &WrappedKey| {
        setup.read(key).await.unwrap();
        only_copy(&setup, key)
    };
    left.push(("evicted", read(&a).await));
    left.push(("refreshed", read(&b).await));
    setup.at(10);
    left.push(("expired", read(&b).await));
    setup.at(30);
    setup.cached.expire();
    left.push(("denied", read(&b).await));
    setup.at(40);
    setup.fail(KekErrorKind::Denied);
    assert!(setup.read(&b).await.is_err());
    setup.fail(None);
    left.push(("too old to be given", read(&b).await));
    setup.at(60);
    setup.fail(KekErrorKind::Unavailable);
    assert!(setup.read(&b).await.is_err());
    for (why, secret) in left {
        assert!(secret.upgrade().is_none(), "{why}");
    }
}

#[test]
fn every_part_counts_in_the_fingerprint() {
    let key = |id: &str, bytes: &[u8]| WrappedKey::new(KeyId::new(id).unwrap(), bytes.to_vec());
    let annotated = key("ab", b"c")
        .with_annotations(crate::Annotations::try_from_iter([("a.b", b"c".to_vec())]).unwrap());
    let prints = [
        fingerprint(&key("ab", b"c"), Aad::EMPTY),
        fingerprint(&key("a", b"bc"), Aad::EMPTY),
        fingerprint(&key("ab", b""), Aad::new(b"c")),
        fingerprint(&annotated, Aad::EMPTY),
    ];
    for (at, print) in prints.iter().enumerate() {
        assert!(!prints[..at].contains(print), "{at}");
    }
}
