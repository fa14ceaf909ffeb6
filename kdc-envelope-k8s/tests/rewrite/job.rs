//! Passes that run beside other work, and what several of them share.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kdc_envelope_k8s::rewrite::{
    JobStatus, RequestBudget, RewriteError, RewriteJob, RewriteOptions,
};
use tokio::runtime::Handle;

use crate::fixture::{ControlPlane, Hook, Reply, Things, counts, hooked, kube_config, run};

const SOON: Duration = Duration::from_secs(60);

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < SOON, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn a_job_that_is_dropped_stops_and_the_next_one_goes_on() {
    run(async {
        let control_plane = ControlPlane::shared().await;
        let things = Things::stale(&control_plane, "job-dropped", 100).await;
        // Patches after the first forty get no answer for as long as the job lives.
        let alive = Arc::new(());
        let hook = Hook::new({
            let alive = Arc::clone(&alive);
            move |seen| {
                let guard = Arc::clone(&alive);
                async move {
                    if seen.is_patch() && seen.earlier >= 40 {
                        std::future::pending::<()>().await;
                    }
                    drop(guard);
                    Reply::Pass
                }
            }
        });
        let client = hooked(kube_config(&control_plane.server).await, &hook);
        let resources = things.group_resource();
        let options = RewriteOptions::default();
        let runtime = Handle::current();
        let job = RewriteJob::spawn(&runtime, client, resources.clone(), options.clone());
        // The hook holds one, the test another, and each patch that hangs one more.
        until("a patch hangs", || Arc::strong_count(&alive) > 2).await;
        let start = Instant::now();
        while things.stale_names().await.len() > 60 {
            assert!(start.elapsed() < SOON, "forty rows are never done");
        }
        assert!(!job.status().is_final(), "{job:?}");
        drop(job);
        until("no patch hangs", || Arc::strong_count(&alive) == 2).await;
        assert_eq!(things.stale_names().await.len(), 60);

        let client = control_plane.kube().await;
        let mut job = RewriteJob::spawn(&runtime, client, resources, options);
        let report = job.finished().await.unwrap();
        assert_eq!(counts(&report), [100, 60, 40, 0, 0], "{report:?}");
        assert_eq!(job.status(), JobStatus::Finished(report.clone()));
        assert_eq!(job.finished().await, Ok(report));
        assert!(things.stale_names().await.is_empty());
    });
}

#[test]
fn a_job_tells_why_it_failed_and_that_its_runtime_went_away() {
    run(async {
        let control_plane = ControlPlane::shared().await;
        let things = Things::stale(&control_plane, "job-failed", 1).await;
        let denied = serde_json::json!({"kind": "Status", "code": 401, "message": "no"});
        let hook = Hook::answering(401, &denied, |seen| seen.is_patch());
        let client = hooked(kube_config(&control_plane.server).await, &hook);
        let (resources, options) = (things.group_resource(), RewriteOptions::default());
        let runtime = Handle::current();
        let mut job = RewriteJob::spawn(&runtime, client, resources.clone(), options.clone());
        let error = job.finished().await.unwrap_err();
        assert!(matches!(error, RewriteError::Denied { .. }), "{error}");
        assert_eq!(job.status(), JobStatus::Failed(error));

        let hook = Hook::new(async |_| std::future::pending::<Reply>().await);
        let client = hooked(kube_config(&control_plane.server).await, &hook);
        let other = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut job = RewriteJob::spawn(other.handle(), client, resources, options);
        assert!(!job.status().is_final());
        other.shutdown_background();
        assert_eq!(job.finished().await, Err(RewriteError::Interrupted));
        assert_eq!(job.status(), JobStatus::Failed(RewriteError::Interrupted));
    });
}

/// The most requests for things at the same time, of two passes with these options.
async fn most_at_once(
    control_plane: &Arc<ControlPlane>,
    group: &str,
    options: &RewriteOptions,
) -> usize {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let hook = Hook::new({
        let most = Arc::clone(&most);
        move |seen| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            async move {
                if seen.is_patch() || seen.is_page() {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    now.fetch_sub(1, Ordering::SeqCst);
                }
                Reply::Pass
            }
        }
    });
    let config = kube_config(&control_plane.server).await;
    let mut jobs = Vec::new();
    for name in ["one", "two"] {
        let things = Things::stale(control_plane, &format!("{group}-{name}"), 30).await;
        let client = hooked(config.clone(), &hook);
        let resources = things.group_resource();
        let job = RewriteJob::spawn(&Handle::current(), client, resources, options.clone());
        jobs.push((things, job));
    }
    for (things, mut job) in jobs {
        let report = job.finished().await.unwrap();
        assert_eq!(counts(&report), [30, 30, 0, 0, 0], "{report:?}");
        assert!(things.stale_names().await.is_empty());
    }
    most.load(Ordering::SeqCst)
}

#[test]
fn passes_share_a_budget_of_requests() {
    run(async {
        let control_plane = ControlPlane::shared().await;
        let budget = RequestBudget::new(NonZeroU32::MIN);
        let shared = RewriteOptions {
            budget: Some(budget.clone()),
            ..RewriteOptions::default()
        };
        assert_eq!(most_at_once(&control_plane, "shared", &shared).await, 1);
        assert_eq!(budget.available(), 1);
        assert!(most_at_once(&control_plane, "apart", &RewriteOptions::default()).await > 1);
    });
}
