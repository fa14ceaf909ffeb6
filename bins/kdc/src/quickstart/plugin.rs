//! The plugin, in this process: the same server and key that `kms-plugin` runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kdc_envelope::kmsv2::{self, DekSource, seed_aad};
use kdc_envelope::local::{EditError, Keyring, LocalKek, keyring_file};
use kdc_envelope::{Aad, KeyEncryptionKey, SecretBytes};
use kdc_envelope_kms::client::KmsClient;
use kdc_envelope_kms::metrics::Metrics;
use kdc_envelope_kms::server::{Server, SocketAddress, SocketOptions};
use tokio::runtime::Runtime;

use super::Row;
use crate::clock;
use crate::failure::{Exit, Failure, chain};
use crate::runtime;

/// No cluster name, as `kms-plugin` without `--cluster`.
const CLUSTER: &str = "";

/// A keyring file and a server on its keys. The server ends with the value.
#[derive(Debug)]
pub(super) struct Plugin {
    pub(super) runtime: Runtime,
    pub(super) keyring: PathBuf,
    pub(super) socket: SocketAddress,
    kek: Arc<LocalKek>,
}

impl Plugin {
    /// Makes `keyring` in `folder` and serves it on `kms.sock` there.
    pub(super) fn start(folder: &Path) -> Result<Self, Failure> {
        let keyring = folder.join("keyring");
        let fresh =
            Keyring::generate(clock::now()).map_err(|error| Failure::of(Exit::Io, &error))?;
        keyring_file::create(&keyring, &fresh)?;
        let kek = Arc::new(kek(&keyring)?);
        let socket: SocketAddress = format!("unix://{}", folder.join("kms.sock").display())
            .parse()
            .map_err(|error| Failure::at(Exit::CannotCreate, "--dir", &error))?;
        let runtime = runtime::start_parallel()?;
        let served: Arc<dyn KeyEncryptionKey> = Arc::<LocalKek>::clone(&kek);
        let options = SocketOptions::new(socket.clone());
        let server = Server::of_one_key(
            served,
            CLUSTER,
            options,
            Metrics::new(env!("CARGO_PKG_VERSION")),
        );
        let bound = runtime
            .block_on(server.bind())
            .map_err(|error| Failure::of(Exit::CannotCreate, &error))?;
        runtime.spawn(bound.run(std::future::pending()));
        Ok(Self {
            runtime,
            keyring,
            socket,
            kek,
        })
    }

    /// What Status answers, over the socket.
    pub(super) fn status(&self) -> Result<(String, String), Failure> {
        let status = self
            .runtime
            .block_on(KmsClient::new(&self.socket).status())
            .map_err(|error| Failure::of(Exit::Unavailable, &error))?;
        Ok((status.healthz, status.key_id))
    }

    /// Changes the keyring file and takes it in, as `kms-plugin` does when the file changes.
    pub(super) fn edit<T>(
        &self,
        change: impl FnOnce(&mut Keyring) -> Result<T, EditError>,
    ) -> Result<T, Failure> {
        let outcome = keyring_file::edit(&self.keyring, change)?;
        self.kek
            .replace(keyring_file::load(&self.keyring)?)
            .map_err(|error| Failure::of(Exit::Io, &error))?;
        Ok(outcome)
    }

    /// Opens a row with the keyring file alone, as `kdc value open --keyring` does; `etcd_key` need not be the row's own.
    pub(super) fn open(&self, row: &Row, etcd_key: &str) -> Result<SecretBytes, String> {
        let kek =
            kek(&self.keyring).map_err(|failure| failure.line().unwrap_or_default().to_owned())?;
        let value = kmsv2::Value::parse(&row.value).map_err(|error| chain(&error))?;
        let wrapped = value.object.wrapped_key().map_err(|error| chain(&error))?;
        let aad = seed_aad(CLUSTER);
        let secret = self
            .runtime
            .block_on(kek.unwrap(&wrapped, Aad::new(&aad)))
            .map_err(|error| chain(&error))?;
        DekSource::new(value.object.dek_source_type, secret)
            .and_then(|source| source.open(&value.object, etcd_key.as_bytes()))
            .map_err(|error| chain(&error))
    }
}

fn kek(keyring: &Path) -> Result<LocalKek, Failure> {
    LocalKek::new(keyring_file::load(keyring)?).map_err(|error| Failure::of(Exit::Io, &error))
}
