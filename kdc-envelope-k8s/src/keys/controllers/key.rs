//! Brings keys nearer to what their KMSKeys say.

use core::time::Duration;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use kube::api::ListParams;
use serde_json::json;
use tokio::time::Instant;

use super::lookup::Lookup;
use super::{Shared, failure, next};
use crate::controller::status::{add_finalizer, remove_finalizer, write_status};
use crate::controller::{
    CallError, ErrorKind, EventKind, Next, ObjectKey, Objects, ReconcileError, Reconciler,
};
use crate::crd::{KdcCluster, KmsKey};
use crate::keys::claim::{Claim, ROTATION_CLAIM};
use crate::keys::plan::{self, FINALIZER, ObservedKey, PlaceError, Plan, Step};
use crate::keys::service::{KeyLook, ServiceError, ServiceErrorKind};
use crate::keys::tenant::KeyPlace;
use crate::keys::users::{KeyUser, users};

/// More steps than any KMSKey needs from nothing to its key.
const MAX_STEPS: usize = 12;
/// How long after the beginning of a claim the rotation may still begin. With the time that a rotation takes at most, it must end well before the
/// claim does.
const CLAIM_FRESH: Duration = Duration::from_secs(20);

/// Set, with the resource version, before a key is destroyed: so that it fails if the KMSKey was changed meanwhile.
const DELETION_BEGAN: &str = "security.kube-dc.com/deletion-began";

/// Reconciles KMSKeys.
pub(super) struct KeyReconciler {
    pub(super) lookup: Lookup,
    pub(super) shared: Arc<Shared>,
}

impl core::fmt::Debug for KeyReconciler {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("KeyReconciler").finish_non_exhaustive()
    }
}

/// What a plan is made from, with the object that it is about.
struct Observation {
    object: Arc<KmsKey>,
    place: Result<KeyPlace, PlaceError>,
    look: Option<Result<KeyLook, ServiceError>>,
    users: Vec<KeyUser>,
}

/// A step that was not done.
enum StepError {
    Call(CallError),
    Service(ServiceError),
}

impl From<CallError> for StepError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<ServiceError> for StepError {
    fn from(error: ServiceError) -> Self {
        Self::Service(error)
    }
}

#[async_trait]
impl Reconciler for KeyReconciler {
    async fn reconcile(&self, key: &ObjectKey, objects: &Objects) -> Result<Next, ReconcileError> {
        let Some(mut object) = self.lookup.keys.get(key) else {
            if let Some(reason) = self.lookup.keys.unreadable(key) {
                let message = format!("KMSKey {key} cannot be read: {reason}");
                return Err(ReconcileError::message(ErrorKind::Invalid, message));
            }
            return Ok(Next::OnChange);
        };
        for _ in 0..MAX_STEPS {
            let clusters = self.lookup.clusters.list().collect();
            let seen = self.observe(object, clusters).await;
            let plan = plan::plan(&self.observed(&seen), (self.shared.clock)());
            let Some(step) = plan.step.clone() else {
                return self.settle(objects, &seen, plan).await;
            };
            match self.apply(objects, &seen, &step).await {
                Ok(()) => {}
                Err(StepError::Call(error)) => return Err(error.into()),
                Err(StepError::Service(error)) => {
                    let now = (self.shared.clock)();
                    let plan = plan::failed(&self.observed(&seen), &error, now);
                    return self.settle(objects, &seen, plan).await;
                }
            }
            // Read anew and not from the watch, which may not have seen the step.
            object = match objects.get(key).await? {
                Some(object) => Arc::new(object),
                None => return Ok(Next::OnChange),
            };
        }
        let message = format!("KMSKey {key} did not come to rest within {MAX_STEPS} steps");
        Err(ReconcileError::message(ErrorKind::Internal, message))
    }
}

impl KeyReconciler {
    async fn observe(&self, object: Arc<KmsKey>, clusters: Vec<Arc<KdcCluster>>) -> Observation {
        let place = self.lookup.place(&self.shared.settings, &object);
        let look = match &place {
            Ok(place) => Some(self.shared.service.look(place).await),
            Err(_) => None,
        };
        let own = ObjectKey::of(&*object);
        let beside = clusters.iter().map(|cluster| &**cluster);
        let beside =
            beside.filter(|cluster| cluster.metadata.namespace.as_deref() == Some(&*own.namespace));
        let users = users(&own.name, beside);
        Observation {
            object,
            place,
            look,
            users,
        }
    }

    fn observed<'o>(&self, seen: &'o Observation) -> ObservedKey<'o> {
        ObservedKey {
            key: &seen.object,
            place: &seen.place,
            look: seen.look.as_ref(),
            users: &seen.users,
            snapshots: self.shared.settings.snapshots,
        }
    }

    /// Writes the status, and tells what is new in it.
    async fn settle(
        &self,
        objects: &Objects,
        seen: &Observation,
        plan: Plan,
    ) -> Result<Next, ReconcileError> {
        let object = &seen.object;
        let is_new =
            write_status::<KmsKey>(objects, &object.metadata, &object.status, &plan.status).await?;
        if is_new {
            for notice in &plan.notices {
                let reason = (notice.reason, "Plan");
                let recorder = &self.shared.recorder;
                recorder
                    .record(objects, &**object, notice.kind, reason, &notice.message)
                    .await;
            }
        }
        if let Some(error) = &plan.failure {
            return Err(failure(error));
        }
        let (interval, now) = (self.shared.settings.interval, (self.shared.clock)());
        Ok(next(
            interval,
            object.metadata.uid.as_deref(),
            plan.again,
            now,
        ))
    }

    async fn apply(
        &self,
        objects: &Objects,
        seen: &Observation,
        step: &Step,
    ) -> Result<(), StepError> {
        let (service, object) = (&self.shared.service, &*seen.object);
        let meta = &object.metadata;
        match step {
            Step::AddFinalizer => {
                add_finalizer::<KmsKey>(objects, meta, FINALIZER).await?;
                return Ok(());
            }
            Step::RemoveFinalizer => {
                remove_finalizer::<KmsKey>(objects, meta, FINALIZER).await?;
                return Ok(());
            }
            Step::ReleaseClaim => return Ok(write_claim(objects, object, None).await?),
            _ => {}
        }
        let Ok(place) = &seen.place else {
            return Ok(());
        };
        let (kind, reason, note) = match step {
            Step::CreateNamespace => {
                service.create_namespace(&place.namespace).await?;
                let note = format!("made the namespace `{}` in OpenBao", place.namespace);
                (EventKind::Normal, "NamespaceCreated", note)
            }
            Step::CreateMount => {
                service.create_mount(&place.namespace, &place.mount).await?;
                let note = format!(
                    "mounted a Transit engine at {}/{}",
                    place.namespace, place.mount
                );
                (EventKind::Normal, "TransitMounted", note)
            }
            Step::CreateKey(algorithm) => {
                service.create_key(place, *algorithm).await?;
                (
                    EventKind::Normal,
                    "KeyCreated",
                    format!("made the key {place}"),
                )
            }
            Step::ProtectKey(drift) => {
                service.protect_key(place).await?;
                let note = format!(
                    "{} of the key {place} had been changed, and was set back",
                    drift.join(", ")
                );
                (EventKind::Warning, "KeyRepaired", note)
            }
            Step::Rotate { from } => {
                let note = self.rotate(objects, object, place, *from).await?;
                (EventKind::Normal, "KeyRotated", note)
            }
            Step::DeleteKey => {
                self.delete(objects, object, place).await?;
                let note = format!("deleted the key {place} at the end of its countdown");
                (EventKind::Warning, "KeyDeleted", note)
            }
            Step::AddFinalizer | Step::RemoveFinalizer | Step::ReleaseClaim => return Ok(()),
        };
        tracing::info!(key = %place, reason, "{note}");
        self.shared
            .recorder
            .record(objects, object, kind, (reason, "Apply"), &note)
            .await;
        Ok(())
    }

    /// Rotates, unless another process does: the claim is written only if the object is as it was when the rotation was planned.
    async fn rotate(
        &self,
        objects: &Objects,
        object: &KmsKey,
        place: &KeyPlace,
        from: u32,
    ) -> Result<String, StepError> {
        let began = Instant::now();
        let claim = Claim::new(from, (self.shared.clock)());
        let claimed = write_claim_on(objects, object, Some(claim)).await?;
        // A process that was stopped in between may have lost its claim since.
        if began.elapsed() > CLAIM_FRESH {
            return Err(StepError::Service(ServiceError {
                kind: ServiceErrorKind::Unavailable,
                message:
                    "the rotation was not begun, as claiming it took too long; it is tried again"
                        .into(),
            }));
        }
        match self.shared.service.rotate_key(place, from).await {
            Ok(rotated) => {
                write_claim(objects, &claimed, None).await?;
                Ok(format!(
                    "rotated the key {place} from version {from} to {}",
                    rotated.latest_version
                ))
            }
            Err(error) if error.kind == ServiceErrorKind::Unverified => {
                write_claim(objects, &claimed, Some(claim.unverified())).await?;
                tracing::error!(key = %place, "{error}");
                Err(error.into())
            }
            // Nothing happened, so that the claim is not needed.
            Err(error) => {
                write_claim(objects, &claimed, None).await?;
                Err(error.into())
            }
        }
    }

    /// Destroys the key, if the newest state of everything still says so.
    async fn delete(
        &self,
        objects: &Objects,
        object: &KmsKey,
        place: &KeyPlace,
    ) -> Result<(), StepError> {
        let own = ObjectKey::of(object);
        let clusters: Vec<KdcCluster> = objects
            .list(Some(&own.namespace), &ListParams::default())
            .await?;
        let Some(fresh) = objects.get::<KmsKey>(&own).await? else {
            return Ok(());
        };
        let clusters = clusters.into_iter().map(Arc::new).collect();
        let seen = self.observe(Arc::new(fresh), clusters).await;
        let now: Timestamp = (self.shared.clock)();
        if plan::plan(&self.observed(&seen), now).step != Some(Step::DeleteKey) {
            return Ok(());
        }
        let meta = &seen.object.metadata;
        let patch = json!({"metadata": {
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
            "annotations": {DELETION_BEGAN: now.to_string()},
        }});
        objects.patch::<KmsKey>(&own, &patch).await?;
        Ok(self.shared.service.delete_key(place).await?)
    }
}

async fn write_claim(
    objects: &Objects,
    object: &KmsKey,
    claim: Option<Claim>,
) -> Result<(), CallError> {
    write_claim_on(objects, object, claim).await.map(drop)
}

/// Writes or takes away the claim, if the object is still in the version that was seen.
async fn write_claim_on(
    objects: &Objects,
    object: &KmsKey,
    claim: Option<Claim>,
) -> Result<KmsKey, CallError> {
    let meta = &object.metadata;
    let patch = json!({"metadata": {
        "uid": meta.uid,
        "resourceVersion": meta.resource_version,
        "annotations": {ROTATION_CLAIM: claim.map(|claim| claim.to_string())},
    }});
    objects.patch(&ObjectKey::of(object), &patch).await
}
