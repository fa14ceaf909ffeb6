//! A server with a Transit key, and a key encryption key on it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kdc_envelope::{Aad, KekError, KeyEncryptionKey as _, SecretBytes, WrappedKey};
use kdc_envelope_bao::{
    Client, ClientConfig, LoginMethod, Session, TransitKek, TransitKeyName, TransitOptions,
};
use kdc_testbed::bao::{Bao, BaoVersion, Options, kms_plugin_policy};
use tempfile::TempDir;

pub(crate) const KEY: &str = "etcd";
pub(crate) const AAD: Aad<'static> = Aad::new(b"cluster-a");
pub(crate) const SEED: [u8; 32] = [0x5e; 32];

/// A server whose Transit engine has the key [`KEY`].
pub(crate) async fn server(options: Options) -> Bao {
    let bao = options.start().await.unwrap();
    bao.root().enable_transit("transit").await.unwrap();
    bao.root().create_key("transit", KEY).await.unwrap();
    bao.root()
        .write_policy("kms", &kms_plugin_policy(KEY))
        .await
        .unwrap();
    bao
}

/// One server of each supported version.
pub(crate) async fn each_version() -> Vec<Bao> {
    let mut all = Vec::new();
    for version in BaoVersion::selected().unwrap() {
        all.push(server(Bao::options().version(version)).await);
    }
    all
}

/// A folder for credentials, and what is put there.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts `content` in place of the file at once, as an atomic writer does.
    pub(crate) fn put(&self, name: &str, content: &str) -> PathBuf {
        let (path, scratch) = (self.path(name), self.path("scratch"));
        fs::write(&scratch, content).unwrap();
        fs::set_permissions(&scratch, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(&scratch, &path).unwrap();
        path
    }
}

pub(crate) fn config(addresses: &[&str], ca: Option<&Path>) -> ClientConfig {
    let addresses = addresses
        .iter()
        .map(|address| address.parse().unwrap())
        .collect();
    let mut config = ClientConfig::new(addresses).unwrap();
    config.tls.ca_file = ca.map(Path::to_path_buf);
    config
}

/// No hold, so that tests see a rotation at once.
pub(crate) fn quick() -> TransitOptions {
    let mut options = TransitOptions::default();
    options.hold = Duration::ZERO;
    options
}

pub(crate) fn kek(
    config: ClientConfig,
    method: LoginMethod,
    options: TransitOptions,
) -> TransitKek {
    let session = Session::new(Client::new(config).unwrap(), method, None);
    let key = TransitKeyName::new("transit", KEY).unwrap();
    TransitKek::new(session, key, options)
}

/// A key encryption key with the rights of root, connected.
pub(crate) async fn connected(bao: &Bao, files: &Files) -> TransitKek {
    let token = files.put("token", bao.root_token());
    let kek = kek(
        config(&[bao.address()], bao.ca_file()),
        LoginMethod::TokenFile(token),
        quick(),
    );
    kek.connect().await.unwrap();
    kek
}

pub(crate) async fn wrap(kek: &TransitKek) -> WrappedKey {
    kek.wrap(&SEED, AAD).await.unwrap()
}

pub(crate) async fn unwrap(
    kek: &TransitKek,
    wrapped: &WrappedKey,
) -> Result<SecretBytes, KekError> {
    kek.unwrap(wrapped, AAD).await
}

/// Whether it unwraps, and to the right secret.
pub(crate) async fn opens(kek: &TransitKek, wrapped: &WrappedKey) -> bool {
    unwrap(kek, wrapped)
        .await
        .is_ok_and(|secret| secret.expose() == SEED)
}

/// Waits until `reached`, for at most ten seconds: as long as recovery may take.
pub(crate) async fn within_ten_seconds(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    for _ in 0..100 {
        if reached().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what}: not within ten seconds");
}
