//! Leaving the rows to kube-controller-manager, where the API server has migrations; and the refusal where it has none.

use core::time::Duration;

use kdc_envelope_k8s::rewrite::{Migrated, RewriteError, RewriteOptions, hand_over};
use kdc_testbed::{ControllerManager, KubeMinor, Resource};
use serde_json::json;

use crate::fixture::{ControlPlane, counts, is_encrypted, names, pass, run};

const RESOURCES: [&str; 2] = ["secrets", "configmaps"];
const SECRETS: usize = 60;
/// The migrator works from what the garbage collector knows.
const CONTROLLERS: [&str; 2] = [
    "garbage-collector-controller",
    "storage-version-migrator-controller",
];
const PREFIX: &str = "/registry/secrets/default/";

#[test]
fn kube_controller_manager_rewrites_the_rows_where_it_can_be_asked() {
    run(async {
        for minor in KubeMinor::selected().unwrap() {
            let control_plane = ControlPlane::start_on(minor, &RESOURCES, &["old"], &[]).await;
            if minor == KubeMinor::V1_37 {
                migrated(control_plane).await;
            } else {
                refused(&control_plane).await;
            }
        }
    });
}

async fn migrated(mut control_plane: ControlPlane) {
    for number in 0..SECRETS {
        let secret = json!({"metadata": {"name": format!("s-{number}")}, "stringData": {"a": "b"}});
        let created = control_plane
            .client()
            .create(Resource::SECRETS, "default", &secret);
        created.await.unwrap();
    }
    control_plane.restart(&RESOURCES, &["new", "old"]).await;
    let no_controller = RewriteOptions {
        retry_budget: Duration::from_secs(2),
        ..RewriteOptions::default()
    };
    let refused = handed_over(&control_plane, &no_controller)
        .await
        .unwrap_err();
    assert!(
        matches!(refused, RewriteError::NotTakenUp { .. }),
        "{refused}"
    );

    let migrated = by_manager(&control_plane).await;
    let of_whom: Vec<_> = migrated
        .iter()
        .map(|each| each.resource.to_string())
        .collect();
    assert_eq!(of_whom, RESOURCES);
    let rows = control_plane.etcd.rows(PREFIX).await.unwrap();
    assert_eq!(rows.len(), SECRETS);
    assert!(rows.iter().all(|row| is_encrypted(row, "new")));
    let report = pass(
        &control_plane.kube().await,
        &names(&RESOURCES),
        &RewriteOptions::default(),
    )
    .await;
    let [objects, rewritten, current, ..] = counts(&report.unwrap());
    assert!(objects > 60 && rewritten == 0 && current == objects);

    // A record of an earlier migration is no proof of a later one.
    control_plane.restart(&RESOURCES, &["newest", "new"]).await;
    by_manager(&control_plane).await;
    let rows = control_plane.etcd.rows(PREFIX).await.unwrap();
    assert!(rows.iter().all(|row| is_encrypted(row, "newest")));
}

/// By a kube-controller-manager that has just started.
async fn by_manager(control_plane: &ControlPlane) -> Vec<Migrated> {
    let manager = ControllerManager::start(&control_plane.server, &CONTROLLERS).await;
    let mut manager = manager.unwrap();
    let migrated = handed_over(control_plane, &RewriteOptions::default()).await;
    assert!(
        migrated.is_ok(),
        "{migrated:?}\n{}",
        manager.process().log_tail()
    );
    migrated.unwrap()
}

async fn refused(control_plane: &ControlPlane) {
    let refused = handed_over(control_plane, &RewriteOptions::default()).await;
    let line = refused.unwrap_err().to_string();
    let expected = "the API server does not serve storagemigration.k8s.io/v1";
    assert!(line.starts_with(expected), "{line}");
}

async fn handed_over(
    control_plane: &ControlPlane,
    options: &RewriteOptions,
) -> Result<Vec<Migrated>, RewriteError> {
    let client = control_plane.kube().await;
    hand_over(&client, &names(&RESOURCES), options, &|_| (), &|_| ()).await
}
