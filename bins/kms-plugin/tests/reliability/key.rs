//! Keys that vanish, come again, or were never stored; a log that takes nothing.

use std::path::Path;
use std::time::Duration;

use kdc_envelope_kms::client::{CallError, EncryptAnswer};
use kdc_testbed::bao::{Bao, BaoVersion};
use kdc_testbed::fixtures::{Plugin, SOON, put_credential};
use serde_json::json;
use tempfile::TempDir;

use crate::fixture::plugin_options;

const SEED: [u8; 32] = [0x5e; 32];

/// A plugin with the rights of root, beside what it runs on.
struct Bench {
    plugin: Plugin,
    bao: Bao,
    _folder: TempDir,
}

impl Bench {
    async fn start(bao: Bao, hold: &str, log: Option<&Path>) -> Self {
        bao.root().enable_transit("transit").await.unwrap();
        bao.root().create_key("transit", "etcd").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        put_credential(&token, bao.root_token());
        let file = folder.path().join("plugin.log");
        let arguments = [
            ["--bao-address", bao.address()],
            ["--bao-auth", "token"],
            ["--bao-token-file", token.to_str().unwrap()],
            ["--bao-hold", hold],
        ];
        let log = log.unwrap_or(&file);
        let options = plugin_options(folder.path(), log, arguments.as_flattened());
        let plugin = options.start().await;
        plugin.healthy().await;
        Self {
            plugin,
            bao,
            _folder: folder,
        }
    }

    async fn wrap(&self) -> EncryptAnswer {
        self.plugin.client.encrypt(&SEED).await.unwrap()
    }

    async fn opens(&self, wrapped: &EncryptAnswer) -> bool {
        let opened = self.plugin.client.decrypt(wrapped).await;
        // An error is a refusal; another secret would be a wrong answer.
        opened.is_ok_and(|opened| {
            assert_eq!(opened.expose(), SEED, "a wrong answer");
            true
        })
    }

    async fn status(&self) -> Result<String, CallError> {
        self.plugin
            .client
            .status()
            .await
            .map(|status| status.key_id)
    }

    async fn until(&mut self, what: &str, mut reached: impl AsyncFnMut(&Self) -> bool) {
        for _ in 0..SOON.as_millis() / 100 {
            if reached(self).await {
                return;
            }
            self.plugin.process.ensure_running().unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{what}: not reached\n{}", self.plugin.process.log_tail());
    }
}

#[tokio::test]
async fn a_key_deleted_and_made_again_is_another_key() {
    let mut bench = Bench::start(Bao::start().await.unwrap(), "1s", None).await;
    let (lost, old_id) = (bench.wrap().await, bench.status().await.unwrap());
    let root = bench.bao.root().clone();
    let open = json!({"deletion_allowed": true});
    root.call("POST", "transit/keys/etcd/config", Some(open))
        .await
        .unwrap();
    root.call("DELETE", "transit/keys/etcd", None)
        .await
        .unwrap();
    bench
        .until("unhealthy", async |bench| bench.status().await.is_err())
        .await;
    root.create_key("transit", "etcd").await.unwrap();
    bench
        .until("another key id", async |bench| {
            bench.status().await.is_ok_and(|id| id != old_id)
        })
        .await;
    assert!(!bench.opens(&lost).await);
    let new = bench.wrap().await;
    assert!(bench.opens(&new).await);
}

#[tokio::test]
async fn a_version_that_went_back_is_an_error_until_it_is_passed() {
    let mut bench = Bench::start(Bao::start().await.unwrap(), "0s", None).await;
    let root = bench.bao.root().clone();
    let allow =
        json!({"exportable": true, "allow_plaintext_backup": true, "deletion_allowed": true});
    root.call("POST", "transit/keys/etcd/config", Some(allow))
        .await
        .unwrap();
    let backup = root.call("GET", "transit/backup/etcd", None).await.unwrap();
    let first = bench.wrap().await;
    root.rotate_key("transit", "etcd").await.unwrap();
    bench
        .until("version 2 wraps", async |bench| {
            bench
                .status()
                .await
                .is_ok_and(|id| id.starts_with("bao-v2-"))
        })
        .await;
    root.call("DELETE", "transit/keys/etcd", None)
        .await
        .unwrap();
    let restore = json!({"backup": backup["data"]["backup"]});
    root.call("POST", "transit/restore/etcd", Some(restore))
        .await
        .unwrap();
    bench
        .until("unhealthy", async |bench| bench.status().await.is_err())
        .await;
    assert!(bench.opens(&first).await);
    for _ in 0..2 {
        root.rotate_key("transit", "etcd").await.unwrap();
    }
    bench
        .until("version 3 wraps", async |bench| {
            bench
                .status()
                .await
                .is_ok_and(|id| id.starts_with("bao-v3-"))
        })
        .await;
    assert!(bench.opens(&first).await);
}

/// Two rotations at once leave a version in the memory of the node that its storage does not have. Whatever was wrapped under it
/// is lost with the next restart; the hold keeps it from being used.
#[tokio::test]
async fn a_version_that_was_never_stored_is_not_used() {
    for version in BaoVersion::selected().unwrap() {
        let options = Bao::options().version(version).persistent();
        let mut bench = Bench::start(options.start().await.unwrap(), "1h", None).await;
        let root = bench.bao.root().clone();
        let mut phantom = false;
        for _ in 0..20 {
            let rotate = || root.request("POST", "transit/keys/etcd/rotate", None);
            let (one, two) = tokio::join!(rotate(), rotate());
            phantom |= one.unwrap().0 == 500 || two.unwrap().0 == 500;
        }
        let known = bench.wrap().await;
        assert!(
            known.ciphertext.starts_with(b"vault:v1:"),
            "the hold is over early"
        );
        bench.bao.process().kill().await.unwrap();
        bench.bao.restart().await.unwrap();
        bench
            .until("healthy", async |bench| bench.status().await.is_ok())
            .await;
        assert!(
            bench.opens(&known).await,
            "{version}, with a phantom: {phantom}"
        );
    }
}

#[tokio::test]
async fn a_log_on_a_full_disk_stops_nothing() {
    let log = Path::new("/dev/full");
    let mut bench = Bench::start(Bao::start().await.unwrap(), "1s", Some(log)).await;
    bench.bao.seal().await.unwrap();
    bench
        .until("unhealthy", async |bench| bench.status().await.is_err())
        .await;
    bench.bao.unseal().await.unwrap();
    bench
        .until("healthy", async |bench| bench.status().await.is_ok())
        .await;
    let wrapped = bench.wrap().await;
    assert!(bench.opens(&wrapped).await);
}
