//! What the plugins of a cluster may do in OpenBao. Pure: no clock, no calls.
//!
//! A cluster has one policy and one role of one name. Both are per organization, so clusters of one name in two of its projects would share
//! them, and each could open what the other wrote: the second one is refused.

use core::time::Duration;

use jiff::Timestamp;

use super::service::{Role, ServiceError};
use super::tenant::KeyPlace;
use super::users::row_key;
use super::{PlaceError, plan::reason_of};
use crate::controller::ObjectKey;
use crate::crd::cluster_names::{AUDIENCE, AUTH_MOUNT};
use crate::crd::kms_key::Purpose;
use crate::crd::{KdcCluster, KmsKey};

/// The type of the condition of a KdcCluster that says whether its plugins may use its key: its policy and its role are in OpenBao.
pub const ACCESS: &str = "OpenBaoAccess";

/// What roles have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct AccessSettings {
    /// The mount of the Kubernetes auth method.
    pub auth_mount: Box<str>,
    /// The audience that tokens of ServiceAccounts must have.
    pub audience: Box<str>,
    /// How long a token of OpenBao is good before it must be renewed.
    pub time_to_live: Duration,
    /// How long renewals can keep it.
    pub max_time_to_live: Duration,
}

impl Default for AccessSettings {
    fn default() -> Self {
        Self {
            auth_mount: AUTH_MOUNT.into(),
            audience: AUDIENCE.into(),
            time_to_live: Duration::from_hours(1),
            max_time_to_live: Duration::from_hours(24),
        }
    }
}

/// Another cluster of the same name in the same organization that wants access too.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Namesake {
    /// Its namespace.
    pub namespace: Box<str>,
    /// When it was made, and its uid.
    pub age: Age,
}

/// What tells the older of two objects.
pub type Age = (Option<Timestamp>, Box<str>);

/// All that is known when access is decided about.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct ObservedAccess<'o> {
    /// The cluster.
    pub cluster: &'o KdcCluster,
    /// The KMSKey of its rows, if there is one.
    pub key: Option<&'o KmsKey>,
    /// Where that key is.
    pub place: &'o Result<KeyPlace, PlaceError>,
    /// Other clusters of its name.
    pub namesakes: &'o [Namesake],
    /// If there are namesakes: the namespaces that the role of the name is bound to.
    pub role: Option<&'o Result<Option<Vec<String>>, ServiceError>>,
}

/// What is to be done about the access of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the reconciler does each")]
pub enum Access {
    /// The cluster wants none. What is there is left alone: nothing says that no row needs it any more.
    NotWanted,
    /// Nothing is written.
    Refused {
        /// The reason of the condition.
        reason: &'static str,
        /// Why, and what to do.
        message: String,
    },
    /// OpenBao did not answer.
    Unknown(ServiceError),
    /// Policy and role are to be as follows; the policy has the name of the role.
    Granted {
        /// The key.
        key: KeyPlace,
        /// The role.
        role: Role,
    },
}

/// Whether the plugins of a cluster need access: encryption is wanted, or in use.
#[must_use]
pub fn wants_access(cluster: &KdcCluster) -> bool {
    row_key(cluster).is_some()
}

/// The name of the KMSKey that the plugins of a cluster need. It is the one in use as long as there is one, whatever the spec says by now:
/// without it the rows could not be read.
#[must_use]
pub fn key_of(cluster: &KdcCluster) -> String {
    row_key(cluster).unwrap_or_else(|| cluster.names().key())
}

/// How old a cluster is.
#[must_use]
pub fn age(cluster: &KdcCluster) -> Age {
    let meta = &cluster.metadata;
    let created = meta.creation_timestamp.as_ref().map(|time| time.0);
    (created, meta.uid.as_deref().unwrap_or_default().into())
}

/// Decides about the access of a cluster.
#[must_use]
pub fn access(observed: &ObservedAccess<'_>, settings: &AccessSettings) -> Access {
    let cluster = observed.cluster;
    if !wants_access(cluster) {
        return Access::NotWanted;
    }
    let refused = |reason, message: String| Access::Refused { reason, message };
    let key_name = key_of(cluster);
    let Some(key) = observed.key else {
        let message = format!(
            "there is no KMSKey `{key_name}` in the namespace; create it, or wait until it is made"
        );
        return refused("KeyNotFound", message);
    };
    let is_in_use = cluster.status.encryption.as_ref();
    let is_in_use = is_in_use.is_some_and(|status| status.resolved_key_ref.is_some());
    if !is_in_use && key.spec.purpose() != Ok(Purpose::Etcd) {
        let message = format!(
            "KMSKey `{key_name}` has not the purpose `etcd`; name one that has in spec.encryption.etcd.keyRef"
        );
        return refused("KeyPurpose", message);
    }
    let place = match observed.place {
        Ok(place) => place,
        Err(error) => return refused(reason_of(error), error.to_string()),
    };
    match owner(observed) {
        Ok(None) => {}
        Ok(Some(other)) => {
            let name = cluster.names().role();
            let message = format!(
                "role and policy `{name}` of organization `{}` in OpenBao are those of KdcCluster {other}; give this cluster another name",
                place.namespace
            );
            return refused("RoleNameTaken", message);
        }
        Err(error) => return Access::Unknown(error),
    }
    Access::Granted {
        key: place.clone(),
        role: role(cluster, settings),
    }
}

/// The other cluster whose role it is, if it is not that of this one.
fn owner(observed: &ObservedAccess<'_>) -> Result<Option<ObjectKey>, ServiceError> {
    if observed.namesakes.is_empty() {
        return Ok(None);
    }
    let own = observed
        .cluster
        .metadata
        .namespace
        .as_deref()
        .unwrap_or_default();
    let bound = match observed.role {
        Some(Ok(bound)) => bound.as_deref().unwrap_or_default(),
        Some(Err(error)) => return Err(error.clone()),
        None => &[],
    };
    let is_bound = |namespace: &str| bound.iter().any(|bound| bound == namespace);
    let cluster_of =
        |namesake: &Namesake| ObjectKey::new(&*namesake.namespace, observed.cluster.name());
    // Who has it already keeps it, however old others are: its rows depend on it.
    if let Some(bound) = observed
        .namesakes
        .iter()
        .find(|other| is_bound(&other.namespace))
    {
        return Ok((!is_bound(own) || is_older(bound, observed.cluster)).then(|| cluster_of(bound)));
    }
    if is_bound(own) {
        return Ok(None);
    }
    let oldest = observed
        .namesakes
        .iter()
        .min_by(|one, other| one.age.cmp(&other.age));
    Ok(oldest
        .filter(|oldest| is_older(oldest, observed.cluster))
        .map(cluster_of))
}

fn is_older(namesake: &Namesake, cluster: &KdcCluster) -> bool {
    namesake.age < age(cluster)
}

fn role(cluster: &KdcCluster, settings: &AccessSettings) -> Role {
    let names = cluster.names();
    Role {
        mount: settings.auth_mount.clone(),
        name: names.role().into(),
        namespace: cluster
            .metadata
            .namespace
            .as_deref()
            .unwrap_or_default()
            .into(),
        service_account: names.service_account().into(),
        audience: settings.audience.clone(),
        time_to_live: settings.time_to_live,
        max_time_to_live: settings.max_time_to_live,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::service::ServiceErrorKind;
    use crate::keys::tenant::TenantError;
    use serde_json::{Value, json};

    fn cluster(namespace: &str, created: i64, etcd: Value, status: Value) -> KdcCluster {
        let created = Timestamp::from_second(created).unwrap();
        serde_json::from_value(json!({
            "metadata": {"name": "prod", "namespace": namespace, "uid": namespace, "creationTimestamp": created},
            "spec": {"encryption": {"etcd": etcd}}, "status": status,
        }))
        .unwrap()
    }

    fn key(purpose: &str) -> KmsKey {
        serde_json::from_value(
            json!({"metadata": {"name": "prod-etcd"}, "spec": {"purpose": purpose}}),
        )
        .unwrap()
    }

    fn place() -> Result<KeyPlace, PlaceError> {
        Ok(KeyPlace::new("acme", "transit", "acme-docs-prod-etcd"))
    }

    fn decided(cluster: &KdcCluster, key: Option<&KmsKey>) -> Access {
        let observed = ObservedAccess {
            cluster,
            key,
            place: &place(),
            namesakes: &[],
            role: None,
        };
        access(&observed, &AccessSettings::default())
    }

    fn reason(access: Access) -> &'static str {
        match access {
            Access::Refused { reason, .. } => reason,
            _ => "",
        }
    }

    /// As seen by a cluster in `acme-b` that was made at 20, beside one in `acme-a`.
    fn beside(other: i64, role: Result<Option<Vec<String>>, ServiceError>) -> Access {
        let own = cluster("acme-b", 20, json!({"enabled": true}), json!({}));
        let namesake = Namesake {
            namespace: "acme-a".into(),
            age: (Timestamp::from_second(other).ok(), "acme-a".into()),
        };
        let observed = ObservedAccess {
            cluster: &own,
            key: Some(&key("etcd")),
            place: &place(),
            namesakes: &[namesake],
            role: Some(&role),
        };
        access(&observed, &AccessSettings::default())
    }

    #[test]
    fn the_role_is_bound_to_the_service_account_and_the_namespace_of_the_project() {
        let own = cluster("acme-docs", 20, json!({"enabled": true}), json!({}));
        let Access::Granted { key, role } = decided(&own, Some(&key("etcd"))) else {
            panic!("not granted")
        };
        assert_eq!(key.to_string(), "acme/transit/keys/acme-docs-prod-etcd");
        let fields = [
            &role.mount,
            &role.name,
            &role.namespace,
            &role.service_account,
            &role.audience,
        ];
        let fields: Vec<&str> = fields.into_iter().map(|field| &**field).collect();
        assert_eq!(
            fields,
            [
                "k8s-host",
                "tcp-prod",
                "acme-docs",
                "prod-kms-plugin",
                "openbao"
            ]
        );
        assert!(!role.time_to_live.is_zero() && role.time_to_live <= role.max_time_to_live);
    }

    #[test]
    fn a_cluster_that_was_never_encrypted_gets_nothing() {
        let off = cluster("acme-docs", 20, json!({"enabled": false}), json!({}));
        assert_eq!(decided(&off, Some(&key("etcd"))), Access::NotWanted);
    }

    #[test]
    fn access_to_the_key_in_use_stays_whatever_the_spec_says() {
        let status = json!({"encryption": {"resolvedKeyRef": "old"}});
        for etcd in [
            json!({"enabled": false}),
            json!({"enabled": true, "keyRef": "new"}),
        ] {
            let cluster = cluster("acme-docs", 20, etcd, status.clone());
            assert_eq!(key_of(&cluster), "old");
            assert!(wants_access(&cluster));
        }
    }

    #[test]
    fn a_key_that_is_missing_or_of_another_purpose_is_refused() {
        let own = cluster("acme-docs", 20, json!({"enabled": true}), json!({}));
        assert_eq!(reason(decided(&own, None)), "KeyNotFound");
        assert_eq!(
            reason(decided(&own, Some(&key("application")))),
            "KeyPurpose"
        );
        let unassigned = TenantError::Unassigned {
            namespace: "x".into(),
            organization: "o".into(),
            project: "p".into(),
        };
        let observed = ObservedAccess {
            cluster: &own,
            key: Some(&key("etcd")),
            place: &Err(unassigned.into()),
            namesakes: &[],
            role: None,
        };
        let decided = access(&observed, &AccessSettings::default());
        assert_eq!(reason(decided), "NamespaceUnassigned");
    }

    #[test]
    fn two_clusters_of_one_name_in_one_organization_do_not_share_a_role() {
        assert_eq!(
            reason(beside(10, Ok(None))),
            "RoleNameTaken",
            "the older one has it"
        );
        assert!(matches!(beside(30, Ok(None)), Access::Granted { .. }));
        let elsewhere = Ok(Some(vec!["gone".to_owned()]));
        assert_eq!(reason(beside(10, elsewhere)), "RoleNameTaken");
    }

    #[test]
    fn the_cluster_that_has_the_role_keeps_it_however_old_the_other_is() {
        let bound = |namespace: &str| Ok(Some(vec![namespace.to_owned()]));
        assert!(matches!(
            beside(10, bound("acme-b")),
            Access::Granted { .. }
        ));
        assert_eq!(reason(beside(30, bound("acme-a"))), "RoleNameTaken");
        let both = || Ok(Some(vec!["acme-a".to_owned(), "acme-b".to_owned()]));
        assert_eq!(reason(beside(10, both())), "RoleNameTaken");
        assert!(matches!(beside(30, both()), Access::Granted { .. }));
    }

    #[test]
    fn a_role_that_cannot_be_read_is_not_taken_from_anyone() {
        let error = ServiceError {
            kind: ServiceErrorKind::Unavailable,
            message: "no answer".into(),
        };
        assert_eq!(beside(30, Err(error.clone())), Access::Unknown(error));
    }
}
