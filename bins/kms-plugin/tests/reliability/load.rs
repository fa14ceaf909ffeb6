//! More calls than the prober makes, each answer checked to the byte.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs;
use std::rc::Rc;
use std::time::Duration;

use kdc_envelope_kms::client::{EncryptAnswer, KmsClient};
use kdc_testbed::Random;
use kdc_testbed::fixtures::SEED_FILL;
use tokio::task::JoinHandle;

const WORKERS: u64 = 8;
/// What was wrapped lately and is opened again: more than the plugin remembers for long.
const REMEMBERED: usize = 2_000;
const CALL_LIMIT: Duration = Duration::from_secs(3);
/// A call that fails at once must not become a busy loop.
const PAUSE: Duration = Duration::from_millis(4);

pub(crate) struct Load {
    shared: Rc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    calls: Cell<u64>,
    is_over: Cell<bool>,
    wrapped: RefCell<VecDeque<(EncryptAnswer, [u8; 32])>>,
}

impl Load {
    /// Starts it, on the thread's local tasks.
    pub(crate) fn start(kms: &KmsClient, seed: u64) -> Self {
        let shared = Rc::<Shared>::default();
        let worker = |number| {
            let (kms, shared) = (kms.with_timeout(CALL_LIMIT), Rc::clone(&shared));
            tokio::task::spawn_local(work(kms, shared, Random::new(seed ^ number)))
        };
        let workers = (0..WORKERS).map(worker).collect();
        Self { shared, workers }
    }

    /// Ends it, and gives how many calls there were.
    pub(crate) async fn stop(self) -> u64 {
        self.shared.is_over.set(true);
        for worker in self.workers {
            worker.await.unwrap();
        }
        self.shared.calls.get()
    }
}

async fn work(kms: KmsClient, shared: Rc<Shared>, mut random: Random) {
    while !shared.is_over.get() {
        shared.calls.set(shared.calls.get() + 1);
        match random.below(8) {
            0 => drop(kms.status().await),
            1 | 2 => encrypt(&kms, &shared, &mut random).await,
            _ => decrypt(&kms, &shared, &mut random).await,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn encrypt(kms: &KmsClient, shared: &Shared, random: &mut Random) {
    let mut seed = [SEED_FILL; 32];
    seed[..8].copy_from_slice(&random.next_u64().to_be_bytes());
    let Ok(answer) = kms.encrypt(&seed).await else {
        return;
    };
    // The key id must never lie about the version that wrapped.
    let version = |text: &str, prefix| {
        let rest = text.strip_prefix(prefix)?;
        rest.split([':', '-']).next().map(str::to_owned)
    };
    let ciphertext = String::from_utf8(answer.ciphertext.clone()).unwrap();
    let named = version(&answer.key_id, "bao-v");
    assert!(named.is_some(), "key id {}", answer.key_id);
    assert_eq!(
        named,
        version(&ciphertext, "vault:v"),
        "key id and ciphertext"
    );
    let mut wrapped = shared.wrapped.borrow_mut();
    wrapped.push_back((answer, seed));
    if wrapped.len() > REMEMBERED {
        wrapped.pop_front();
    }
}

async fn decrypt(kms: &KmsClient, shared: &Shared, random: &mut Random) {
    let one = {
        let wrapped = shared.wrapped.borrow();
        (!wrapped.is_empty()).then(|| wrapped[random.below(wrapped.len())].clone())
    };
    let Some((answer, seed)) = one else { return };
    if let Ok(opened) = kms.decrypt(&answer).await {
        assert_eq!(opened.expose(), seed, "a wrong answer");
    }
}

/// Resident memory of a process in KiB.
pub(crate) fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.unwrap().trim().trim_end_matches(" kB");
    number.parse().unwrap()
}
