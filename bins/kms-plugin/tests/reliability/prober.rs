//! Uses plugin and API server all the time, and counts how that goes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kdc_envelope_kms::client::{EncryptAnswer, KmsClient};
use kdc_testbed::{Client, Resource};
use tokio::task::JoinHandle;

const INTERVAL: Duration = Duration::from_millis(200);
/// Calls of kube-apiserver give up after 3 s.
const PATIENCE: Duration = Duration::from_secs(3);

/// How calls of one kind went.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) ok: u32,
    pub(crate) failed: u32,
    pub(crate) wrong: u32,
    last_ok: Option<Instant>,
}

impl Tally {
    fn count(&mut self, outcome: Option<bool>, begun: Instant) {
        match outcome {
            Some(true) => {
                self.ok += 1;
                // What began before the fault ended says nothing about its end.
                self.last_ok = Some(begun);
            }
            Some(false) => self.wrong += 1,
            None => self.failed += 1,
        }
    }

    /// Whether a call that began after `moment` succeeded.
    pub(crate) fn is_well_since(&self, moment: Instant) -> bool {
        self.last_ok.is_some_and(|at| at > moment)
    }
}

/// Results of each kind of call that the prober repeats.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tallies {
    pub(crate) status: Tally,
    pub(crate) wraps: Tally,
    /// Decrypts of seeds that were requested before.
    pub(crate) known_seeds: Tally,
    /// Decrypts of seeds that were never requested before.
    pub(crate) new_seeds: Tally,
    pub(crate) reads: Tally,
    pub(crate) writes: Tally,
}

/// Fills each seed but for its first bytes, which make it another one.
pub(crate) const SEED_FILL: u8 = 0x5e;

/// A wrapped seed and its plaintext.
pub(crate) type Known = (EncryptAnswer, [u8; 32]);

pub(crate) struct Prober {
    tallies: Arc<Mutex<Tallies>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Prober {
    /// Starts to use the plugin; `new_seeds` must last for all of the test. With an API server, also the Secret `demo` in it.
    pub(crate) fn start(
        kms: &KmsClient,
        mut new_seeds: VecDeque<Known>,
        api: Option<Client>,
    ) -> Self {
        let kms = kms.with_timeout(PATIENCE);
        let tallies: Arc<Mutex<Tallies>> = Arc::default();
        let known = new_seeds.pop_front().unwrap();
        let mut tasks = Vec::new();
        tasks.push(every(&tallies, {
            let kms = kms.clone();
            async move |tallies: &Mutex<Tallies>| {
                let begun = Instant::now();
                let outcome = kms.status().await.ok().map(|status| status.healthz == "ok");
                tallies.lock().unwrap().status.count(outcome, begun);
            }
        }));
        tasks.push(every(&tallies, {
            let kms = kms.clone();
            async move |tallies: &Mutex<Tallies>| {
                let begun = Instant::now();
                let outcome = kms.encrypt(&[7; 32]).await.ok();
                let outcome = outcome.map(|answer| answer.ciphertext.starts_with(b"vault:v"));
                tallies.lock().unwrap().wraps.count(outcome, begun);
            }
        }));
        tasks.push(every(&tallies, {
            let kms = kms.clone();
            async move |tallies: &Mutex<Tallies>| {
                let begun = Instant::now();
                let outcome = opens(&kms, &known).await;
                tallies.lock().unwrap().known_seeds.count(outcome, begun);
            }
        }));
        tasks.push(every(&tallies, async move |tallies: &Mutex<Tallies>| {
            let begun = Instant::now();
            let Some(seed) = new_seeds.pop_front() else {
                panic!("more new seeds are needed");
            };
            let outcome = opens(&kms, &seed).await;
            tallies.lock().unwrap().new_seeds.count(outcome, begun);
        }));
        if let Some(api) = api {
            tasks.push(every(&tallies, async move |tallies: &Mutex<Tallies>| {
                use_api(&api, tallies).await;
            }));
        }
        Self { tallies, tasks }
    }

    /// What was counted since the last time, or so far.
    pub(crate) fn take(&self) -> Tallies {
        std::mem::take(&mut *self.tallies.lock().unwrap())
    }

    pub(crate) fn look(&self) -> Tallies {
        *self.tallies.lock().unwrap()
    }
}

impl Prober {
    pub(crate) fn stop(&self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whether it opens, and to what it should.
async fn opens(kms: &KmsClient, (wrapped, seed): &Known) -> Option<bool> {
    let opened = kms.decrypt(wrapped).await.ok()?;
    Some(opened.expose() == seed)
}

async fn use_api(api: &Client, tallies: &Mutex<Tallies>) {
    let begun = Instant::now();
    let read = api.read(Resource::SECRETS, "default", "demo").await.ok();
    let is_right = read
        .as_ref()
        .map(|secret| secret["data"]["value"] == "aHVudGVyMg==");
    tallies.lock().unwrap().reads.count(is_right, begun);
    let Some(mut secret) = read else { return };
    let begun = Instant::now();
    secret["metadata"]["annotations"]["count"] = format!("{begun:?}").into();
    let written = api.replace(Resource::SECRETS, "default", &secret).await;
    tallies
        .lock()
        .unwrap()
        .writes
        .count(written.ok().map(|_| true), begun);
}

fn every(
    tallies: &Arc<Mutex<Tallies>>,
    mut probe: impl AsyncFnMut(&Mutex<Tallies>) + Send + 'static,
) -> JoinHandle<()> {
    let tallies = Arc::clone(tallies);
    let local = async move {
        loop {
            probe(&tallies).await;
            tokio::time::sleep(INTERVAL).await;
        }
    };
    tokio::task::spawn_local(local)
}

/// Wraps `count` seeds through the plugin.
pub(crate) async fn wrap_seeds(kms: &KmsClient, count: u32) -> VecDeque<Known> {
    let mut seeds = VecDeque::new();
    for number in 0..count {
        let mut seed = [SEED_FILL; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        seeds.push_back((kms.encrypt(&seed).await.unwrap(), seed));
    }
    seeds
}
