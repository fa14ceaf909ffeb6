//! Which clusters use a key, and whether it may change under them.

use crate::crd::KdcCluster;
use crate::crd::kdc_cluster::condition;

/// A cluster that uses a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyUser {
    /// The name of the cluster.
    pub cluster: Box<str>,
    /// Why the key must not rotate at present, if so.
    pub holds_rotation: Option<&'static str>,
}

/// The clusters of the namespace of the key that use it, by their spec or by what their status says is in use.
#[must_use]
pub fn users<'c>(key: &str, clusters: impl IntoIterator<Item = &'c KdcCluster>) -> Vec<KeyUser> {
    let user = |cluster: &KdcCluster| {
        let encrypts_rows = encrypts_rows_with(cluster, key);
        (encrypts_rows || encrypts_snapshots_with(cluster, key)).then(|| KeyUser {
            cluster: cluster.name().into(),
            holds_rotation: encrypts_rows.then(|| hindrance(cluster)).flatten(),
        })
    };
    let mut users: Vec<KeyUser> = clusters.into_iter().filter_map(user).collect();
    users.sort_by(|one, other| one.cluster.cmp(&other.cluster));
    users
}

/// The key that the rows of a cluster are encrypted with: the one in use, else the one that is wanted.
pub(super) fn row_key(cluster: &KdcCluster) -> Option<String> {
    let status = cluster.status.encryption.as_ref();
    let in_use = status.and_then(|status| status.resolved_key_ref.clone());
    in_use.or_else(|| wanted_key(cluster))
}

/// The key that the spec asks for, if encryption is wanted.
fn wanted_key(cluster: &KdcCluster) -> Option<String> {
    let etcd = cluster.etcd()?;
    let is_wanted = etcd.enabled || etcd.disable_requested;
    is_wanted.then(|| cluster.key_name())
}

/// All keys that a cluster uses or asks for.
pub(super) fn keys_of(cluster: &KdcCluster) -> Vec<String> {
    let (spec, status) = backup_keys(cluster);
    let backups = [spec, status].into_iter().flatten().map(str::to_owned);
    let rows = [row_key(cluster), wanted_key(cluster)]
        .into_iter()
        .flatten();
    let mut keys: Vec<String> = rows.chain(backups).collect();
    keys.sort();
    keys.dedup();
    keys
}

fn encrypts_rows_with(cluster: &KdcCluster, key: &str) -> bool {
    let is_key = |found: Option<String>| found.as_deref() == Some(key);
    is_key(row_key(cluster)) || is_key(wanted_key(cluster))
}

fn encrypts_snapshots_with(cluster: &KdcCluster, key: &str) -> bool {
    let (wanted, in_use) = backup_keys(cluster);
    wanted == Some(key) || in_use == Some(key)
}

/// The keys of snapshots: the one that the spec names, and the one that the status says is in use.
fn backup_keys(cluster: &KdcCluster) -> (Option<&str>, Option<&str>) {
    let backup = cluster.etcd().and_then(|etcd| etcd.backup.as_ref());
    let wanted = backup.and_then(|backup| backup.key_ref.as_deref());
    let status = cluster.status.encryption.as_ref();
    let in_use = status.and_then(|status| status.resolved_backup_key_ref.as_deref());
    (wanted, in_use)
}

/// Why the key of the rows of a cluster must not rotate now. What the cluster does not say is a reason.
fn hindrance(cluster: &KdcCluster) -> Option<&'static str> {
    let status = cluster.status.encryption.as_ref();
    let is_rewriting = status.and_then(|status| status.rewrap_in_progress) == Some(true);
    if is_rewriting
        || cluster
            .status
            .conditions
            .is_true(condition::ROTATION_IN_PROGRESS)
    {
        return Some("the last rotation has not reached all of its rows");
    }
    match status.and_then(|status| status.kms_plugin_ready) {
        Some(true) => None,
        Some(false) => Some("a plugin of its API servers is not ready"),
        None => Some("nothing is known of the plugins of its API servers"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn cluster(etcd: Value, status: Value) -> KdcCluster {
        serde_json::from_value(json!({
            "metadata": {"name": "prod", "namespace": "acme-docs"},
            "spec": {"encryption": {"etcd": etcd}},
            "status": status,
        }))
        .unwrap()
    }

    fn uses(key: &str, etcd: Value, status: Value) -> bool {
        !users(key, [&cluster(etcd, status)]).is_empty()
    }

    #[test]
    fn a_cluster_uses_what_its_spec_names_and_what_its_status_says_is_in_use() {
        let none = || json!({});
        assert!(uses("prod-etcd", json!({"enabled": true}), none()));
        assert!(uses("prod-etcd", json!({"disableRequested": true}), none()));
        assert!(!uses("prod-etcd", json!({"enabled": false}), none()));
        assert!(uses("k", json!({"enabled": true, "keyRef": "k"}), none()));
        assert!(!uses(
            "prod-etcd",
            json!({"enabled": true, "keyRef": "k"}),
            none()
        ));
        let backup = json!({"enabled": true, "backup": {"keyRef": "b"}});
        assert!(uses("b", backup, none()));
        for field in ["resolvedKeyRef", "resolvedBackupKeyRef"] {
            let status = json!({"encryption": {field: "old"}});
            assert!(uses("old", json!({"enabled": false}), status), "{field}");
        }
        let moved = json!({"encryption": {"resolvedKeyRef": "old"}});
        let etcd = json!({"enabled": true, "keyRef": "new"});
        assert!(uses("old", etcd.clone(), moved.clone()));
        assert!(uses("new", etcd, moved), "it is about to be");
    }

    #[test]
    fn a_rotation_waits_until_the_last_one_reached_all_rows_and_all_plugins_are_ready() {
        let held = |status: Value| {
            let cluster = cluster(json!({"enabled": true}), json!({"encryption": status}));
            users("prod-etcd", [&cluster]).remove(0).holds_rotation
        };
        assert_eq!(held(json!({"kmsPluginReady": true})), None);
        let rewriting = held(json!({"kmsPluginReady": true, "rewrapInProgress": true}));
        assert!(rewriting.unwrap().contains("last rotation"));
        assert!(
            held(json!({"kmsPluginReady": false}))
                .unwrap()
                .contains("not ready")
        );
        assert!(held(json!({})).unwrap().contains("nothing is known"));
        let backups = json!({"enabled": true, "keyRef": "k", "backup": {"keyRef": "b"}});
        let cluster = cluster(backups, json!({}));
        assert_eq!(users("b", [&cluster])[0].holds_rotation, None);
    }
}
