//! Load, rotations and faults at random, for as long as requested (`cargo xtask soak`); half a minute with the other tests.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::{Duration, Instant};

use kdc_testbed::Random;

use crate::fixture::{Fixture, Proxied, Scale};
use crate::load::{Load, resident_kib};
use crate::table::Table;
use crate::trouble::Trouble;

/// How long the soak lasts, in seconds.
const SECONDS: &str = "KDC_SOAK_SECONDS";
/// Decides what happens, in which order and for how long.
const SEED: &str = "KDC_SOAK_SEED";
const DEFAULT_SECONDS: u64 = 30;
/// From here on an API server is worth its start.
const WITH_API_SERVER: u64 = 120;

/// Seeds that are asked for once: five a second, and what is asked for before and after.
const NEW_SEEDS_A_SECOND: u64 = 6;
const SPARE_SEEDS: u64 = 600;

/// The plugin's memory, in a build for tests; it holds at most 4,096 seeds.
const MAX_RESIDENT_KIB: u64 = 64 << 10;
/// Requests to OpenBao beyond one for each call of the load: the prober's, looks at the key, logins, and tries that failed.
const EXTRA_REQUESTS_A_SECOND: u64 = 20;
/// How long the end of all load is watched, and what the plugin may ask meanwhile: it looks at the key every two seconds.
const IDLE: Duration = Duration::from_secs(6);
const IDLE_REQUESTS: usize = 8;

#[tokio::test]
async fn load_rotations_and_faults_at_random_do_no_harm() {
    let number = |name| {
        let text = std::env::var(name).ok()?;
        Some(text.parse().unwrap_or_else(|_| panic!("{name}: no number")))
    };
    let seconds = number(SECONDS).unwrap_or(DEFAULT_SECONDS);
    // Its keys are random.
    let seed = number(SEED).unwrap_or_else(|| RandomState::new().build_hasher().finish());
    say(&format!("soak for {seconds} s, seed {seed}"));
    tokio::task::LocalSet::new()
        .run_until(Box::pin(soak(Duration::from_secs(seconds), seed)))
        .await;
}

async fn soak(lasts: Duration, seed: u64) {
    let mut random = Random::new(seed);
    let seconds = lasts.as_secs();
    let scale = Scale {
        seeds: u32::try_from(seconds * NEW_SEEDS_A_SECOND + SPARE_SEEDS).unwrap(),
        with_api_server: seconds >= WITH_API_SERVER,
        cache_ttl: "3s",
        launch: None,
    };
    let mut fixture = Fixture::proxied(Table::unwritten(), scale).await;
    let load = Load::start(&fixture.plugin.client, random.next_u64());
    fixture.backend.proxy.reset_counts();
    let (begin, mut faults, mut rotations, mut most) = (Instant::now(), 0, 0, 0);
    while begin.elapsed() < lasts {
        if random.below(3) == 0 {
            let version = rotate(&fixture).await;
            rotations += 1;
            say(&format!(
                "{:>5.0} s: rotated to version {version}",
                begin.elapsed().as_secs_f64()
            ));
        } else {
            let trouble = Trouble::any(&mut random);
            let for_long = Duration::from_millis(u64::try_from(500 + random.below(5_500)).unwrap());
            fixture
                .fault(
                    trouble.name(),
                    async |s| trouble.begin(s).await,
                    for_long,
                    async |s| trouble.end(s).await,
                )
                .await;
            faults += 1;
            say(&format!(
                "{:>5.0} s: {}, for {:.1} s",
                begin.elapsed().as_secs_f64(),
                trouble.name(),
                for_long.as_secs_f64()
            ));
        }
        let resident = resident_kib(fixture.plugin.process.pid());
        assert!(
            resident < MAX_RESIDENT_KIB,
            "{resident} KiB after {faults} faults"
        );
        most = most.max(resident);
        tokio::time::sleep(Duration::from_millis(
            u64::try_from(random.below(2_000)).unwrap(),
        ))
        .await;
    }
    let elapsed = begin.elapsed();
    let calls = load.stop().await;
    fixture.stop_probing();
    let requests = fixture.backend.proxy.counts().requests("") as u64;
    say(&format!(
        "{faults} faults, {rotations} rotations, {calls} calls, {requests} requests to OpenBao, at most {} MiB",
        most >> 10
    ));
    let limit = calls + EXTRA_REQUESTS_A_SECOND * elapsed.as_secs();
    assert!(requests <= limit, "{requests} requests for {calls} calls");
    fixture.backend.proxy.reset_counts();
    tokio::time::sleep(IDLE).await;
    let idle = fixture.backend.proxy.counts().requests("");
    assert!(idle <= IDLE_REQUESTS, "{idle} requests by an idle plugin");
    fixture.finish();
}

async fn rotate(fixture: &Fixture<Proxied>) -> u64 {
    let root = fixture.backend.bao.root();
    root.rotate_key("transit", "etcd").await.unwrap()
}

/// Progress for a run by hand; cargo shows it with `--nocapture`.
#[expect(clippy::print_stderr, reason = "a soak is watched")]
fn say(line: &str) {
    eprintln!("{line}");
}
