//! Keeps policies and roles of clusters as they should be.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;

use super::lookup::Lookup;
use super::{Shared, failure, next};
use crate::controller::status::write_status;
use crate::controller::{
    ErrorKind, EventKind, Next, ObjectKey, Objects, ReconcileError, Reconciler,
};
use crate::crd::{Condition, ConditionStatus, KdcCluster};
use crate::keys::access::{self, ACCESS, Access, ObservedAccess};
use crate::keys::plan::PlaceError;
use crate::keys::service::{Change, Role, ServiceError, ServiceErrorKind};
use crate::keys::tenant::{KeyPlace, TenantError};

/// Reconciles the access of KdcClusters.
pub(super) struct AccessReconciler {
    pub(super) lookup: Lookup,
    pub(super) shared: Arc<Shared>,
}

impl core::fmt::Debug for AccessReconciler {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("AccessReconciler").finish_non_exhaustive()
    }
}

#[async_trait]
impl Reconciler for AccessReconciler {
    async fn reconcile(&self, key: &ObjectKey, objects: &Objects) -> Result<Next, ReconcileError> {
        let Some(cluster) = self.lookup.clusters.get(key) else {
            if let Some(reason) = self.lookup.clusters.unreadable(key) {
                let message = format!("KdcCluster {key} cannot be read: {reason}");
                return Err(ReconcileError::message(ErrorKind::Invalid, message));
            }
            return Ok(Next::OnChange);
        };
        if cluster.metadata.deletion_timestamp.is_some() {
            return Ok(Next::OnChange);
        }
        match self.decide(&cluster).await {
            Access::NotWanted => {
                self.write(objects, &cluster, None).await?;
                Ok(Next::OnChange)
            }
            Access::Refused { reason, message } => {
                self.refuse(objects, &cluster, reason, &message).await?;
                Ok(self.next(&cluster))
            }
            Access::Unknown(error) => self.fail(objects, &cluster, &error).await,
            Access::Granted { key, role } => match self.grant(objects, &cluster, &key, &role).await
            {
                Ok(()) => {
                    let message = format!("role and policy `{}` grant the key {key}", role.name);
                    let granted = (ConditionStatus::True, "AccessGranted", &*message);
                    self.write(objects, &cluster, Some(granted)).await?;
                    Ok(self.next(&cluster))
                }
                Err(error) => self.fail(objects, &cluster, &error).await,
            },
        }
    }
}

impl AccessReconciler {
    async fn decide(&self, cluster: &KdcCluster) -> Access {
        let settings = &self.shared.settings;
        let own = ObjectKey::of(cluster);
        let key = ObjectKey::new(&*own.namespace, access::key_of(cluster));
        let key = self.lookup.keys.get(&key);
        let place: Result<KeyPlace, PlaceError> = match &key {
            Some(key) => self.lookup.place(settings, key),
            // Not looked at: without a KMSKey there is no access.
            None => Err(PlaceError::Tenant(TenantError::Unassigned {
                namespace: own.namespace.clone(),
                organization: settings.tenancy.organization_label.as_str().into(),
                project: settings.tenancy.project_label.as_str().into(),
            })),
        };
        let namesakes = match access::wants_access(cluster) {
            true => self.lookup.namesakes(settings, cluster),
            false => Vec::new(),
        };
        let role = match &place {
            Ok(place) if !namesakes.is_empty() => {
                let (mount, name) = (&settings.access.auth_mount, cluster.names().role());
                let service = &self.shared.service;
                Some(
                    service
                        .role_namespaces(&place.namespace, mount, &name)
                        .await,
                )
            }
            _ => None,
        };
        let observed = ObservedAccess {
            cluster,
            key: key.as_deref(),
            place: &place,
            namesakes: &namesakes,
            role: role.as_ref(),
        };
        access::access(&observed, &settings.access)
    }

    /// The policy first: a token of a role without its policy could do nothing, and keeps its list of policies.
    async fn grant(
        &self,
        objects: &Objects,
        cluster: &KdcCluster,
        key: &KeyPlace,
        role: &Role,
    ) -> Result<(), ServiceError> {
        let service = &self.shared.service;
        let policy = service.ensure_policy(&role.name, key).await?;
        self.tell(objects, cluster, "policy", &role.name, &policy)
            .await;
        let changed = service.ensure_role(&key.namespace, role).await?;
        self.tell(objects, cluster, "role", &role.name, &changed)
            .await;
        Ok(())
    }

    async fn tell(
        &self,
        objects: &Objects,
        cluster: &KdcCluster,
        what: &str,
        name: &str,
        change: &Change,
    ) {
        let was_granted = cluster.status.conditions.is_true(ACCESS);
        let (kind, reason, note) = match change {
            Change::Unchanged => return,
            Change::Created if was_granted => {
                let note = format!("{what} `{name}` was gone from OpenBao, and was written again");
                (EventKind::Warning, "AccessRepaired", note)
            }
            Change::Created => {
                let note = format!("wrote {what} `{name}` to OpenBao");
                (EventKind::Normal, "AccessGranted", note)
            }
            Change::Repaired { fields } => {
                let fields = fields.join(", ");
                let note = format!(
                    "{what} `{name}` in OpenBao had drifted in {fields}, and was set right"
                );
                (EventKind::Warning, "AccessRepaired", note)
            }
        };
        tracing::info!(cluster = %ObjectKey::of(cluster), reason, "{note}");
        self.shared
            .recorder
            .record(objects, cluster, kind, (reason, "Apply"), &note)
            .await;
    }

    async fn refuse(
        &self,
        objects: &Objects,
        cluster: &KdcCluster,
        reason: &'static str,
        message: &str,
    ) -> Result<(), ReconcileError> {
        let refused = (ConditionStatus::False, reason, message);
        if self.write(objects, cluster, Some(refused)).await? {
            let recorder = &self.shared.recorder;
            recorder
                .record(
                    objects,
                    cluster,
                    EventKind::Warning,
                    (reason, "Plan"),
                    message,
                )
                .await;
        }
        Ok(())
    }

    async fn fail(
        &self,
        objects: &Objects,
        cluster: &KdcCluster,
        error: &ServiceError,
    ) -> Result<Next, ReconcileError> {
        // What an outage says differs from call to call; a status must not.
        let (status, message) = match error.kind {
            ServiceErrorKind::Unavailable => (
                ConditionStatus::Unknown,
                "OpenBao gives no answer; role and policy are as they were",
            ),
            _ => (ConditionStatus::False, &*error.message),
        };
        let condition = (status, error.kind.reason(), message);
        self.write(objects, cluster, Some(condition)).await?;
        Err(failure(error))
    }

    /// Writes the condition, or takes it away, and says whether anything changed.
    async fn write(
        &self,
        objects: &Objects,
        cluster: &KdcCluster,
        condition: Option<(ConditionStatus, &str, &str)>,
    ) -> Result<bool, ReconcileError> {
        let mut conditions = cluster.status.conditions.clone();
        match condition {
            Some((status, reason, message)) => {
                let condition = Condition {
                    kind: ACCESS,
                    status,
                    reason,
                    message,
                };
                conditions.set(
                    &condition,
                    cluster.metadata.generation,
                    (self.shared.clock)(),
                );
            }
            None => conditions.remove(ACCESS),
        }
        if conditions == cluster.status.conditions {
            return Ok(false);
        }
        let seen = json!({"conditions": cluster.status.conditions});
        let wanted = json!({"conditions": conditions});
        Ok(write_status::<KdcCluster>(objects, &cluster.metadata, &seen, &wanted).await?)
    }

    fn next(&self, cluster: &KdcCluster) -> Next {
        let interval = self.shared.settings.interval;
        next(
            interval,
            cluster.metadata.uid.as_deref(),
            None,
            (self.shared.clock)(),
        )
    }
}
