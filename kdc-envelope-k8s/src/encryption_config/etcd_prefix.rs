//! Where the rows of a resource lie in etcd.

use super::GroupResource;

/// Groups that kube-apiserver itself serves, so that their resources lie directly under the prefix
/// (`pkg/kubeapiserver/default_storage_factory_builder.go` and the registries in `kubernetes/kubernetes`).
const BUILT_IN: [&str; 20] = [
    "",
    "admissionregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

/// What the etcd keys of `resource` begin with, after kube-apiserver's `--etcd-prefix` and a `/`; always with a `/` at the
/// end. Wildcards have no place of their own.
#[must_use]
pub fn etcd_prefix(resource: &GroupResource) -> String {
    let (name, group) = (resource.resource(), resource.group());
    let special = match (group, name) {
        ("", "nodes") => "minions",
        ("", "services") => "services/specs",
        ("", "endpoints") => "services/endpoints",
        ("", "replicationcontrollers") => "controllers",
        ("networking.k8s.io", "ingresses") => "ingress",
        _ => name,
    };
    match BUILT_IN.contains(&group) {
        true => format!("{special}/"),
        false => format!("{group}/{name}/"),
    }
}
