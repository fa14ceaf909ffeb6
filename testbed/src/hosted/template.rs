//! The Deployment that Kamaji renders of a TenantControlPlane, with what concerns kube-apiserver. kube-controller-manager and
//! kube-scheduler stand in it by name, so that these are taken, and are not run.

use serde_json::{Value, json};

/// Volume and path of the certificates of kube-apiserver, as Kamaji has them.
pub(super) const PKI_VOLUME: &str = "etc-kubernetes-pki";
pub(super) const PKI_PATH: &str = "/etc/kubernetes/pki";
pub(super) const API_SERVER: &str = "kube-apiserver";
/// Servers that stand in the pod by name alone.
pub(super) const NOT_RUN: [&str; 2] = ["kube-controller-manager", "kube-scheduler"];
/// Flags that Kamaji sets itself: those of the user are dropped without a word.
const MANAGED: [&str; 14] = [
    "--advertise-address",
    "--authorization-mode",
    "--bind-address",
    "--client-ca-file",
    "--etcd-cafile",
    "--etcd-certfile",
    "--etcd-compaction-interval",
    "--etcd-keyfile",
    "--etcd-prefix",
    "--etcd-servers",
    "--secure-port",
    "--service-account-key-file",
    "--tls-cert-file",
    "--tls-private-key-file",
];

/// What is not in the object itself.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) schema: String,
    pub(super) etcd_endpoint: String,
}

/// The Deployment of a TenantControlPlane.
pub(super) fn deployment(plane: &Value, facts: &Facts) -> Value {
    let name = text(plane, "/metadata/name");
    let wanted = &plane["spec"]["controlPlane"]["deployment"];
    let selector = json!({"kamaji.clastix.io/name": name});
    let mut labels = merged(&selector, &wanted["podAdditionalMetadata"]["labels"]);
    labels["kamaji.clastix.io/component"] = json!("deployment");
    labels["kamaji.clastix.io/project"] = json!("kamaji");
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": plane["metadata"]["namespace"],
            "labels": selector,
            "ownerReferences": [{
                "apiVersion": "kamaji.clastix.io/v1alpha1", "kind": "TenantControlPlane", "name": name,
                "uid": plane["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "replicas": wanted["replicas"].as_i64().unwrap_or(2),
            "selector": {"matchLabels": selector},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": labels, "annotations": merged(&json!({}), &wanted["podAdditionalMetadata"]["annotations"])},
                "spec": pod_spec(plane, wanted, facts),
            },
        },
    })
}

fn pod_spec(plane: &Value, wanted: &Value, facts: &Facts) -> Value {
    let name = text(plane, "/metadata/name");
    let mut volumes = vec![
        json!({"name": PKI_VOLUME, "secret": {"secretName": format!("{name}-api-server-certificate")}}),
    ];
    volumes.extend(items(&wanted["additionalVolumes"]));
    let mut containers = vec![api_server(plane, wanted, facts)];
    let version = text(plane, "/spec/kubernetes/version");
    containers.extend(
        NOT_RUN.map(
            |name| json!({"name": name, "image": format!("registry.k8s.io/{name}:{version}")}),
        ),
    );
    containers.extend(items(&wanted["additionalContainers"]));
    let mut spec = json!({
        "serviceAccountName": wanted["serviceAccountName"].as_str().unwrap_or("default"),
        "automountServiceAccountToken": wanted["automountServiceAccountToken"].as_bool().unwrap_or(true),
        "terminationGracePeriodSeconds": 30,
        "volumes": volumes,
        "initContainers": items(&wanted["additionalInitContainers"]),
        "containers": containers,
    });
    if wanted["podSecurityContext"].is_object() {
        spec["securityContext"] = wanted["podSecurityContext"].clone();
    }
    spec
}

fn api_server(plane: &Value, wanted: &Value, facts: &Facts) -> Value {
    let version = text(plane, "/spec/kubernetes/version");
    let mut mounts = vec![json!({"name": PKI_VOLUME, "mountPath": PKI_PATH})];
    mounts.extend(items(&wanted["additionalVolumeMounts"]["apiServer"]));
    let mut container = json!({
        "name": API_SERVER,
        "image": format!("registry.k8s.io/kube-apiserver:{version}"),
        "imagePullPolicy": "Always",
        "command": [API_SERVER],
        "args": flags(plane, wanted, facts),
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "volumeMounts": mounts,
        "livenessProbe": probe(plane, "liveness", "/livez"),
        "readinessProbe": probe(plane, "readiness", "/readyz"),
        "startupProbe": probe(plane, "startup", "/livez"),
    });
    let context = &wanted["containerSecurityContexts"]["apiServer"];
    if context.is_object() {
        container["securityContext"] = context.clone();
    }
    container
}

/// Kamaji's own flags, with those of the user between them, all in one order.
fn flags(plane: &Value, wanted: &Value, facts: &Facts) -> Vec<String> {
    let file = |name: &str| format!("{PKI_PATH}/{name}");
    let mut flags = vec![
        "--advertise-address=$(POD_IP)".to_owned(),
        "--allow-privileged=true".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--bind-address=$(POD_IP)".to_owned(),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--etcd-cafile={}", file("etcd-ca.crt")),
        format!("--etcd-certfile={}", file("etcd-client.crt")),
        "--etcd-compaction-interval=0".to_owned(),
        format!("--etcd-keyfile={}", file("etcd-client.key")),
        format!("--etcd-prefix=/{}", facts.schema),
        format!("--etcd-servers={}", facts.etcd_endpoint),
        "--endpoint-reconciler-type=none".to_owned(),
        "--disable-admission-plugins=ServiceAccount".to_owned(),
        format!("--secure-port={}", port(plane)),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        format!("--service-account-key-file={}", file("sa.pub")),
        format!("--service-account-signing-key-file={}", file("sa.key")),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        format!("--tls-cert-file={}", file("apiserver.crt")),
        format!("--tls-private-key-file={}", file("apiserver.key")),
    ];
    let theirs = items(&wanted["extraArgs"]["apiServer"]);
    flags.extend(
        theirs
            .iter()
            .filter_map(Value::as_str)
            .filter(|flag| !MANAGED.contains(&flag.split('=').next().unwrap_or_default()))
            .map(str::to_owned),
    );
    flags
}

/// A probe of kube-apiserver as Kamaji sets it; thresholds and times can be changed, the path cannot.
fn probe(plane: &Value, kind: &str, path: &str) -> Value {
    let wanted = &plane["spec"]["controlPlane"]["deployment"]["probes"];
    let mut probe = json!({
        "httpGet": {"path": path, "port": port(plane), "scheme": "HTTPS"},
        "periodSeconds": 10, "timeoutSeconds": 1, "failureThreshold": 3, "successThreshold": 1,
    });
    for given in [&wanted[kind], &wanted["apiServer"][kind]] {
        for (field, value) in given.as_object().into_iter().flatten() {
            probe[field.as_str()] = value.clone();
        }
    }
    probe
}

/// The port of the API server.
pub(super) fn port(plane: &Value) -> u16 {
    let port = plane["spec"]["networkProfile"]["port"].as_u64();
    port.and_then(|port| u16::try_from(port).ok())
        .unwrap_or(6443)
}

pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub(super) fn items(list: &Value) -> Vec<Value> {
    list.as_array().cloned().unwrap_or_default()
}

fn merged(base: &Value, more: &Value) -> Value {
    let mut merged = base.clone();
    for (name, value) in more.as_object().into_iter().flatten() {
        if merged.get(name).is_none() {
            merged[name.as_str()] = value.clone();
        }
    }
    merged
}
