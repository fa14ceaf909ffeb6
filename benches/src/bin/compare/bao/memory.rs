//! What a plugin that remembers many seeds and answered many calls holds.

use anyhow::{Result, ensure};
use kdc_envelope_kms::client::load::{LoadOptions, Rpc, Stop, run};

use super::cold::ENTRIES;
use super::fixture::Fixture;
use super::head;
use crate::print;
use crate::process::{mib, resident};

const CALLS: u64 = 1_000_000;
const SEEDS: usize = 10_000;

pub(super) async fn measure(fixture: &Fixture) -> Result<()> {
    let proxy = fixture.proxy().await?;
    let plugin = fixture.plugin("memory", &proxy.address(), &ENTRIES).await?;
    let idle = resident(plugin.process.pid())?;
    let mut options = LoadOptions::new(Rpc::Decrypt, Stop::Calls(CALLS));
    options.concurrency = 32;
    options.seeds = SEEDS;
    let report = run(&plugin.socket, &options, |_| ()).await?.measured;
    ensure!(report.errors.is_empty(), "{:?}", report.errors);
    let loaded = resident(plugin.process.pid())?;
    let counts = proxy.counts();
    head(&["kms-plugin on OpenBao", ""]);
    print(format_args!(
        "| resident when idle, MiB | {:.1} |",
        mib(idle)
    ));
    print(format_args!(
        "| resident with {SEEDS} seeds after {CALLS} Decrypts, MiB | {:.1} |",
        mib(loaded)
    ));
    print(format_args!(
        "| most connections to OpenBao | {} |\n",
        counts.most_open
    ));
    Ok(())
}
