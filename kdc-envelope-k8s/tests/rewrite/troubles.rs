//! Servers that are busy, slow or gone, and a pass that is dropped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kdc_envelope_k8s::rewrite::{RewriteError, RewriteOptions, Verb};
use serde_json::json;

use crate::fixture::{ControlPlane, Hook, Reply, Things, counts, hooked, kube_config, pass, run};

fn busy() -> String {
    json!({"kind": "Status", "code": 429, "reason": "TooManyRequests", "message": "later"})
        .to_string()
}

#[test]
fn a_busy_server_is_left_alone_for_as_long_as_it_asks() {
    run(async {
        let control_plane = ControlPlane::shared().await;
        let things = Things::stale(&control_plane, "busy", 40).await;
        let times = Arc::new(std::sync::Mutex::new(Vec::new()));
        let hook = Hook::new({
            let times = Arc::clone(&times);
            move |seen| {
                if seen.is_patch() {
                    times.lock().unwrap().push((seen.earlier, Instant::now()));
                }
                let reply = if seen.is_patch() && seen.earlier == 10 {
                    Reply::Answer(429, &[("Retry-After", "2")], busy())
                } else {
                    Reply::Pass
                };
                async { reply }
            }
        });
        let client = hooked(kube_config(&control_plane.server).await, &hook);
        let report = pass(
            &client,
            &things.group_resource(),
            &RewriteOptions::default(),
        )
        .await
        .unwrap();
        assert_eq!(counts(&report), [40, 40, 0, 0, 0], "{report:?}");
        let times = times.lock().unwrap();
        assert_eq!(times.len(), 41);
        let refused = times[10].1;
        // Those that were in flight with it were sent before; then nothing for two seconds.
        let pause = times
            .windows(2)
            .find(|pair| pair[1].1 - refused >= Duration::from_secs(2))
            .unwrap();
        assert!(
            pause[1].1 - pause[0].1 > Duration::from_millis(1500),
            "{pause:?}"
        );
    });
}

#[test]
fn answers_that_do_not_come_are_asked_for_again() {
    run(async {
        let control_plane = ControlPlane::shared().await;
        let things = Things::stale(&control_plane, "shaky", 40).await;
        let hook = Hook::new(|seen| {
            let count = seen.earlier;
            let reply = match count {
                _ if seen.is_page() && count % 2 == 0 => Reply::Break,
                _ if !seen.is_patch() => Reply::Pass,
                5 => Reply::Break,
                11 => Reply::Lose,
                17 => Reply::Delay(Duration::from_secs(600)),
                23 => Reply::Answer(502, &[], "<html>Bad Gateway</html>".to_owned()),
                24 => Reply::Answer(503, &[], String::new()),
                25 => Reply::Answer(200, &[], "It works!".to_owned()),
                26 => Reply::Answer(404, &[], "<html>Not Found</html>".to_owned()),
                _ => Reply::Pass,
            };
            async { reply }
        });
        let client = hooked(kube_config(&control_plane.server).await, &hook);
        let options = RewriteOptions {
            request_timeout: Duration::from_secs(10),
            ..RewriteOptions::default()
        };
        let report = pass(&client, &things.group_resource(), &options)
            .await
            .unwrap();
        // The row whose answer was lost had been rewritten: it counts as changed concurrently, by ourselves.
        assert_eq!(counts(&report), [40, 39, 0, 1, 0], "{report:?}");
        assert_eq!(things.stale_names().await, Vec::<String>::new());
    });
}

#[test]
fn a_retry_budget_ends_with_what_was_tried() {
    run(async {
        let control_plane = ControlPlane::shared().await;
        let things = Things::stale(&control_plane, "gone", 10).await;
        let hook = Hook::new(|seen| {
            let reply = if seen.is_patch() && seen.earlier >= 4 {
                Reply::Break
            } else {
                Reply::Pass
            };
            async { reply }
        });
        let client = hooked(kube_config(&control_plane.server).await, &hook);
        let options = RewriteOptions {
            retry_budget: Duration::from_secs(2),
            ..RewriteOptions::default()
        };
        let error = pass(&client, &things.group_resource(), &options)
            .await
            .unwrap_err();
        let RewriteError::RetriesExhausted {
            verb,
            resource,
            attempts,
            why,
            ..
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!(
            (*verb, &**resource),
            (Verb::Patch, "things.gone.example.com")
        );
        assert!(
            *attempts >= 3 && why.contains("connection reset"),
            "{error}"
        );
        // What was done is done; the rest is as it was.
        assert_eq!(things.stale_names().await.len(), 6);
    });
}

#[test]
fn an_etcd_that_stands_still_is_waited_for() {
    run(async {
        let mut control_plane = ControlPlane::start(&["*.*"], &["new"]).await;
        let etcd = control_plane.etcd.process().pid();
        let control_plane = Arc::new(control_plane);
        let things = Things::stale(&control_plane, "paused", 60).await;
        let hook = Hook::new(move |seen| async move {
            if seen.is_patch() && seen.earlier == 20 {
                signal(etcd, "STOP");
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    signal(etcd, "CONT");
                });
            }
            Reply::Pass
        });
        let client = hooked(kube_config(&control_plane.server).await, &hook);
        let report = pass(
            &client,
            &things.group_resource(),
            &RewriteOptions::default(),
        )
        .await
        .unwrap();
        assert!(report.is_complete(), "{report:?}");
        assert_eq!(report.objects(), 60);
        assert_eq!(things.stale_names().await, Vec::<String>::new());
    });
}

fn signal(process: u32, name: &str) {
    let status = std::process::Command::new("kill")
        .args([format!("-{name}"), process.to_string()])
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn a_pass_that_is_dropped_loses_nothing_and_the_next_one_writes_only_the_rest() {
    run(async {
        let control_plane = ControlPlane::shared().await;
        let things = Things::stale(&control_plane, "dropped", 200).await;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let sender = Arc::new(std::sync::Mutex::new(Some(sender)));
        let hook = Hook::new(move |seen| {
            if seen.is_patch() && seen.earlier == 80 {
                let sender = sender.lock().unwrap().take();
                sender.unwrap().send(()).unwrap();
            }
            async { Reply::Pass }
        });
        let client = hooked(kube_config(&control_plane.server).await, &hook);
        let resources = things.group_resource();
        let options = RewriteOptions::default();
        tokio::select! {
            report = pass(&client, &resources, &options) => panic!("it was not dropped: {report:?}"),
            _ = receiver => {}
        }
        // What was in flight may still come through.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let stale = u64::try_from(things.stale_names().await.len()).unwrap();
        assert!((100..=140).contains(&stale), "{stale}");
        let report = pass(&client, &resources, &options).await.unwrap();
        assert_eq!(
            counts(&report),
            [200, stale, 200 - stale, 0, 0],
            "{report:?}"
        );
    });
}

#[test]
fn a_rate_is_kept() {
    run(async {
        let control_plane = ControlPlane::shared().await;
        let things = Things::stale(&control_plane, "slow", 21).await;
        let client = control_plane.kube().await;
        let options = RewriteOptions {
            max_per_second: std::num::NonZeroU32::new(10),
            ..RewriteOptions::default()
        };
        let report = pass(&client, &things.group_resource(), &options)
            .await
            .unwrap();
        assert_eq!(counts(&report), [21, 21, 0, 0, 0], "{report:?}");
        assert!(
            report.elapsed >= Duration::from_secs(2),
            "{:?}",
            report.elapsed
        );
    });
}
