//! An outage that is as long as a seed is remembered, in real time on request (`cargo xtask outage`).

use std::time::{Duration, Instant};

use kdc_testbed::process::Signal;

use crate::fixture::{Fixture, Scale};
use crate::table::Table;

/// How long a seed is remembered, in seconds.
const TTL_SECONDS: &str = "KDC_OUTAGE_TTL_SECONDS";
const DEFAULT_TTL: u64 = 4;
/// New seeds that the prober asks for in a second, and at the beginning and end.
const NEW_SEEDS_A_SECOND: u64 = 6;
const SPARE_SEEDS: u64 = 600;

#[tokio::test]
async fn an_outage_shorter_than_the_time_to_live_is_invisible_to_reads() {
    let ttl = std::env::var(TTL_SECONDS).ok();
    let ttl = ttl.map_or(DEFAULT_TTL, |text| text.parse().unwrap());
    tokio::task::LocalSet::new()
        .run_until(Box::pin(outage(ttl)))
        .await;
}

async fn outage(ttl: u64) {
    let scale = Scale {
        seeds: u32::try_from(ttl * NEW_SEEDS_A_SECOND + SPARE_SEEDS).unwrap(),
        with_api_server: true,
        cache_ttl: &format!("{ttl}s"),
        launch: None,
    };
    let mut fixture = Fixture::proxied(Table::unwritten(), scale).await;
    // As near to the whole time as a busy machine allows.
    let lasts = Duration::from_millis(ttl * 950);
    let mut first_write_failed = None;
    let begin = Instant::now();
    fixture
        .fault(
            "OpenBao stopped with SIGSTOP, almost as long as the cache",
            async |s| s.backend.bao.process().pause().await.unwrap(),
            Duration::ZERO,
            async |s| {
                while begin.elapsed() < lasts {
                    let seen = s.tallies();
                    if first_write_failed.is_none() && seen.writes.failed > 0 {
                        first_write_failed = Some(begin.elapsed());
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                let seen = s.tallies();
                assert_eq!(seen.reads.failed, 0, "reads of a Secret");
                assert_eq!(seen.known_seeds.failed, 0, "known seeds");
                assert!(seen.reads.ok > 0 && seen.known_seeds.ok > 0, "{seen:?}");
                assert_eq!(seen.new_seeds.ok, 0, "OpenBao was away");
                s.backend.bao.process().signal(Signal::CONT).unwrap();
                say(&format!(
                    "away for {:.0} s with a time to live of {ttl} s: {} reads and {} known seeds went well; {} of {} writes failed{}",
                    begin.elapsed().as_secs_f64(),
                    seen.reads.ok,
                    seen.known_seeds.ok,
                    seen.writes.failed,
                    seen.writes.ok + seen.writes.failed,
                    first_write_failed.map_or_else(String::new, |at: Duration| format!(
                        ", the first after {:.0} s",
                        at.as_secs_f64()
                    )),
                ));
            },
        )
        .await;
    say(&format!(
        "well again after {:.1} s",
        fixture.last_recovery().as_secs_f64()
    ));
    fixture.finish();
}

/// Progress for a run by hand; cargo shows it with `--nocapture`.
#[expect(clippy::print_stderr, reason = "a long run is watched")]
fn say(line: &str) {
    eprintln!("{line}");
}
