//! An API server that restarts asks for every seed at once, and a slow OpenBao answers.

use std::time::Duration;

use kdc_envelope_kms::client::load::{ColdStartOptions, WrappedSeeds, cold_start};
use kdc_testbed::bao::Bao;
use kdc_testbed::fixtures::put_credential;
use kdc_testbed::proxy::{Fault, Proxy};

use crate::fixture::{plugin_options, set_up};

const SEEDS: usize = 2_500;
const DUPLICATES: usize = 4;

#[tokio::test]
async fn ten_thousand_decrypts_at_once_unwrap_each_seed_once_in_batches() {
    let folder = tempfile::tempdir().unwrap();
    let bao = Bao::start().await.unwrap();
    let role = set_up(bao.root()).await;
    let proxy = Proxy::start(bao.address()).await.unwrap();
    let secret_id = folder.path().join("secret-id");
    put_credential(&secret_id, &role.secret_id);
    let address = proxy.address();
    let arguments = [
        ["--bao-address", address.as_str()],
        ["--bao-auth", "approle"],
        ["--bao-role-id", &role.role_id],
        ["--bao-secret-id-file", secret_id.to_str().unwrap()],
    ];
    let log = folder.path().join("plugin.log");
    let options = plugin_options(folder.path(), &log, arguments.as_flattened());
    let mut plugin = options.start().await;
    plugin.healthy().await;
    let socket = plugin.socket.to_str().unwrap().parse().unwrap();
    let seeds = WrappedSeeds::prepare(&socket, SEEDS, Duration::from_secs(3))
        .await
        .unwrap();
    proxy.reset_counts();
    proxy.set(Fault::Delay(Duration::from_millis(100)).on("transit/decrypt"));
    let mut options = ColdStartOptions::default();
    options.duplicates = DUPLICATES;
    options.concurrency = 512;
    let report = cold_start(&socket, seeds, &options, |_| ()).await.unwrap();
    assert!(
        report.measured.errors.is_empty(),
        "{:?}",
        report.measured.errors
    );
    let counts = proxy.counts();
    let unwraps = counts.batch_items("transit/decrypt");
    // The watch may have proven the key meanwhile.
    assert!((SEEDS..SEEDS + 3).contains(&unwraps), "{unwraps} unwraps");
    let requests = counts.requests("transit/decrypt");
    assert!(requests < SEEDS / 10, "{requests} requests");
    plugin.process.ensure_running().unwrap();
}
