//! The Deployment of a control plane and its pods: a surge of all new pods beside the old ones, which end as the new become ready.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::template::{self, Facts, items, text};
use super::tenant::Tenant;
use super::{PODS, TENANT_CONTROL_PLANES};
use crate::client::{ApiError, Client, Resource};
use crate::{Error, pki};

const DEPLOYMENTS: Resource = Resource::new("apps/v1", "deployments");
const HASH_LABEL: &str = "pod-template-hash";
const GRACE: Duration = Duration::from_secs(30);

/// Brings the pods nearer to what is wanted, and says so in the status of both objects.
pub(super) async fn step(
    client: &Client,
    plane: &Value,
    tenant: &Tenant,
    pods: &[&Value],
) -> Result<(), Error> {
    let facts: &Facts = &tenant.facts;
    let wanted = template::deployment(plane, facts);
    let hash = hash_of(&wanted["spec"]["template"]);
    let failed = |error: ApiError| super::unexpected(&error);
    let namespace = text(plane, "/metadata/namespace");
    client.apply(&wanted).await.map_err(failed)?;
    let replicas = wanted["spec"]["replicas"].as_u64().unwrap_or(2);
    let replicas = usize::try_from(replicas).unwrap_or(0);
    let alive: Vec<&Value> = pods
        .iter()
        .copied()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .collect();
    let (new, old): (Vec<&Value>, Vec<&Value>) = alive
        .iter()
        .copied()
        .partition(|pod| pod["metadata"]["labels"][HASH_LABEL] == hash.as_str());
    let mut refused = None;
    for _ in new.len()..replicas {
        if let Err(cause) = create(client, plane, &wanted, &hash).await? {
            refused = Some(cause);
            break;
        }
    }
    for pod in surplus(&new, &old, replicas) {
        end(client, pod).await.map_err(failed)?;
    }
    let new_ready = new.iter().filter(|pod| is_ready(pod)).count();
    let ready = alive.iter().filter(|pod| is_ready(pod)).count();
    let counts = Counts {
        wanted: replicas,
        all: alive.len(),
        updated: new.len(),
        ready,
        terminating: pods.len() - alive.len(),
        done: old.is_empty() && new.len() == replicas && new_ready == replicas,
    };
    report(client, plane, tenant, &counts, refused.as_deref())
        .await
        .map_err(|error| {
            let at = format!("status of {namespace}");
            Error::Unexpected {
                name: "kube-apiserver",
                detail: format!("{at}: {error:?}"),
            }
        })
}

/// Whether a pod is ready; one that ends may well be.
pub(super) fn is_ready(pod: &Value) -> bool {
    let conditions = items(&pod["status"]["conditions"]);
    conditions
        .iter()
        .any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// Asks for the end of a pod.
pub(super) async fn end(client: &Client, pod: &Value) -> Result<(), ApiError> {
    let (namespace, name) = (
        text(pod, "/metadata/namespace"),
        text(pod, "/metadata/name"),
    );
    match client.delete_within(PODS, namespace, name, GRACE).await {
        Err(error) if error.status() == Some(404) => Ok(()),
        other => other,
    }
}

/// Pods that can go: new ones beyond the number, the latest and those that are not ready first, and as many old ones as are not needed
/// to have that number ready.
fn surplus<'a>(new: &[&'a Value], old: &[&'a Value], replicas: usize) -> Vec<&'a Value> {
    let mut newest = new.to_vec();
    newest.sort_by_key(|pod| {
        (
            is_ready(pod),
            std::cmp::Reverse(text(pod, "/metadata/creationTimestamp")),
        )
    });
    let mut gone: Vec<&Value> = newest
        .into_iter()
        .take(new.len().saturating_sub(replicas))
        .collect();
    let ready = new.iter().filter(|pod| is_ready(pod)).count();
    let needed = replicas.saturating_sub(ready);
    let (ready_old, other): (Vec<&Value>, Vec<&Value>) =
        old.iter().copied().partition(|pod| is_ready(pod));
    gone.extend(ready_old.into_iter().skip(needed));
    // An old pod that is not ready is of no use once a new one could be made.
    if new.len() >= replicas {
        gone.extend(other);
    }
    gone
}

/// Makes a pod; or says why none can be made, as a ReplicaSet would.
async fn create(
    client: &Client,
    plane: &Value,
    wanted: &Value,
    hash: &str,
) -> Result<Result<(), String>, Error> {
    let namespace = text(plane, "/metadata/namespace");
    let template = &wanted["spec"]["template"];
    let account = text(template, "/spec/serviceAccountName");
    if let Err(error) = client
        .read(Resource::SERVICE_ACCOUNTS, namespace, account)
        .await
    {
        return Ok(Err(format!(
            "error looking up service account {namespace}/{account}: {error}"
        )));
    }
    let name = text(plane, "/metadata/name");
    let suffix: String = pki::random_token()?.chars().take(5).collect();
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"],
    });
    pod["metadata"]["name"] = json!(format!("{name}-{hash}-{suffix}"));
    pod["metadata"]["labels"][HASH_LABEL] = json!(hash);
    pod["spec"]["nodeName"] = json!("testbed");
    let made = client.create(PODS, namespace, &pod).await;
    Ok(made.map(|_| ()).map_err(|error| error.to_string()))
}

struct Counts {
    wanted: usize,
    all: usize,
    updated: usize,
    ready: usize,
    terminating: usize,
    done: bool,
}

async fn report(
    client: &Client,
    plane: &Value,
    tenant: &Tenant,
    counts: &Counts,
    refused: Option<&str>,
) -> Result<(), ApiError> {
    let (namespace, name) = (
        text(plane, "/metadata/namespace"),
        text(plane, "/metadata/name"),
    );
    let deployment = client.read(DEPLOYMENTS, namespace, name).await?;
    let mut conditions = vec![json!({
        "type": "Available", "status": if counts.ready >= counts.wanted { "True" } else { "False" },
        "reason": "MinimumReplicas",
    })];
    if let Some(cause) = refused {
        conditions.push(json!({
            "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": cause,
        }));
    }
    let status = json!({
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": counts.all,
        "updatedReplicas": counts.updated,
        "readyReplicas": counts.ready,
        "availableReplicas": counts.ready,
        "unavailableReplicas": counts.wanted.saturating_sub(counts.ready),
        "terminatingReplicas": counts.terminating,
        "conditions": conditions,
    });
    if differs(&status, &deployment["status"]) {
        let patch = json!({"status": status});
        client
            .merge_patch(DEPLOYMENTS, namespace, name, Some("status"), &patch)
            .await?;
    }
    let status = tenant.status(plane, &version(plane, counts), &status);
    if differs(&status, &plane["status"]) {
        let patch = json!({"status": status});
        client
            .merge_patch(
                TENANT_CONTROL_PLANES,
                namespace,
                name,
                Some("status"),
                &patch,
            )
            .await?;
    }
    Ok(())
}

/// The version that runs and how far it is, in Kamaji's words.
fn version(plane: &Value, counts: &Counts) -> Value {
    let wanted = text(plane, "/spec/kubernetes/version");
    let before = text(plane, "/status/kubernetesResources/version/version");
    let status = match (counts.done, before) {
        _ if counts.wanted == 0 => "Sleeping",
        (true, _) => "Ready",
        (false, "") => "Provisioning",
        (false, before) if before != wanted => "Upgrading",
        _ => "Unknown",
    };
    let version = if counts.done { wanted } else { before };
    json!({"version": version, "status": status})
}

/// Whether a field of `wanted` is not as it is there; numbers that are zero are left out by the API server, and times are not compared.
fn differs(wanted: &Value, there: &Value) -> bool {
    match wanted {
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| differs(value, &there[name.as_str()])),
        Value::Array(entries) => {
            there.as_array().map_or(0, Vec::len) != entries.len()
                || entries
                    .iter()
                    .zip(there.as_array().into_iter().flatten())
                    .any(|(wanted, there)| differs(wanted, there))
        }
        Value::Number(number) if number.as_u64() == Some(0) => !there.is_null() && there != wanted,
        Value::String(text) if text.is_empty() => !there.is_null() && there != wanted,
        _ => wanted != there,
    }
}

fn hash_of(template: &Value) -> String {
    let digest = hex::encode(Sha256::digest(template.to_string()));
    digest.chars().take(10).collect()
}
