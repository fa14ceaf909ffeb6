//! CustomResourceDefinitions, as they are installed.

/// A CustomResourceDefinition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Definition {
    /// Its name, such as `kmskeys.security.kube-dc.com`.
    pub name: &'static str,
    /// All of it, as one YAML document.
    pub yaml: &'static str,
}

/// That of KMSKeys.
pub const KMS_KEYS: Definition = Definition {
    name: "kmskeys.security.kube-dc.com",
    yaml: include_str!("definitions/kmskeys.yaml"),
};

/// That of KdcClusters, as far as encryption needs them; for clusters without the platform, which brings its own.
pub const KDC_CLUSTERS: Definition = Definition {
    name: "kdcclusters.k8s.kube-dc.com",
    yaml: include_str!("definitions/kdcclusters.yaml"),
};
