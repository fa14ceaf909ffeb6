//! The rights that the program needs in the cluster.

use crate::cli::Place;

/// A ClusterRole, a Role for the Lease, and their bindings, in YAML.
#[must_use]
pub fn manifests(place: &Place) -> String {
    TEMPLATE
        .replace("NAMESPACE", &place.namespace)
        .replace("SERVICE_ACCOUNT", &place.service_account)
}

const TEMPLATE: &str = r#"# What kdc-manager may do in the cluster. It reads no Secret and makes no object but Events and its Lease.
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: kdc-manager}
rules:
  # Keys: patch sets the finalizer while a deletion is scheduled, and notes that a rotation began.
  - {apiGroups: [security.kube-dc.com], resources: [kmskeys], verbs: [get, list, watch, patch]}
  - {apiGroups: [security.kube-dc.com], resources: [kmskeys/status], verbs: [patch]}
  # Clusters: who uses a key, and the condition OpenBaoAccess.
  - {apiGroups: [k8s.kube-dc.com], resources: [kdcclusters], verbs: [list, watch]}
  - {apiGroups: [k8s.kube-dc.com], resources: [kdcclusters/status], verbs: [patch]}
  # The labels that name organization and project.
  - {apiGroups: [""], resources: [namespaces], verbs: [list, watch]}
  - {apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: kdc-manager}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: kdc-manager}
subjects:
  - {kind: ServiceAccount, name: SERVICE_ACCOUNT, namespace: NAMESPACE}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: kdc-manager, namespace: NAMESPACE}
rules:
  # The Lease. To create cannot be bound to a name.
  - {apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [kdc-manager], verbs: [get, patch]}
  - {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: kdc-manager, namespace: NAMESPACE}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: kdc-manager}
subjects:
  - {kind: ServiceAccount, name: SERVICE_ACCOUNT, namespace: NAMESPACE}
"#;
