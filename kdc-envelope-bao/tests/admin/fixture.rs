//! A server, and an administrator who may do everything with it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use kdc_envelope_bao::admin::{Admin, LowerName, MountPath, Trial};
use kdc_envelope_bao::{
    Client, ClientConfig, LoginMethod, Namespace, Session, TransitKey, TransitKeyName,
};
use kdc_testbed::bao::{Bao, BaoVersion, Options};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A server and its administrator.
pub(crate) struct Set {
    pub(crate) bao: Bao,
    pub(crate) admin: Admin,
    folder: TempDir,
}

impl Set {
    pub(crate) async fn start(options: Options) -> Self {
        let bao = options.start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let admin = administrator(&[bao.address()], bao.root_token(), &folder);
        Self { bao, admin, folder }
    }

    /// A server whose Transit engine is mounted.
    pub(crate) async fn with_transit(options: Options) -> Self {
        let set = Self::start(options).await;
        set.bao.root().enable_transit("transit").await.unwrap();
        set
    }

    /// Rotates `k` and tries the new version, which has to succeed.
    pub(crate) async fn rotate(&self) -> TransitKey {
        let rotated = self.admin.keys().rotate(&key("k"), Trial::RoundTrip).await;
        rotated.unwrap()
    }

    /// The administrator behind another address or token.
    pub(crate) fn admin_at(&self, address: &str, token: &str) -> Admin {
        administrator(&[address], token, &self.folder)
    }

    /// One that soon gives up, behind an address that never answers well.
    pub(crate) fn impatient_admin_at(&self, address: &str) -> Admin {
        let token = self.bao.root_token();
        patient(&[address], token, &self.folder, Duration::from_millis(300))
    }

    /// A request of another administrator, who may do everything too.
    pub(crate) async fn raw(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = (!body.is_null()).then_some(body);
        self.bao.root().request(method, path, body).await.unwrap()
    }

    /// [`Self::raw`], which has to succeed.
    pub(crate) async fn done(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.raw(method, path, body).await;
        assert!(status < 300, "{method} {path}: {status} {answer}");
        answer
    }

    pub(crate) async fn encrypt(&self, key: &str, version: u32) -> String {
        let body = json!({"plaintext": "c2VjcmV0", "key_version": version});
        let path = format!("transit/encrypt/{key}");
        let answer = self.done("POST", &path, body).await;
        answer["data"]["ciphertext"].as_str().unwrap().to_owned()
    }

    /// PEM of a certificate.
    pub(crate) fn certificate(&self) -> String {
        let files = self.bao.client_certificate("somebody").unwrap();
        fs::read_to_string(files.ca).unwrap()
    }

    /// Whether it decrypts to what [`Self::encrypt`] encrypted.
    pub(crate) async fn opens(&self, key: &str, ciphertext: &str) -> bool {
        let body = json!({"ciphertext": ciphertext});
        let (_, answer) = self
            .raw("POST", &format!("transit/decrypt/{key}"), body)
            .await;
        answer["data"]["plaintext"] == "c2VjcmV0"
    }
}

/// Servers in memory of each supported version, with a Transit engine.
pub(crate) async fn each_version() -> Vec<Set> {
    let mut all = Vec::new();
    for version in BaoVersion::selected().unwrap() {
        all.push(Set::with_transit(Bao::options().version(version)).await);
    }
    all
}

pub(crate) fn administrator(addresses: &[&str], token: &str, folder: &TempDir) -> Admin {
    patient(addresses, token, folder, Duration::from_secs(30))
}

/// With this much time for all tries of a call.
fn patient(addresses: &[&str], token: &str, folder: &TempDir, call: Duration) -> Admin {
    let file = tempfile::NamedTempFile::new_in(folder).unwrap();
    let (_, path) = file.keep().unwrap();
    fs::write(&path, token).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let addresses = addresses.iter().map(|address| address.parse().unwrap());
    let mut config = ClientConfig::new(addresses.collect()).unwrap();
    config.attempt_timeout = Duration::from_secs(10);
    config.call_timeout = call;
    let client = Client::new(config).unwrap();
    Admin::new(Session::new(client, LoginMethod::TokenFile(path), None))
}

pub(crate) fn key(name: &str) -> TransitKeyName {
    TransitKeyName::new("transit", name).unwrap()
}

pub(crate) fn transit() -> MountPath {
    "transit".parse().unwrap()
}

pub(crate) fn mount(path: &str) -> MountPath {
    path.parse().unwrap()
}

pub(crate) fn name(text: &str) -> LowerName {
    text.parse().unwrap()
}

pub(crate) fn namespace(path: &str) -> Namespace {
    path.parse().unwrap()
}
