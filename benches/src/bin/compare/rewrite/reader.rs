//! Another client of the API server, which should not notice that rows are rewritten.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kdc_testbed::{Client, Resource};
use tokio::task::JoinHandle;

use super::fixture::Fixture;

/// How long it reads while nothing else happens.
pub(super) const IDLE: Duration = Duration::from_secs(10);
/// Between two reads.
const PAUSE: Duration = Duration::from_millis(10);

/// Reads one Secret again and again.
pub(super) struct Reader {
    task: JoinHandle<Result<()>>,
    latencies: tokio::sync::mpsc::UnboundedReceiver<f64>,
}

impl Reader {
    pub(super) fn start(fixture: &Fixture) -> Result<Self> {
        let (sender, latencies) = tokio::sync::mpsc::unbounded_channel();
        let client = fixture.server.client().clone();
        Ok(Self {
            task: fixture.beside()?.spawn(read(client, sender)),
            latencies,
        })
    }

    /// Ends it; milliseconds in which 99 of 100 reads were answered.
    pub(super) async fn p99(mut self) -> Result<f64> {
        if self.task.is_finished() {
            self.task.await??;
            anyhow::bail!("the reader ended");
        }
        self.task.abort();
        self.latencies.close();
        let mut all = Vec::new();
        while let Some(latency) = self.latencies.recv().await {
            all.push(latency);
        }
        ensure!(all.len() >= 10, "only {} reads", all.len());
        all.sort_by(f64::total_cmp);
        all.get(all.len() * 99 / 100).copied().context("no reads")
    }
}

async fn read(client: Client, sender: tokio::sync::mpsc::UnboundedSender<f64>) -> Result<()> {
    loop {
        let begin = Instant::now();
        client.read(Resource::SECRETS, "default", "read").await?;
        if sender.send(begin.elapsed().as_secs_f64() * 1e3).is_err() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
