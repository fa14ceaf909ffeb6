//! The server of this crate with a local key, as a plugin like any other.

use std::sync::Arc;

use kdc_envelope::Key256;
use kdc_envelope::local::{Keyring, LocalKek};
use kdc_envelope_kms::metrics::Metrics;
use kdc_envelope_kms::server::{Server, SocketAddress, SocketOptions};
use tempfile::TempDir;
use tokio::task::JoinHandle;

pub struct OwnPlugin {
    pub socket: SocketAddress,
    _folder: TempDir,
    task: JoinHandle<()>,
}

impl OwnPlugin {
    pub async fn start() -> Self {
        let keyring = Keyring::from_root_secret(Key256::new([7; 32]));
        Self::with(Arc::new(LocalKek::new(keyring).unwrap())).await
    }

    pub async fn with(kek: Arc<LocalKek>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = SocketAddress::Path(folder.path().join("kms.sock"));
        Self::on(kek, socket, folder).await
    }

    pub async fn on(kek: Arc<LocalKek>, socket: SocketAddress, folder: TempDir) -> Self {
        let options = SocketOptions::new(socket.clone());
        let server = Server::of_one_key(kek, "", options, Metrics::new("test"));
        let server = server.bind().await.unwrap();
        let task = tokio::spawn(async { server.run(std::future::pending()).await.unwrap() });
        Self {
            socket,
            _folder: folder,
            task,
        }
    }
}

impl Drop for OwnPlugin {
    fn drop(&mut self) {
        self.task.abort();
    }
}
