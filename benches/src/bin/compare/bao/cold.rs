//! The burst after a restart of API server and plugin: every seed four times, 32 calls in flight.

use std::time::Duration;

use anyhow::{Result, ensure};
use kdc_envelope_kms::client::load::{ColdStartOptions, WrappedSeeds, cold_start};

use super::bare::{Bare, Until, Work};
use super::fixture::Fixture;
use super::head;
use crate::print;

const SEEDS: [usize; 2] = [2_000, 10_000];
const PATIENCE: Duration = Duration::from_secs(10);
/// So many that all fit.
pub(super) const ENTRIES: [&str; 2] = ["--cache-entries", "16384"];

pub(super) async fn compare(fixture: &Fixture) -> Result<()> {
    let bare = Bare::log_in(fixture, fixture.role()).await?;
    let options = ColdStartOptions::default();
    head(&[
        "cold start, seeds × 4",
        "kms-plugin, s",
        "unwraps",
        "requests",
        "connections",
        "bare client, s",
        "faster",
    ]);
    for count in SEEDS {
        let proxy = fixture.proxy().await?;
        let plugin = fixture.plugin("cold", &proxy.address(), &ENTRIES).await?;
        let seeds = WrappedSeeds::prepare(&plugin.socket, count, PATIENCE).await?;
        drop(plugin);
        let plugin = fixture.plugin("cold", &proxy.address(), &ENTRIES).await?;
        proxy.reset_counts();
        let counted = cold_start(&plugin.socket, seeds, &options, |_| ()).await?;
        let counts = proxy.counts();
        drop(plugin);
        ensure!(
            counted.measured.errors.is_empty(),
            "{:?}",
            counted.measured.errors
        );

        // Once more without the proxy, which costs more than OpenBao.
        let plugin = fixture.plugin("cold", fixture.address(), &ENTRIES).await?;
        let seeds = WrappedSeeds::prepare(&plugin.socket, count, PATIENCE).await?;
        drop(plugin);
        let plugin = fixture.plugin("cold", fixture.address(), &ENTRIES).await?;
        let timed = cold_start(&plugin.socket, seeds, &options, |_| ()).await?;
        drop(plugin);
        ensure!(
            timed.measured.errors.is_empty(),
            "{:?}",
            timed.measured.errors
        );
        let ours = timed.measured.elapsed.as_secs_f64();

        let calls = count * options.duplicates;
        let theirs = bare
            .load(Work::Decrypt, options.concurrency, Until::Calls(calls))
            .await?
            .elapsed;
        print(format_args!(
            "| {count} | {ours:.2} | {} | {} | {} | {theirs:.2} | {:.0} × |",
            counts.batch_items("transit/decrypt"),
            counts.requests("transit/decrypt"),
            counts.most_open,
            theirs / ours
        ));
    }
    print(format_args!(""));
    Ok(())
}
