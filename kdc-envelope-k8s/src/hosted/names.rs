//! What the objects of a cluster are called.

/// The names that belong to one KdcCluster, all in its namespace.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "a name is all there is to it")]
pub struct Names<'n> {
    /// Name of the KdcCluster.
    pub cluster: &'n str,
}

impl Names<'_> {
    /// The KMSKey that is made if the spec names none.
    #[must_use]
    pub fn key(self) -> String {
        format!("{}-etcd", self.cluster)
    }

    /// The ServiceAccount of the API servers' pods, by which their plugins log in.
    #[must_use]
    pub fn service_account(self) -> String {
        format!("{}-kms-plugin", self.cluster)
    }

    /// The Secret with the configuration of the API servers.
    #[must_use]
    pub fn config_secret(self) -> String {
        format!("{}-encryption-config", self.cluster)
    }

    /// The Secret with earlier configurations.
    #[must_use]
    pub fn history_secret(self) -> String {
        format!("{}-encryption-history", self.cluster)
    }

    /// The Secret with the state of changes.
    #[must_use]
    pub fn state_secret(self) -> String {
        format!("{}-encryption-state", self.cluster)
    }

    /// The role of OpenBao's Kubernetes auth method, and its policy.
    #[must_use]
    pub fn role(self) -> String {
        format!("tcp-{}", self.cluster)
    }

    /// The object that describes the control plane, where the platform appends `suffix` to the name of a cluster.
    #[must_use]
    pub fn control_plane(self, suffix: &str) -> String {
        format!("{}{suffix}", self.cluster)
    }
}
