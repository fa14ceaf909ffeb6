use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};

use super::*;
use crate::local::{Keyring, LocalKek};
use crate::{KekErrorKind, KeyId};

/// Counts and delays calls, and fails on demand: no real backend does so at will.
#[derive(Debug)]
struct Backend {
    inner: LocalKek,
    calls: AtomicUsize,
    fails: AtomicBool,
}

#[async_trait::async_trait]
impl KeyEncryptionKey for Backend {
    async fn wrap(&self, plaintext: &[u8], aad: Aad<'_>) -> Result<WrappedKey, KekError> {
        self.inner.wrap(plaintext, aad).await
    }

    async fn unwrap(&self, wrapped: &WrappedKey, aad: Aad<'_>) -> Result<SecretBytes, KekError> {
        self.calls.fetch_add(1, SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
        if self.fails.load(SeqCst) {
            return Err(KekError::UnknownKey(KeyId::new("away").unwrap()));
        }
        self.inner.unwrap(wrapped, aad).await
    }

    fn status(&self) -> Result<KekStatus, KekError> {
        self.inner.status()
    }
}

struct Setup {
    backend: Arc<Backend>,
    cached: Arc<CachedKek>,
    seconds: Arc<AtomicU64>,
}

fn setup(entries: usize) -> Setup {
    let backend = Arc::new(Backend {
        inner: LocalKek::new(Keyring::generate(1).unwrap()).unwrap(),
        calls: AtomicUsize::new(0),
        fails: AtomicBool::new(false),
    });
    let seconds = Arc::new(AtomicU64::new(0));
    let clock = {
        let seconds = Arc::clone(&seconds);
        move || Duration::from_secs(seconds.load(SeqCst))
    };
    let limits = Limits::new(NonZeroUsize::new(entries).unwrap(), Duration::from_secs(10));
    let inner: Arc<dyn KeyEncryptionKey> = backend.clone();
    let cached = Arc::new(CachedKek::new(inner, limits, clock));
    Setup {
        backend,
        cached,
        seconds,
    }
}

async fn wrapped(setup: &Setup, secret: u8) -> WrappedKey {
    setup.cached.wrap(&[secret; 32], Aad::EMPTY).await.unwrap()
}

#[tokio::test]
async fn a_second_call_costs_nothing_until_the_time_is_over() {
    let setup = setup(8);
    let key = wrapped(&setup, 1).await;
    for (second, calls) in [(0, 1), (9, 1), (10, 2), (19, 2), (20, 3)] {
        setup.seconds.store(second, SeqCst);
        let secret = setup.cached.unwrap(&key, Aad::EMPTY).await.unwrap();
        assert_eq!(secret.expose(), [1; 32]);
        assert_eq!(
            setup.backend.calls.load(SeqCst),
            calls,
            "at second {second}"
        );
    }
}

#[tokio::test]
async fn an_outage_shorter_than_the_time_to_live_goes_unnoticed() {
    let setup = setup(8);
    let key = wrapped(&setup, 1).await;
    setup.cached.unwrap(&key, Aad::EMPTY).await.unwrap();
    setup.backend.fails.store(true, SeqCst);
    setup.seconds.store(9, SeqCst);
    assert!(setup.cached.unwrap(&key, Aad::EMPTY).await.is_ok());
    setup.seconds.store(10, SeqCst);
    assert!(setup.cached.unwrap(&key, Aad::EMPTY).await.is_err());
}

#[tokio::test]
async fn concurrent_calls_share_one_backend_call_and_its_error() {
    let setup = setup(8);
    let key = wrapped(&setup, 1).await;
    for (fails, calls) in [(true, 1), (false, 2)] {
        setup.backend.fails.store(fails, SeqCst);
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let (cached, key) = (Arc::clone(&setup.cached), key.clone());
                tokio::spawn(async move { cached.unwrap(&key, Aad::EMPTY).await })
            })
            .collect();
        for task in tasks {
            match task.await.unwrap() {
                Ok(_) => assert!(!fails),
                Err(error) => assert!(fails && error.kind() == KekErrorKind::UnknownKey),
            }
        }
        assert_eq!(setup.backend.calls.load(SeqCst), calls);
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_the_call_to_the_next() {
    let setup = setup(8);
    let key = wrapped(&setup, 1).await;
    let impatient = setup.cached.unwrap(&key, Aad::EMPTY);
    let patient = setup.cached.unwrap(&key, Aad::EMPTY);
    let (gone, secret) = tokio::join!(
        tokio::time::timeout(Duration::from_millis(5), impatient),
        patient
    );
    assert!(gone.is_err());
    assert_eq!(secret.unwrap().expose(), [1; 32]);
}

#[tokio::test]
async fn the_number_of_keys_is_bounded_and_the_least_used_goes_first() {
    let setup = setup(2);
    let (a, b, c) = (
        wrapped(&setup, 1).await,
        wrapped(&setup, 2).await,
        wrapped(&setup, 3).await,
    );
    for key in [&a, &b, &a, &c, &a] {
        setup.cached.unwrap(key, Aad::EMPTY).await.unwrap();
    }
    assert_eq!(setup.cached.len(), 2);
    assert_eq!(setup.backend.calls.load(SeqCst), 3);
    setup.cached.unwrap(&b, Aad::EMPTY).await.unwrap();
    assert_eq!(setup.backend.calls.load(SeqCst), 4);
}

#[tokio::test]
async fn expired_keys_are_wiped_on_request() {
    let setup = setup(8);
    let key = wrapped(&setup, 1).await;
    setup.cached.unwrap(&key, Aad::EMPTY).await.unwrap();
    setup.cached.expire();
    assert_eq!(setup.cached.len(), 1);
    setup.seconds.store(10, SeqCst);
    setup.cached.expire();
    assert!(setup.cached.is_empty());
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
