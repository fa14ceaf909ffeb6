//! Calls per second and their latency, in turns with those of a bare client or of a plugin with a local key.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use kdc_envelope_kms::client::load::Rpc;

use super::bare::{Bare, Until, Work};
use super::fixture::Fixture;
use super::head;
use crate::plugin::{self, Load};
use crate::print;

const ROUND: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 5;
/// More than are in flight, so that no two calls ask for the same.
const SEEDS: usize = 500;

/// Encrypt, and Decrypt of what no cache remembers.
pub(super) async fn against_bare(fixture: &Fixture) -> Result<()> {
    // Without time to live nothing is remembered.
    let settings = ["--cache-ttl", "0s"];
    let plugin = fixture
        .plugin("uncached", fixture.address(), &settings)
        .await?;
    let bare = Bare::log_in(fixture, fixture.role()).await?;
    head(&[
        "not cached",
        "in flight",
        "kms-plugin, RPC/s",
        "p50, ms",
        "p99, ms",
        "bare client, requests/s",
        "p50, ms",
        "p99, ms",
        "rate",
        "p50",
        "p99",
    ]);
    for (rpc, work) in [(Rpc::Encrypt, Work::Encrypt), (Rpc::Decrypt, Work::Decrypt)] {
        for in_flight in [1, 32] {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                ours.push(plugin::load(&plugin.socket, rpc, in_flight, SEEDS)?);
                theirs.push(bare.load(work, in_flight, Until::Elapsed(ROUND)).await?);
            }
            let (ours, theirs) = (Load::median(&ours), Load::median(&theirs));
            print(format_args!(
                "| {rpc:?} | {in_flight} | {ours} | {theirs} | {:.1} × | {:.2} × | {:.2} × |",
                ours.rate / theirs.rate,
                ours.p50 / theirs.p50,
                ours.p99 / theirs.p99,
            ));
        }
    }
    print(format_args!(""));
    Ok(())
}

/// What needs no backend must cost what it costs with a local key.
pub(super) async fn against_local(fixture: &Fixture, kms_plugin: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let plugin = fixture.plugin("cached", fixture.address(), &[]).await?;
    let _local = plugin::start_plugin(kms_plugin, folder.path())?;
    let local = folder.path().join("kms-plugin").to_string_lossy().parse()?;
    head(&[
        "cached",
        "in flight",
        "on OpenBao, RPC/s",
        "p50, ms",
        "p99, ms",
        "local key, RPC/s",
        "p50, ms",
        "p99, ms",
        "rate",
    ]);
    for rpc in [Rpc::Decrypt, Rpc::Status] {
        for in_flight in [1, 32] {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                ours.push(plugin::load(&plugin.socket, rpc, in_flight, 1)?);
                theirs.push(plugin::load(&local, rpc, in_flight, 1)?);
            }
            let (ours, theirs) = (Load::median(&ours), Load::median(&theirs));
            print(format_args!(
                "| {rpc:?} | {in_flight} | {ours} | {theirs} | {:.2} × |",
                ours.rate / theirs.rate
            ));
        }
    }
    print(format_args!(""));
    Ok(())
}
