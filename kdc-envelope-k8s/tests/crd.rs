//! Types and definitions of custom resources against the published ones.
//!
//! The files in `tests/crds` say what the published definitions have: names, columns, and each field with its type and limits.
#![cfg(feature = "crd")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what reads definitions is part of the tests"
)]

use std::collections::BTreeMap;

use kdc_envelope_k8s::crd::kamaji::{DataStore, TenantControlPlane};
use kdc_envelope_k8s::crd::{KDC_CLUSTERS, KMS_KEYS, KdcCluster, KmsKey};
use kube::Resource;
use serde_json::{Map, Value, json};

/// A definition in the lines of `tests/crds`.
fn facts(yaml: &str) -> Vec<String> {
    let definition: Value = serde_saphyr::from_str(yaml).unwrap();
    let spec = &definition["spec"];
    let (names, version) = (&spec["names"], &spec["versions"][0]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines = vec![
        format!("name {}", text(&definition["metadata"]["name"])),
        format!("kind {}", text(&names["kind"])),
        format!("list-kind {}", text(&names["listKind"])),
        format!("plural {}", text(&names["plural"])),
        format!("singular {}", text(&names["singular"])),
        format!("short-names {}", joined(&names["shortNames"])),
        format!("scope {}", text(&spec["scope"])),
        format!("version {}", text(&version["name"])),
        format!(
            "status-subresource {}",
            version["subresources"]["status"].is_object()
        ),
    ];
    for column in version["additionalPrinterColumns"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let (name, kind) = (text(&column["name"]), text(&column["type"]));
        let (path, priority) = (text(&column["jsonPath"]), column["priority"].as_i64());
        let priority = priority.unwrap_or_default();
        lines.push(format!("column {name} {kind} {path} priority={priority}"));
    }
    let schema = &version["schema"]["openAPIV3Schema"];
    for name in ["spec", "status"] {
        flatten(&schema["properties"][name], name, &mut lines);
    }
    lines
}

fn flatten(schema: &Value, path: &str, lines: &mut Vec<String>) {
    let mut line = format!("{path} {}", schema["type"].as_str().unwrap_or("any"));
    let limits = [
        "format",
        "pattern",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "x-kubernetes-list-type",
    ];
    for limit in limits {
        match &schema[limit] {
            Value::Null => {}
            Value::String(text) => line += &format!(" {limit}={text}"),
            value => line += &format!(" {limit}={value}"),
        }
    }
    if schema["enum"].is_array() {
        line += &format!(" enum={}", joined(&schema["enum"]));
    }
    if !schema["default"].is_null() {
        line += &format!(" default={}", schema["default"]);
    }
    if schema["required"].is_array() {
        line += &format!(" required={}", joined(&sorted(&schema["required"])));
    }
    lines.push(line);
    let properties: BTreeMap<_, _> = schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .collect();
    for (name, schema) in properties {
        flatten(schema, &format!("{path}.{name}"), lines);
    }
    if schema["items"].is_object() {
        flatten(&schema["items"], &format!("{path}[]"), lines);
    }
}

fn sorted(list: &Value) -> Value {
    let mut all = list.as_array().cloned().unwrap_or_default();
    all.sort_by_key(|value| value.to_string());
    all.into()
}

fn joined(list: &Value) -> String {
    let texts = list.as_array().into_iter().flatten();
    let texts: Vec<_> = texts
        .map(|value| value.as_str().unwrap_or_default())
        .collect();
    texts.join(",")
}

fn published(name: &str) -> Vec<String> {
    let path = format!("{}/tests/crds/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_definition_of_keys_has_the_published_fields_columns_and_names() {
    assert_eq!(facts(KMS_KEYS.yaml), published("kmskeys"));
}

#[test]
fn the_definition_of_clusters_has_the_published_fields_as_far_as_they_are_ours() {
    assert_eq!(facts(KDC_CLUSTERS.yaml), published("kdcclusters"));
}

#[test]
fn types_name_the_kinds_that_are_published() {
    fn check<K: Resource<DynamicType = ()>>(file: &str) {
        let lines = published(file);
        let (plural, group) = (K::plural(&()), K::group(&()));
        for line in [
            format!("name {plural}.{group}"),
            format!("kind {}", K::kind(&())),
            format!("version {}", K::version(&())),
        ] {
            assert!(lines.contains(&line), "{line} in {file}");
        }
    }
    check::<KmsKey>("kmskeys");
    check::<KdcCluster>("kdcclusters");
    check::<TenantControlPlane>("tenantcontrolplanes");
    check::<DataStore>("datastores");
}

/// An object with a value of the right type in every field that is published, each value another one.
fn full(file: &str) -> Value {
    let mut object = json!({"metadata": {"name": "n", "namespace": "ns"}});
    let mut number = 0;
    let lines = published(file);
    for line in &lines {
        let mut words = line.split(' ');
        let (path, kind) = (words.next().unwrap(), words.next().unwrap_or_default());
        if !path.starts_with("spec") && !path.starts_with("status") || path == "status-subresource"
        {
            continue;
        }
        let rest: Vec<_> = words.collect();
        let is_parent = lines.iter().any(|other| {
            other.starts_with(&format!("{path}.")) || other.starts_with(&format!("{path}[]"))
        });
        if is_parent && kind != "string" {
            continue;
        }
        number += 1;
        put(&mut object, path, value(path, kind, &rest, number));
    }
    object
}

fn value(path: &str, kind: &str, rest: &[&str], number: i64) -> Value {
    let listed = rest.iter().find_map(|word| word.strip_prefix("enum="));
    match kind {
        "string" if rest.contains(&"format=date-time") => {
            format!("2026-06-07T00:00:{number:02}Z").into()
        }
        "string" => match listed.and_then(|all| all.split(',').next_back()) {
            Some(last) => last.into(),
            None => format!("text-{number}").into(),
        },
        "boolean" => true.into(),
        "integer" => number.into(),
        "array" => json!([{"name": format!("entry-{number}"), "field": {"of": "others"}}]),
        "object" => json!({format!("name-{number}"): format!("text-{number}")}),
        other => panic!("{other} at {path}"),
    }
}

fn put(object: &mut Value, path: &str, value: Value) {
    let mut place = object;
    for name in path.split('.') {
        let (name, is_list) = match name.strip_suffix("[]") {
            Some(name) => (name, true),
            None => (name, false),
        };
        if place.is_null() {
            *place = Map::new().into();
        }
        place = &mut place[name];
        if is_list {
            if place.is_null() {
                *place = json!([null]);
            }
            place = &mut place[0];
        }
    }
    *place = value;
}

#[test]
fn a_key_with_every_published_field_comes_back_whole() {
    let full = full("kmskeys");
    let key: KmsKey = serde_json::from_value(full.clone()).unwrap();
    assert_eq!(serde_json::to_value(&key).unwrap(), full);
}

#[test]
fn a_cluster_is_read_in_every_published_field_that_is_ours() {
    let full = full("kdcclusters");
    let cluster: KdcCluster = serde_json::from_value(full.clone()).unwrap();
    let (spec, status) = (&full["spec"], &full["status"]);
    let etcd = cluster.spec.encryption.unwrap().etcd.unwrap();
    let wanted = &spec["encryption"]["etcd"];
    let rotation = etcd.kek_rotation.unwrap();
    let read = json!({
        "enabled": etcd.enabled,
        "keyRef": etcd.key_ref,
        "resources": etcd.resources,
        "kekRotation": {"enabled": rotation.enabled, "interval": rotation.interval},
        "backup": {"keyRef": etcd.backup.unwrap().key_ref},
        "disableRequested": etcd.disable_requested,
    });
    assert_eq!(read, *wanted);
    let backup = cluster.spec.backup.unwrap();
    let read = json!({"enabled": backup.enabled, "retentionDays": backup.retention_days});
    assert_eq!(read, spec["backup"]);
    // What is written is what was read, so no field of it is lost or renamed.
    let encryption = cluster.status.encryption.unwrap();
    assert_eq!(
        serde_json::to_value(encryption).unwrap(),
        status["encryption"]
    );
    assert_eq!(
        serde_json::to_value(cluster.status.conditions).unwrap(),
        status["conditions"]
    );
    assert_eq!(json!(cluster.status.phase), status["phase"]);
}

#[test]
fn control_planes_are_read_in_every_field_that_is_touched() {
    let full = full("tenantcontrolplanes");
    let plane: TenantControlPlane = serde_json::from_value(full.clone()).unwrap();
    let (spec, status) = (plane.spec, plane.status);
    let deployment = spec.control_plane.deployment;
    let read = json!({
        "replicas": deployment.replicas,
        "serviceAccountName": deployment.service_account_name,
        "automountServiceAccountToken": deployment.automount_service_account_token,
        "podAdditionalMetadata": {
            "labels": deployment.pod_additional_metadata.labels,
            "annotations": deployment.pod_additional_metadata.annotations,
        },
        "additionalVolumes": deployment.additional_volumes,
        "additionalVolumeMounts": {"apiServer": deployment.additional_volume_mounts.api_server},
        "additionalInitContainers": deployment.additional_init_containers,
        "additionalContainers": deployment.additional_containers,
        "extraArgs": {"apiServer": deployment.extra_args.api_server},
        "probes": deployment.probes,
        "podSecurityContext": deployment.pod_security_context,
    });
    assert_eq!(read, full["spec"]["controlPlane"]["deployment"]);
    let overridden = &spec.data_store_overrides[0];
    let read = json!({
        "controlPlane": full["spec"]["controlPlane"],
        "dataStore": spec.data_store,
        "dataStoreOverrides": [{"resource": overridden.resource, "dataStore": overridden.data_store}],
        "kubernetes": {"version": spec.kubernetes.version},
        "networkProfile": {"port": spec.network_profile.port},
        "writePermissions": {
            "blockCreation": spec.write_permissions.block_creation,
            "blockUpdate": spec.write_permissions.block_update,
            "blockDeletion": spec.write_permissions.block_deletion,
        },
    });
    assert_eq!(read, full["spec"]);
    let (resources, storage) = (status.kubernetes_resources, status.storage);
    let read = json!({
        "observedGeneration": status.observed_generation,
        "controlPlaneEndpoint": status.control_plane_endpoint,
        "kubernetesResources": {
            "version": {"version": resources.version.version, "status": resources.version.status},
            "deployment": {
                "name": resources.deployment.name,
                "namespace": resources.deployment.namespace,
                "selector": resources.deployment.selector,
                "replicas": resources.deployment.replicas,
                "updatedReplicas": resources.deployment.updated_replicas,
                "readyReplicas": resources.deployment.ready_replicas,
            },
        },
        "storage": {
            "driver": storage.driver,
            "dataStoreName": storage.data_store_name,
            "setup": {"schema": storage.setup.schema, "user": storage.setup.user},
            "config": {"secretName": storage.config.secret_name},
            "certificate": {"secretName": storage.certificate.secret_name},
        },
        "kubeconfig": {"admin": {"secretName": status.kubeconfig.admin.secret_name}},
    });
    assert_eq!(read, full["status"]);
}

#[test]
fn data_stores_are_read_in_every_field_that_is_touched() {
    let full = full("datastores");
    let store: DataStore = serde_json::from_value(full.clone()).unwrap();
    let tls = store.spec.tls_config.unwrap();
    let reference = |content: &kdc_envelope_k8s::crd::kamaji::ContentRef| {
        let found = content.secret_reference.as_ref().unwrap();
        json!({"secretReference": {
            "name": found.name, "namespace": found.namespace, "keyPath": found.key_path,
        }})
    };
    let pair = |pair: &kdc_envelope_k8s::crd::kamaji::KeyPair| {
        json!({
            "certificate": reference(&pair.certificate),
            "privateKey": reference(pair.private_key.as_ref().unwrap()),
        })
    };
    let read = json!({
        "driver": store.spec.driver,
        "endpoints": store.spec.endpoints,
        "tlsConfig": {
            "certificateAuthority": pair(&tls.certificate_authority),
            "clientCertificate": pair(&tls.client_certificate.unwrap()),
        },
    });
    assert_eq!(read, full["spec"]);
    assert_eq!(json!({"usedBy": store.status.used_by}), full["status"]);
}
