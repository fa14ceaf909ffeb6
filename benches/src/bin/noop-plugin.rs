//! The server of `kms-plugin` without cryptography: what gRPC and the socket cost by themselves.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use kdc_envelope::{Aad, KekError, KekStatus, KeyEncryptionKey, KeyId, SecretBytes, WrappedKey};
use kdc_envelope_kms::metrics::Metrics;
use kdc_envelope_kms::server::{Server, SocketOptions};
use tokio::signal::unix::{SignalKind, signal};

/// Gives back what it gets.
#[derive(Debug)]
struct Noop(KeyId);

#[async_trait::async_trait]
impl KeyEncryptionKey for Noop {
    async fn wrap(&self, plaintext: &[u8], _: Aad<'_>) -> Result<WrappedKey, KekError> {
        // As long as what the local key answers, so that the messages have the same size.
        let padding = [0; 88];
        Ok(WrappedKey::new(
            self.0.clone(),
            [plaintext, &padding].concat(),
        ))
    }

    async fn unwrap(&self, wrapped: &WrappedKey, _: Aad<'_>) -> Result<SecretBytes, KekError> {
        let secret = wrapped.ciphertext.get(..32).unwrap_or_default();
        Ok(SecretBytes::new(secret.to_vec()))
    }

    fn status(&self) -> Result<KekStatus, KekError> {
        Ok(KekStatus::new(self.0.clone(), 1))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let socket = std::env::args()
        .nth(1)
        .context("usage: noop-plugin SOCKET")?;
    let kek = Arc::new(Noop(KeyId::new("local-v1-000000000000000000000000")?));
    let options = SocketOptions::new(socket.parse()?);
    let server = Server::of_one_key(kek, "", options, Metrics::new("noop"))
        .bind()
        .await?;
    let mut terminate = signal(SignalKind::terminate())?;
    server
        .run(async move {
            terminate.recv().await;
        })
        .await?;
    Ok(())
}
