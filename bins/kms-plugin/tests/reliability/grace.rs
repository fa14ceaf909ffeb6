//! An HA control plane whose API servers leave their Service when they are not ready, while OpenBao is away.
//!
//! `cargo xtask outage --minutes 1,4,6,10` measures such outages with the times that users have by default.

use std::time::{Duration, Instant};

use kdc_testbed::fixtures::SOON;

use crate::service::{Replica, Service};

/// Outages to measure, in minutes.
const MINUTES: &str = "KDC_OUTAGE_MINUTES";
/// A control plane is well again within this after the return of OpenBao.
const RECOVERY_LIMIT: Duration = Duration::from_secs(15);

/// Times of a plugin and of the probes of an API server.
struct Times {
    flags: &'static [&'static str],
    grace: Duration,
    /// Between two looks of a plugin at its key, at most.
    look: Duration,
    period: Duration,
}

const SHORT: Times = Times {
    flags: &[
        "--bao-poll-interval",
        "1s",
        "--status-grace",
        "20s",
        "--bao-hold",
        "110s",
    ],
    grace: Duration::from_secs(20),
    look: Duration::from_secs(4),
    period: Duration::from_secs(2),
};

const USUAL: Times = Times {
    flags: &[],
    grace: Duration::from_secs(300),
    look: Duration::from_secs(75),
    period: Duration::from_secs(10),
};

#[tokio::test]
async fn an_outage_shorter_than_the_grace_fails_no_call_and_a_longer_one_heals() {
    let (times, lengths) = match std::env::var(MINUTES) {
        Ok(minutes) => (USUAL, of_minutes(&minutes)),
        // kube-apiserver believes a good Status for 20 s, and probes fail three times.
        Err(_) => (SHORT, [12, 75].map(Duration::from_secs).to_vec()),
    };
    let mut service = Service::start(times.flags, times.period).await;
    for length in lengths {
        outage(&mut service, &times, length).await;
    }
}

fn of_minutes(list: &str) -> Vec<Duration> {
    list.split(',')
        .map(|minutes| Duration::from_secs(60 * minutes.parse::<u64>().unwrap()))
        .collect()
}

async fn outage(service: &mut Service, times: &Times, length: Duration) {
    let is_covered = length < times.grace;
    service.watch();
    let begin = Instant::now();
    for replica in &mut service.replicas {
        replica.proxy.refuse_connections().await;
    }
    let is_short = length < SOON;
    if is_covered {
        // A plugin that is asked for nothing notices at its next look, up to 72 s later by default.
        if is_short || length > Duration::from_secs(150) {
            for replica in &service.replicas {
                degraded(replica).await;
            }
        }
    }
    tokio::time::sleep(length.saturating_sub(begin.elapsed())).await;
    let seen = service.seen();
    let lasted = begin.elapsed();
    if is_covered {
        assert_eq!(seen.reads.failed + seen.writes.failed, 0, "{seen:?}");
        assert!(seen.reads.ok > 0 && seen.writes.ok > 0, "{seen:?}");
    } else {
        let first = [seen.reads.first_failure, seen.writes.first_failure];
        let first = first.into_iter().flatten().min();
        assert!(seen.emptied.is_some(), "{seen:?}");
        assert!(first >= Some(times.grace - times.look), "{seen:?}");
    }
    for replica in &mut service.replicas {
        replica.proxy.accept_connections().await.unwrap();
    }
    let end = Instant::now();
    let (calls, ready) = service.well_since(end).await;
    let seconds = |at: Option<Duration>| {
        at.map_or_else(|| "-".to_owned(), |at| format!("{:.0} s", at.as_secs_f64()))
    };
    say(&format!(
        "away for {:.0} s: reads {} ok, {} failed (first after {}); writes {} ok, {} failed (first after {}); no API server in the Service after \
         {}; calls well again after {:.1} s, both API servers in the Service after {:.1} s; {:?}",
        lasted.as_secs_f64(),
        seen.reads.ok,
        seen.reads.failed,
        seconds(seen.reads.first_failure),
        seen.writes.ok,
        seen.writes.failed,
        seconds(seen.writes.first_failure),
        seconds(seen.emptied),
        calls.as_secs_f64(),
        ready.as_secs_f64(),
        seen.complaint,
    ));
    assert!(calls <= RECOVERY_LIMIT, "{calls:?}");
    for replica in &mut service.replicas {
        replica.plugin.process.ensure_running().unwrap();
        says(replica, "ok\n").await;
    }
    // A next outage has a grace of its own only after a proof.
    tokio::time::sleep(times.look).await;
}

/// Waits until the plugin says so; its API server finds it well all the same.
async fn degraded(replica: &Replica) {
    says(replica, "degraded\n").await;
    assert!(replica.finds_plugin_well().await);
}

/// Waits until `/readyz` of the plugin begins so.
async fn says(replica: &Replica, words: &str) {
    let begin = Instant::now();
    loop {
        let text = replica.plugin.readiness().await;
        if text.starts_with(words) {
            return;
        }
        assert!(begin.elapsed() < 2 * SOON, "not {words}: {text}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// One replica is cut off while the key rotates. It has left the Service before the other one wraps with the new version, which it could
/// not open.
#[tokio::test]
async fn a_rotation_while_one_replica_is_cut_off_fails_no_read() {
    let flags = [
        "--bao-poll-interval",
        "1s",
        "--status-grace",
        "5s",
        "--bao-hold",
        "95s",
    ];
    let mut service = Service::start(&flags, Duration::from_secs(2)).await;
    service.watch();
    service.replicas[1].proxy.refuse_connections().await;
    service
        .bao
        .root()
        .rotate_key("transit", "etcd")
        .await
        .unwrap();
    let begin = Instant::now();
    while !is_under_new_version(&service).await {
        assert!(
            begin.elapsed() < Duration::from_secs(240),
            "no row is under the new version"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(!service.is_ready(1), "it must be out of the Service by now");
    // Some more reads of what it could not open.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let seen = service.seen();
    assert_eq!(seen.reads.failed + seen.writes.failed, 0, "{seen:?}");
    say(&format!(
        "cut off and rotated: {} reads and {} writes, none failed",
        seen.reads.ok, seen.writes.ok
    ));
    service.replicas[1]
        .proxy
        .accept_connections()
        .await
        .unwrap();
    let (_, ready) = service.well_since(Instant::now()).await;
    say(&format!(
        "mended: in the Service again after {:.1} s",
        ready.as_secs_f64()
    ));
    // It opens what was written without it, and so does everything in the Service.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let seen = service.seen();
    assert_eq!(seen.reads.failed + seen.writes.failed, 0, "{seen:?}");
}

/// Whether a row is that the writers change all the time.
async fn is_under_new_version(service: &Service) -> bool {
    let row = service
        .etcd
        .row("/registry/secrets/default/writer-0")
        .await
        .unwrap()
        .unwrap();
    row.value.windows(9).any(|window| window == b"vault:v2:")
}

/// Progress and figures; cargo shows them with `--nocapture`.
#[expect(clippy::print_stderr, reason = "a long run is watched")]
fn say(line: &str) {
    eprintln!("{line}");
}
