//! How often OpenBao is asked.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kdc_envelope_kms::client::load::{LoadOptions, Rpc, Stop, run};
use kdc_testbed::proxy::Proxy;

use super::fixture::{Fixture, Plugin};
use super::head;
use crate::print;

const CALLS: u64 = 2_000;
/// As long as the steady state is watched at least, after which a rate means something.
const LEAST_WATCH: Duration = Duration::from_secs(180);

/// Requests to OpenBao for each RPC.
pub(super) async fn count(fixture: &Fixture) -> Result<()> {
    let proxy = fixture.proxy().await?;
    let plugin = fixture.plugin("counted", &proxy.address(), &[]).await?;
    head(&[
        "RPC",
        "in flight",
        "RPCs",
        "requests to OpenBao",
        "keys in them",
    ]);
    for (rpc, in_flight) in [
        (Rpc::Encrypt, 1),
        (Rpc::Encrypt, 32),
        (Rpc::Decrypt, 32),
        (Rpc::Status, 32),
    ] {
        let mut options = LoadOptions::new(rpc, Stop::Calls(CALLS));
        options.concurrency = in_flight;
        if rpc == Rpc::Decrypt {
            // Known afterwards; its seed is wrapped by one Encrypt and opened by one Decrypt.
            run(&plugin.socket, &options, |_| ()).await?;
        }
        proxy.reset_counts();
        let report = run(&plugin.socket, &options, |_| ()).await?.measured;
        ensure!(report.errors.is_empty(), "{:?}", report.errors);
        let counts = proxy.counts();
        print(format_args!(
            "| {rpc:?} | {in_flight} | {} | {} | {} |",
            report.calls,
            counts.requests("transit/"),
            counts.batch_items("transit/")
        ));
    }
    print(format_args!(""));
    Ok(())
}

/// A plugin that answers nothing but Status.
pub(super) struct Steady {
    proxy: Proxy,
    since: Instant,
    plugin: Plugin,
}

impl Steady {
    pub(super) async fn begin(fixture: &Fixture) -> Result<Self> {
        let proxy = fixture.proxy().await?;
        let plugin = fixture.plugin("steady", &proxy.address(), &[]).await?;
        proxy.reset_counts();
        Ok(Self {
            proxy,
            since: Instant::now(),
            plugin,
        })
    }

    pub(super) fn end(mut self) -> Result<()> {
        std::thread::sleep(LEAST_WATCH.saturating_sub(self.since.elapsed()));
        self.plugin.process.ensure_running()?;
        let counts = self.proxy.counts();
        let minutes = self.since.elapsed().as_secs_f64() / 60.0;
        let requests = u32::try_from(counts.requests(""))?;
        print(format_args!(
            "In steady state: {requests} requests in {minutes:.1} minutes, {:.1} a minute; at most {} connections.\n",
            f64::from(requests) / minutes,
            counts.most_open
        ));
        Ok(())
    }
}
