//! The CustomResourceDefinitions of a management cluster.
//!
//! Those of KMSKey and KdcCluster are the product's own. Kamaji's are large; these have the fields that a control plane of the
//! [`TenantRunner`](super::TenantRunner) obeys, with the types, defaults and rules of Kamaji's, and prune all others as Kamaji's do.
//! The insides of containers and volumes are kept whole, as Kamaji's schema has all of them.

use serde_json::{Value, json};

const KMS_KEYS: &str = include_str!("../../../kdc-envelope-k8s/src/crd/definitions/kmskeys.yaml");
const KDC_CLUSTERS: &str =
    include_str!("../../../kdc-envelope-k8s/src/crd/definitions/kdcclusters.yaml");

/// All of them.
pub(super) fn all() -> Result<Vec<Value>, crate::Error> {
    let ours = [KMS_KEYS, KDC_CLUSTERS].map(|yaml| {
        serde_saphyr::from_str(yaml).map_err(|error| crate::Error::Unexpected {
            name: "a CustomResourceDefinition",
            detail: error.to_string(),
        })
    });
    let mut all = ours.into_iter().collect::<Result<Vec<Value>, _>>()?;
    all.extend([tenant_control_plane(), kamaji_control_plane(), data_store()]);
    Ok(all)
}

fn tenant_control_plane() -> Value {
    let immutable = |field: &str| {
        json!({"type": "string", "x-kubernetes-validations": [{
            "rule": "self == oldSelf", "message": format!("changing the {field} is not supported"),
        }]})
    };
    let spec = object(
        &["controlPlane", "kubernetes"],
        json!({
            "controlPlane": object(&["service"], json!({
                "deployment": deployment(),
                "service": object(&["serviceType"], json!({
                    "serviceType": {"type": "string", "enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
                    "additionalMetadata": anything(),
                })),
            })),
            "dataStore": {"type": "string"},
            "dataStoreSchema": immutable("dataStoreSchema"),
            "dataStoreUsername": immutable("dataStoreUsername"),
            "dataStoreOverrides": list(&object(&[], json!({
                "resource": {"type": "string"}, "dataStore": {"type": "string"},
            }))),
            "kubernetes": object(&["kubelet", "version"], json!({
                "version": {"type": "string"},
                "kubelet": anything(),
                "admissionControllers": {"type": "array", "items": {"type": "string"}},
            })),
            "networkProfile": object(&[], json!({
                "address": {"type": "string"},
                "port": {"type": "integer", "format": "int32", "default": 6443},
                "certSANs": {"type": "array", "items": {"type": "string"}},
            })),
            "writePermissions": object(&[], json!({
                "blockCreation": {"type": "boolean"},
                "blockUpdate": {"type": "boolean"},
                "blockDeletion": {"type": "boolean"},
            })),
        }),
    );
    definition(
        ("kamaji.clastix.io", "v1alpha1", "Namespaced"),
        ("TenantControlPlane", "tenantcontrolplanes"),
        &["tcp"],
        &spec,
        Some(json!({
            "specReplicasPath": ".spec.controlPlane.deployment.replicas",
            "statusReplicasPath": ".status.kubernetesResources.deployment.replicas",
        })),
    )
}

fn deployment() -> Value {
    let servers = |item: &Value| {
        object(
            &[],
            json!({"apiServer": list(item), "controllerManager": list(item), "scheduler": list(item)}),
        )
    };
    let flags = {
        let flag = list(&json!({"type": "string"}));
        object(
            &[],
            json!({"apiServer": flag, "controllerManager": flag, "scheduler": flag, "kine": flag}),
        )
    };
    let mut deployment = object(
        &[],
        json!({
            "replicas": {"type": "integer", "format": "int32", "default": 2},
            "serviceAccountName": {"type": "string", "default": "default"},
            "automountServiceAccountToken": {"type": "boolean"},
            "podAdditionalMetadata": metadata(),
            "additionalMetadata": metadata(),
            "podSecurityContext": anything(),
            "containerSecurityContexts": anything(),
            "probes": anything(),
            "strategy": anything(),
            "resources": anything(),
            "registrySettings": anything(),
            "nodeSelector": {"type": "object", "additionalProperties": {"type": "string"}},
            "tolerations": list(&anything()),
            "affinity": anything(),
            "additionalVolumes": list(&named()),
            "additionalInitContainers": list(&named()),
            "additionalContainers": list(&named()),
            "additionalVolumeMounts": servers(&mount()),
            "extraArgs": flags,
        }),
    );
    // As in Kamaji's, so that the defaults of its fields come without it.
    deployment["default"] = json!({});
    deployment
}

fn kamaji_control_plane() -> Value {
    let spec = object(
        &["version"],
        json!({
            "version": {"type": "string"},
            "replicas": {"type": "integer", "format": "int32", "default": 2},
            "dataStoreName": {"type": "string"},
            "apiServer": object(&[], json!({
                "extraArgs": list(&json!({"type": "string"})),
                "extraVolumeMounts": list(&mount()),
            })),
            "deployment": object(&[], json!({
                "serviceAccountName": {"type": "string"},
                "podAdditionalMetadata": metadata(),
                "extraInitContainers": list(&named()),
                "extraContainers": list(&named()),
                "extraVolumes": list(&named()),
            })),
            "network": anything(),
            "kubelet": anything(),
        }),
    );
    definition(
        ("controlplane.cluster.x-k8s.io", "v1alpha2", "Namespaced"),
        ("KamajiControlPlane", "kamajicontrolplanes"),
        &["ktcp"],
        &spec,
        None,
    )
}

fn data_store() -> Value {
    let spec = object(
        &["driver", "endpoints"],
        json!({
            "driver": {"type": "string", "enum": ["etcd", "MySQL", "PostgreSQL", "NATS"], "x-kubernetes-validations": [
                {"rule": "self == oldSelf", "message": "Datastore driver is immutable"},
            ]},
            "endpoints": {"type": "array", "items": {"type": "string"}, "minItems": 1},
            "basicAuth": anything(),
            "tlsConfig": anything(),
        }),
    );
    definition(
        ("kamaji.clastix.io", "v1alpha1", "Cluster"),
        ("DataStore", "datastores"),
        &[],
        &spec,
        None,
    )
}

fn definition(
    (group, version, scope): (&str, &str, &str),
    (kind, plural): (&str, &str),
    short: &[&str],
    spec: &Value,
    scale: Option<Value>,
) -> Value {
    let mut subresources = json!({"status": {}});
    if let Some(scale) = scale {
        subresources["scale"] = scale;
    }
    let schema = json!({"type": "object", "properties": {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        "spec": spec,
        "status": anything(),
    }});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {
                "kind": kind, "listKind": format!("{kind}List"), "plural": plural,
                "singular": kind.to_lowercase(), "shortNames": short,
            },
            "versions": [{
                "name": version, "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema}, "subresources": subresources,
            }],
        },
    })
}

/// An object with these fields alone.
fn object(required: &[&str], properties: Value) -> Value {
    let mut object = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

fn anything() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// A list without merge keys: one value to server-side apply, as each of Kamaji's.
fn list(items: &Value) -> Value {
    json!({"type": "array", "items": items})
}

fn named() -> Value {
    json!({
        "type": "object", "required": ["name"], "x-kubernetes-preserve-unknown-fields": true,
        "properties": {"name": {"type": "string"}},
    })
}

fn mount() -> Value {
    object(
        &["mountPath", "name"],
        json!({
            "name": {"type": "string"},
            "mountPath": {"type": "string"},
            "mountPropagation": {"type": "string"},
            "readOnly": {"type": "boolean"},
            "recursiveReadOnly": {"type": "string"},
            "subPath": {"type": "string"},
            "subPathExpr": {"type": "string"},
        }),
    )
}

fn metadata() -> Value {
    let strings = json!({"type": "object", "additionalProperties": {"type": "string"}});
    object(&[], json!({"labels": strings, "annotations": strings}))
}
