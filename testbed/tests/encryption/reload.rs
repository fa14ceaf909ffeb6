//! A rotation as in production: nothing is restarted, and the API servers read their files once a minute.

use serde_json::json;

use crate::fixture::{Cluster, Load, config};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_rotates_by_reloads_alone() {
    let key = json!({"aesgcm": {"keys": [{"name": "old", "secret": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}]}});
    let cluster = Cluster::start(3, &config(&["secrets"], &[key])).await;
    cluster.create_secrets(20).await;
    let load = Load::start(&cluster);
    let report = cluster.run(&["rotate", "--yes", "--output", "json"]).await;
    let steps = report.stderr.clone();
    let report = report.json();
    assert_eq!(report["done"], true);
    assert_eq!(cluster.prefixes("secrets").await, ["aesgcm:v1:key1"]);
    // It waited for proof, and said for what.
    assert!(steps.contains("waiting:"), "{steps}");
    load.stop().await;
    let mut starts = Vec::new();
    for member in &cluster.members {
        starts.push(
            member
                .api
                .lock()
                .await
                .process()
                .log()
                .matches("Serving securely")
                .count(),
        );
    }
    assert_eq!(starts, [1, 1, 1], "an API server was restarted");
}
