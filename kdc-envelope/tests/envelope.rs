//! Envelopes as an embedder uses them.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kdc_envelope::envelope::{
    DekLimits, Envelope, EnvelopeCipher, InvalidLimits, OpenError, ParseError, SealError,
};
use kdc_envelope::local::{Keyring, LocalKek};
use kdc_envelope::{Aad, KekError, KekStatus, KeyEncryptionKey, SecretBytes, WrappedKey};

const HOUR: Duration = Duration::from_secs(3600);

/// A local KEK that rotates, goes away and counts at the test's word.
#[derive(Debug)]
struct TestKek {
    local: LocalKek,
    text: Mutex<String>,
    wraps: AtomicU64,
    unwraps: AtomicU64,
    away: AtomicBool,
}

impl TestKek {
    fn new() -> Arc<Self> {
        let keyring = Keyring::generate(1).unwrap();
        Arc::new(Self {
            text: Mutex::new(keyring.to_text().to_string()),
            local: LocalKek::new(keyring).unwrap(),
            wraps: AtomicU64::new(0),
            unwraps: AtomicU64::new(0),
            away: AtomicBool::new(false),
        })
    }

    fn rotate(&self) {
        let mut text = self.text.lock().unwrap();
        let mut keyring = Keyring::parse(&text).unwrap();
        let version = keyring.add(2).unwrap();
        keyring.promote(version).unwrap();
        *text = keyring.to_text().to_string();
        self.local.replace(keyring).unwrap();
    }

    fn check(&self) -> Result<(), KekError> {
        if self.away.load(SeqCst) {
            return Err(KekError::Unavailable {
                source: "away".into(),
            });
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl KeyEncryptionKey for TestKek {
    async fn wrap(&self, plaintext: &[u8], aad: Aad<'_>) -> Result<WrappedKey, KekError> {
        self.wraps.fetch_add(1, SeqCst);
        tokio::task::yield_now().await;
        self.check()?;
        self.local.wrap(plaintext, aad).await
    }

    async fn unwrap(&self, wrapped: &WrappedKey, aad: Aad<'_>) -> Result<SecretBytes, KekError> {
        self.unwraps.fetch_add(1, SeqCst);
        self.check()?;
        self.local.unwrap(wrapped, aad).await
    }

    fn status(&self) -> Result<KekStatus, KekError> {
        self.check()?;
        self.local.status()
    }
}

struct Setup {
    kek: Arc<TestKek>,
    cipher: Arc<EnvelopeCipher>,
    seconds: Arc<AtomicU64>,
}

fn setup(messages: u64, bytes: u64) -> Setup {
    let kek = TestKek::new();
    let seconds = Arc::new(AtomicU64::new(0));
    let clock = {
        let seconds = Arc::clone(&seconds);
        move || Duration::from_secs(seconds.load(SeqCst))
    };
    let limits = DekLimits::new(messages, bytes, HOUR).unwrap();
    let cipher = EnvelopeCipher::new(kek.clone(), "test", clock).with_dek_limits(limits);
    Setup {
        kek,
        cipher: Arc::new(cipher),
        seconds,
    }
}

fn dek_of(envelope: &[u8]) -> WrappedKey {
    Envelope::parse(envelope).unwrap().wrapped_dek
}

#[tokio::test]
async fn what_is_sealed_opens_in_its_context_only() {
    let Setup { cipher, .. } = setup(10, 1 << 20);
    for len in [0, 1, 15, 16, 17, 4096] {
        let data = vec![0xa5; len];
        let envelope = cipher.seal(&data, b"here").await.unwrap();
        assert_eq!(Envelope::parse(&envelope).unwrap().data_len(), len);
        assert_eq!(
            cipher.open(&envelope, b"here").await.unwrap().expose(),
            data
        );
        let error = cipher.open(&envelope, b"there").await.unwrap_err();
        assert!(matches!(error, OpenError::Authentication), "{error}");
    }
}

#[tokio::test]
async fn another_scope_cannot_unwrap() {
    let Setup { kek, cipher, .. } = setup(10, 1 << 20);
    let other = EnvelopeCipher::new(kek, "other", || Duration::ZERO);
    let envelope = cipher.seal(b"data", b"").await.unwrap();
    let error = other.open(&envelope, b"").await.unwrap_err();
    assert!(matches!(error, OpenError::Kek(_)), "{error}");
}

#[tokio::test]
async fn each_limit_brings_a_new_dek() {
    let Setup {
        kek,
        cipher,
        seconds,
    } = setup(3, 100);
    let mut deks = Vec::new();
    for _ in 0..7 {
        deks.push(dek_of(&cipher.seal(b"x", b"").await.unwrap()));
    }
    assert_eq!(
        deks.windows(2).filter(|pair| pair[0] != pair[1]).count(),
        2,
        "3 messages each"
    );
    cipher.seal(&[0; 99], b"").await.unwrap();
    assert_eq!(kek.wraps.load(SeqCst), 3, "99 bytes and one fit");
    cipher.seal(b"x", b"").await.unwrap();
    assert_eq!(kek.wraps.load(SeqCst), 4, "101 bytes do not fit");
    seconds.store(3600, SeqCst);
    cipher.seal(b"x", b"").await.unwrap();
    assert_eq!(kek.wraps.load(SeqCst), 5, "an hour is over");
    let error = cipher.seal(&[0; 101], b"").await.unwrap_err();
    assert!(
        matches!(
            error,
            SealError::TooLong {
                len: 101,
                limit: 100
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn limits_beyond_what_aes_gcm_allows_are_refused() {
    assert_eq!(DekLimits::new(0, 1, HOUR), Err(InvalidLimits::Messages(0)));
    let over = DekLimits::MAX_MESSAGES + 1;
    assert_eq!(
        DekLimits::new(over, 1, HOUR),
        Err(InvalidLimits::Messages(over))
    );
    assert_eq!(DekLimits::new(1, 0, HOUR), Err(InvalidLimits::Bytes(0)));
    assert_eq!(
        DekLimits::new(1, 1, Duration::ZERO),
        Err(InvalidLimits::Age)
    );
}

#[tokio::test]
async fn many_sealers_at_once_share_one_new_dek() {
    let Setup { kek, cipher, .. } = setup(1000, 1 << 20);
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let cipher = Arc::clone(&cipher);
            tokio::spawn(async move { cipher.seal(b"x", b"").await.unwrap() })
        })
        .collect();
    let mut envelopes = HashSet::new();
    for task in tasks {
        envelopes.insert(task.await.unwrap());
    }
    assert_eq!(envelopes.len(), 100, "every nonce is fresh");
    assert_eq!(kek.wraps.load(SeqCst), 1);
}

#[tokio::test]
async fn rewrap_moves_the_dek_and_leaves_the_data() {
    let Setup { kek, cipher, .. } = setup(10, 1 << 20);
    let old = cipher.seal(b"data", b"here").await.unwrap();
    assert_eq!(cipher.rewrap(&old).await.unwrap(), None);
    kek.rotate();
    let new = cipher.rewrap(&old).await.unwrap().unwrap();
    assert_ne!(dek_of(&new).key_id, dek_of(&old).key_id);
    assert_eq!(
        new[new.len() - 32..],
        old[old.len() - 32..],
        "nonce, data and tag are the same"
    );
    for envelope in [&old, &new] {
        assert_eq!(
            cipher.open(envelope, b"here").await.unwrap().expose(),
            b"data"
        );
    }
    let fresh = cipher.seal(b"data", b"here").await.unwrap();
    assert_eq!(
        dek_of(&fresh).key_id,
        dek_of(&new).key_id,
        "a rotation ends the old DEK"
    );
}

#[tokio::test]
async fn an_outage_stops_neither_sealing_nor_opening_what_is_known() {
    let Setup {
        kek,
        cipher,
        seconds,
    } = setup(10, 1 << 20);
    let envelope = cipher.seal(b"data", b"").await.unwrap();
    cipher.open(&envelope, b"").await.unwrap();
    kek.away.store(true, SeqCst);
    let during = cipher.seal(b"more", b"").await.unwrap();
    assert_eq!(cipher.open(&during, b"").await.unwrap().expose(), b"more");
    assert_eq!(kek.unwraps.load(SeqCst), 1, "opened from the cache");
    seconds.store(3600, SeqCst);
    assert!(matches!(
        cipher.seal(b"late", b"").await,
        Err(SealError::Kek(_))
    ));
    assert!(matches!(
        cipher.open(&envelope, b"").await,
        Err(OpenError::Kek(_))
    ));
}

#[tokio::test]
async fn no_damage_opens_or_panics() {
    let Setup { cipher, .. } = setup(1 << 20, 1 << 30);
    let envelope = cipher.seal(b"data", b"").await.unwrap();
    for at in 0..envelope.len() {
        assert!(
            cipher.open(&envelope[..at], b"").await.is_err(),
            "cut at {at}"
        );
        let mut flipped = envelope.clone();
        flipped[at] ^= 1;
        assert!(cipher.open(&flipped, b"").await.is_err(), "flipped at {at}");
    }
    let longer = [envelope.as_slice(), b"\0"].concat();
    assert!(cipher.open(&longer, b"").await.is_err());
}

#[test]
fn later_versions_and_suites_are_named() {
    assert_eq!(Envelope::parse(b"age-"), Err(ParseError::NotAnEnvelope));
    assert_eq!(
        Envelope::parse(b"kdce\x02\x01"),
        Err(ParseError::UnknownVersion(2))
    );
    assert_eq!(
        Envelope::parse(b"kdce\x01\x09"),
        Err(ParseError::UnknownSuite(9))
    );
}
