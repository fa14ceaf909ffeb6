//! A key encryption key of your own: here one that a security module might hold, and the suite it has to pass.
//!
//! `cargo run --example own_backend --features testing`

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};

use kdc_envelope::kek::conformance;
use kdc_envelope::local::{Keyring, LocalKek};
use kdc_envelope::{Aad, KekError, KekStatus, KeyEncryptionKey, SecretBytes, WrappedKey};

/// Stands for a device with a slow line: all its work is done by the inner key, and counted.
#[derive(Debug)]
struct Device {
    inner: LocalKek,
    calls: AtomicU64,
}

#[async_trait::async_trait]
impl KeyEncryptionKey for Device {
    async fn wrap(&self, plaintext: &[u8], aad: Aad<'_>) -> Result<WrappedKey, KekError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.inner.wrap(plaintext, aad).await
    }

    async fn unwrap(&self, wrapped: &WrappedKey, aad: Aad<'_>) -> Result<SecretBytes, KekError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.inner.unwrap(wrapped, aad).await
    }

    /// From memory: status must not cost a call.
    fn status(&self) -> Result<KekStatus, KekError> {
        self.inner.status()
    }
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "an example shows what it does")]
async fn main() -> Result<(), Box<dyn Error>> {
    let device = Device {
        inner: LocalKek::new(Keyring::generate(1_767_225_600)?)?,
        calls: AtomicU64::new(0),
    };
    conformance::check(&device).await?;
    println!(
        "conforms, after {} calls",
        device.calls.load(Ordering::Relaxed)
    );
    Ok(())
}
