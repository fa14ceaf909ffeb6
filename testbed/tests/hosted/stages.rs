//! From plain to encrypted in stages, with two API servers and a load that goes on.

use std::net::Ipv4Addr;

use kdc_testbed::hosted::Pace;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::fixture::{NAME, NAMESPACE, Stand, alone, identity, kms, write_secret};
use crate::load::Load;

const PREFIX: &[u8] = b"k8s:enc:kms:v2:kube-dc-kms-plugin:";

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_goes_from_plain_to_encrypted_in_stages() {
    let _one = alone().await;
    let stand = Stand::start(Pace::fast(), 2).await;
    let tenant = stand.tenant();
    for number in 0..5 {
        write_secret(&tenant, &format!("before-{number}")).await;
    }
    assert!(
        stand
            .rows()
            .await
            .iter()
            .all(|row| !row.value.starts_with(PREFIX))
    );
    let load = Load::start(&tenant);

    // First all API servers can read what none of them writes yet.
    let text = stand.configure(&[identity(), kms()]).await;
    stand.add_plugin().await;
    stand.rolled_out(2).await;
    loaded_everywhere(&stand, &text).await;
    for pod in stand.pods().await {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let log = stand.runner.log(NAMESPACE, name, "kms-plugin");
        assert!(log.contains("OpenBao login ok"), "{log}");
        let sidecar = &pod["status"]["initContainerStatuses"][1];
        assert_eq!(sidecar["name"], "kms-plugin");
        assert_eq!(sidecar["ready"], true);
    }
    write_secret(&tenant, "between").await;
    assert!(
        stand
            .rows()
            .await
            .iter()
            .all(|row| !row.value.starts_with(PREFIX))
    );

    // Then all of them write it; the pods stay.
    let before = uids(&stand.pods().await);
    let text = stand.configure(&[kms(), identity()]).await;
    stand.annotate_pods("kms-first").await;
    loaded_everywhere(&stand, &text).await;
    assert_eq!(uids(&stand.pods().await), before);
    write_secret(&tenant, "after").await;
    let rows = stand.rows().await;
    let row = |name: &str| rows.iter().find(|row| row.key.ends_with(name)).unwrap();
    assert!(row("/after").value.starts_with(PREFIX));
    assert!(!row("/before-0").value.starts_with(PREFIX));

    let (calls, refused) = load.stop().await;
    assert!(calls > 0);
    // A rollout may refuse calls as the API server shuts down; no stage may leave a row that a server cannot read.
    let unreadable: Vec<_> = refused
        .iter()
        .filter(|error| error.contains("transform") || error.contains("decrypt"))
        .collect();
    assert!(unreadable.is_empty(), "{unreadable:?}");
}

/// Waits until each pod, asked by its own address, says that it has loaded this file.
async fn loaded_everywhere(stand: &Stand, text: &str) {
    let hash = format!("hash=\"sha256:{}\"", hex::encode(Sha256::digest(text)));
    stand
        .eventually("all API servers have loaded the file", async || {
            for pod in stand.pods().await {
                if !loaded(stand, &pod, &hash).await {
                    return false;
                }
            }
            true
        })
        .await;
}

async fn loaded(stand: &Stand, pod: &Value, hash: &str) -> bool {
    let Ok(address) = pod["status"]["podIP"]
        .as_str()
        .unwrap_or_default()
        .parse::<Ipv4Addr>()
    else {
        return false;
    };
    let client = stand
        .runner
        .tenant_client(NAMESPACE, NAME, Some(address))
        .unwrap();
    let metrics = client.raw("/metrics").await;
    metrics.is_ok_and(|answer| {
        answer
            .body
            .lines()
            .any(|line| line.contains("last_config_info") && line.contains(hash))
    })
}

fn uids(pods: &[Value]) -> Vec<String> {
    let mut uids: Vec<String> = pods
        .iter()
        .map(|pod| pod["metadata"]["uid"].to_string())
        .collect();
    uids.sort();
    uids
}
