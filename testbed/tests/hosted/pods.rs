//! Pods of a control plane: their number, their end, and why one cannot start.

use std::net::Ipv4Addr;
use std::time::Duration;

use kdc_testbed::ApiError;
use kdc_testbed::hosted::{Pace, TENANT_CONTROL_PLANES};
use serde_json::{Value, json};

use crate::fixture::{CONFIG_SECRET, NAME, NAMESPACE, Stand, alone};

#[tokio::test(flavor = "multi_thread")]
async fn replicas_come_and_go_and_one_that_ends_serves_on() {
    let _one = alone().await;
    let stand = Stand::start(Pace::fast().end_after(Duration::from_secs(10)), 2).await;
    stand
        .patch(json!({"controlPlane": {"deployment": {"replicas": 3}}}))
        .await;
    stand.rolled_out(3).await;
    stand
        .patch(json!({"controlPlane": {"deployment": {"replicas": 1}}}))
        .await;
    let mut served = false;
    stand
        .eventually("a pod that ends serves", async || {
            for pod in stand.pods().await {
                served |=
                    !pod["metadata"]["deletionTimestamp"].is_null() && serves(&stand, &pod).await;
            }
            served
        })
        .await;
    stand.rolled_out(1).await;
    stand
        .patch(json!({"controlPlane": {"deployment": {"replicas": 0}}}))
        .await;
    stand
        .eventually("the control plane sleeps", async || {
            let plane = stand.plane().await;
            stand.pods().await.is_empty()
                && plane["status"]["kubernetesResources"]["version"]["status"] == "Sleeping"
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_run_is_refused_or_said_in_the_status_of_the_pod() {
    let _one = alone().await;
    let stand = Stand::start(Pace::fast(), 1).await;

    // A Deployment that the API server does not take is refused at once, in Kamaji's words.
    let refusals = [
        (
            json!({"additionalVolumeMounts": {"apiServer": [{"name": "none", "mountPath": "/none"}]}}),
            "volumeMounts[1].name: Not found: \"none\"",
        ),
        (
            json!({"additionalVolumes": [{"name": "etc-kubernetes-pki", "emptyDir": {}}]}),
            "Duplicate value: \"etc-kubernetes-pki\"",
        ),
        (
            json!({"additionalContainers": [{"name": "kube-scheduler", "image": "busybox"}]}),
            "Duplicate value: \"kube-scheduler\"",
        ),
    ];
    for (deployment, words) in refusals {
        let patch = json!({"spec": {"controlPlane": {"deployment": deployment}}});
        let refused = stand
            .client()
            .merge_patch(TENANT_CONTROL_PLANES, NAMESPACE, NAME, None, &patch)
            .await
            .unwrap_err();
        assert!(
            matches!(refused, ApiError::Refused { status: 403, .. }),
            "{refused}"
        );
        let message = refused.to_string();
        let start = "admission webhook \"vtenantcontrolplane.kb.io\" denied the request: \
                     the resulting Deployment will generate a configuration error, cannot proceed: ";
        assert!(
            message.contains(start) && message.contains(words),
            "{message}"
        );
    }

    // A Secret that is not there is accepted; the old pod serves on beside the one that cannot start.
    stand.add_plugin().await;
    let cause = format!("secret \"{CONFIG_SECRET}\" not found");
    stand
        .eventually("the pod says what is missing", async || {
            let pods = stand.pods().await;
            pods.iter().any(|pod| {
                let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
                waiting["message"]
                    .as_str()
                    .is_some_and(|message| message.contains(&cause))
            })
        })
        .await;
    let served = stand.tenant().raw("/readyz").await.unwrap();
    assert_eq!(served.status, 200);
    assert_eq!(
        stand.plane().await["status"]["kubernetesResources"]["version"]["status"],
        "Unknown"
    );
}

async fn serves(stand: &Stand, pod: &Value) -> bool {
    let address: Ipv4Addr = pod["status"]["podIP"].as_str().unwrap().parse().unwrap();
    let client = stand
        .runner
        .tenant_client(NAMESPACE, NAME, Some(address))
        .unwrap();
    client
        .raw("/api/v1/namespaces")
        .await
        .is_ok_and(|answer| answer.status == 200)
}
