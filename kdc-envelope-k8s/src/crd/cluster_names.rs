//! What belongs to a cluster is called by its name. Controllers of keys and of control planes find each other's objects by that, so both take it
//! from here.

/// The mount of the Kubernetes auth method by which plugins log in, in the namespace of each organization, unless another one is configured.
pub const AUTH_MOUNT: &str = "k8s-host";
/// The audience of the tokens with which plugins log in, unless another one is configured.
pub const AUDIENCE: &str = "openbao";

/// What the name of a KMSKey ends with that is made for a cluster.
const KEY_SUFFIX: &str = "-etcd";

/// The names that belong to one KdcCluster, all in its namespace.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "a name is all there is to it")]
pub struct ClusterNames<'n> {
    /// Name of the KdcCluster.
    pub cluster: &'n str,
}

impl<'n> ClusterNames<'n> {
    /// Those of the cluster for which a KMSKey of this name would be made, if it is such a name.
    #[must_use]
    pub fn of_key(key: &'n str) -> Option<Self> {
        let cluster = key.strip_suffix(KEY_SUFFIX)?;
        Some(Self { cluster })
    }

    /// The KMSKey that is made if the spec names none.
    #[must_use]
    pub fn key(self) -> String {
        format!("{}{KEY_SUFFIX}", self.cluster)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_of_a_key_is_told_by_its_name() {
        let names = ClusterNames { cluster: "prod" };
        let key = names.key();
        let found = ClusterNames::of_key(&key).map(|names| names.cluster);
        assert_eq!(found, Some("prod"));
        assert!(ClusterNames::of_key("prod").is_none());
    }
}
