//! The local KEK and the cache in front of it pass the suite that every backend passes.
#![cfg(feature = "testing")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::time::Duration;

use kdc_envelope::cache::{CachedKek, Limits};
use kdc_envelope::kek::conformance::{check, check_rotation};
use kdc_envelope::local::{Keyring, LocalKek};
use kdc_envelope::{Key256, KeyEncryptionKey};

fn rotated(text: &str) -> Keyring {
    let mut keyring = Keyring::parse(text).unwrap();
    let version = keyring.add(2).unwrap();
    keyring.promote(version).unwrap();
    keyring
}

#[tokio::test]
async fn a_keyring_conforms() {
    let keyring = Keyring::generate(1).unwrap();
    let text = keyring.to_text();
    let kek = LocalKek::new(keyring).unwrap();
    check(&kek).await.unwrap();
    check_rotation(&kek, async || kek.replace(rotated(&text)).unwrap())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_root_secret_conforms() {
    let keyring = Keyring::from_root_secret(Key256::new([7; 32]));
    check(&LocalKek::new(keyring).unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_cached_keyring_conforms() {
    let keyring = Keyring::generate(1).unwrap();
    let text = keyring.to_text();
    let kek = Arc::new(LocalKek::new(keyring).unwrap());
    let inner: Arc<dyn KeyEncryptionKey> = kek.clone();
    let cached = CachedKek::new(inner, Limits::default(), || Duration::ZERO);
    check(&cached).await.unwrap();
    check_rotation(&cached, async || kek.replace(rotated(&text)).unwrap())
        .await
        .unwrap();
}
