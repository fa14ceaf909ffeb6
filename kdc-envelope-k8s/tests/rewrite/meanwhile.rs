//! What others do to the objects while a pass is at them.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use kdc_envelope_k8s::rewrite::{RewriteError, RewriteOptions};
use serde_json::json;

use crate::fixture::{ControlPlane, Hook, Reply, Things, counts, hooked, kube_config, pass, run};

/// Pages of so many objects.
fn pages_of(size: u32) -> RewriteOptions {
    RewriteOptions {
        page_size: NonZeroU32::new(size).unwrap(),
        ..RewriteOptions::default()
    }
}

#[test]
fn objects_that_others_write_delete_or_make_anew_count_as_changed_concurrently() {
    run(async {
        let control_plane = ControlPlane::shared().await;
        let things = Arc::new(Things::stale(&control_plane, "overtaken", 20).await);
        let hook = Hook::before_patches({
            let things = Arc::clone(&things);
            async move {
                things.write("thing-010", "theirs").await;
                things.delete("thing-011").await;
                things.delete("thing-012").await;
                things.create("thing-012", "another").await;
                things.create("thing-new", "new").await;
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
        assert_eq!(counts(&report), [20, 17, 0, 3, 0], "{report:?}");
        assert!(report.is_complete());
        assert_eq!(things.stale_names().await, Vec::<String>::new());
        assert_eq!(things.text("thing-010").await, "theirs");
        assert_eq!(things.text("thing-012").await, "another");
        let report = pass(
            &client,
            &things.group_resource(),
            &RewriteOptions::default(),
        )
        .await
        .unwrap();
        assert_eq!(counts(&report), [20, 0, 20, 0, 0], "{report:?}");
    });
}

#[test]
fn a_conflict_without_another_writer_is_a_refusal() {
    run(async {
        let control_plane = ControlPlane::shared().await;
        let things = Things::stale(&control_plane, "disputed", 3).await;
        let conflict =
            json!({"kind": "Status", "code": 409, "reason": "Conflict", "message": "no\nreason"});
        let hook = Hook::answering(409, &conflict, |seen| {
            seen.is_patch() && seen.path.contains("thing-001")
        });
        let client = hooked(kube_config(&control_plane.server).await, &hook);
        let report = pass(
            &client,
            &things.group_resource(),
            &RewriteOptions::default(),
        )
        .await
        .unwrap();
        assert_eq!(counts(&report), [3, 2, 0, 0, 1], "{report:?}");
        assert!(!report.is_complete());
        assert_eq!(&*report.resources[0].refusals[0].why, "no reason (409)");
        assert_eq!(things.stale_names().await, ["thing-001"]);
    });
}

#[test]
fn a_live_writer_and_a_pass_do_not_disturb_each_other() {
    run(async {
        let control_plane = ControlPlane::shared().await;
        let things = Arc::new(Things::stale(&control_plane, "lively", 300).await);
        let writer = tokio::spawn({
            let things = Arc::clone(&things);
            async move {
                for round in 0.. {
                    for number in (0..300).step_by(7) {
                        things
                            .write(&Things::name(number), &round.to_string())
                            .await;
                    }
                }
            }
        });
        let client = control_plane.kube().await;
        let report = pass(&client, &things.group_resource(), &pages_of(50))
            .await
            .unwrap();
        assert!(!writer.is_finished());
        writer.abort();
        assert!(report.is_complete(), "{report:?}");
        assert_eq!(report.objects(), 300);
        assert_eq!(things.stale_names().await, Vec::<String>::new());
    });
}

#[test]
fn a_continue_token_that_expires_is_followed_by_another() {
    run(async {
        // Compaction is for the whole of etcd. An API server that keeps old lists itself would not notice it.
        let flags = ["--feature-gates=ListFromCacheSnapshot=false"];
        let control_plane = ControlPlane::start_with(&["*.*"], &["new"], &flags).await;
        let control_plane = Arc::new(control_plane);
        let things = Arc::new(Things::stale(&control_plane, "expiring", 30).await);
        let further_pages = Arc::new(AtomicUsize::new(0));
        let hook = Hook::new({
            let things = Arc::clone(&things);
            move |seen| {
                let is_third_page =
                    seen.is_further_page() && further_pages.fetch_add(1, Ordering::Relaxed) == 1;
                let things = Arc::clone(&things);
                async move {
                    if is_third_page {
                        // The listing was at an earlier revision than this one.
                        things.create("thing-new", "new").await;
                        things.compact().await;
                    }
                    Reply::Pass
                }
            }
        });
        let client = hooked(kube_config(&control_plane.server).await, &hook);
        let report = pass(&client, &things.group_resource(), &pages_of(5))
            .await
            .unwrap();
        assert_eq!(counts(&report), [31, 30, 1, 0, 0], "{report:?}");
        assert_eq!(report.resources[0].restarts, 0);
        assert_eq!(things.stale_names().await, Vec::<String>::new());
        let pages = hook.seen().iter().filter(|seen| seen.is_page()).count();
        assert!(pages > 6, "no page was asked for twice: {pages}");
    });
}

#[test]
fn a_listing_without_another_token_starts_over() {
    run(async {
        let control_plane = ControlPlane::shared().await;
        let things = Things::stale(&control_plane, "restarted", 9).await;
        let expired =
            json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"});
        let once = AtomicBool::new(false);
        let hook = Hook::answering(410, &expired, move |seen| {
            seen.is_further_page() && !once.swap(true, Ordering::Relaxed)
        });
        let client = hooked(kube_config(&control_plane.server).await, &hook);
        let report = pass(&client, &things.group_resource(), &pages_of(4))
            .await
            .unwrap();
        assert_eq!(report.resources[0].restarts, 1);
        assert_eq!((report.rewritten(), report.refused()), (9, 0), "{report:?}");
        assert_eq!(things.stale_names().await, Vec::<String>::new());

        let hook = Hook::answering(410, &expired, |seen| seen.is_further_page());
        let client = hooked(kube_config(&control_plane.server).await, &hook);
        let error = pass(&client, &things.group_resource(), &pages_of(4))
            .await
            .unwrap_err();
        assert!(matches!(error, RewriteError::Expired { .. }), "{error}");
    });
}
