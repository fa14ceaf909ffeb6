//! One step for one cluster: observe, plan, apply, say so.

use core::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource as _;
use kube::api::ObjectMeta;
use serde_json::{Value, json};

use super::advance::{Rows, Runs, begin};
use super::attachment::{CA_FILE, ControlPlaneKind};
use super::goal::Goal;
use super::observe::observe;
use super::plan::{ControlPlaneView, Observed, Step, plan};
use super::pods::CONFIG_HASH;
use super::refused::ConfigError;
use super::settings::Settings;
use super::status::{Status, status};
use super::tenant;
use crate::control_plane::WallClock;
use crate::controller::status::{difference, write_status};
use crate::controller::{
    CallError, ErrorKind, EventKind, Next, ObjectKey, Objects, ReconcileError, Reconciler, Recorder,
};
use crate::crd::kamaji::{KamajiControlPlane, TenantControlPlane};
use crate::crd::kdc_cluster::FORCE_DISABLE;
use crate::crd::{KdcCluster, KmsKey};
use crate::rotation::ConfigHash;

/// After something was done.
const SOON: Duration = Duration::from_millis(100);
/// Between two looks at what is waited for.
const POLL: Duration = Duration::from_secs(2);
/// Between two looks at what only an operator changes.
const REFUSED: Duration = Duration::from_secs(30);
/// Between two looks at a cluster that wants nothing.
const IDLE: Duration = Duration::from_secs(300);

/// Brings encryption to hosted control planes.
#[derive(Debug)]
pub struct HostedReconciler {
    settings: Settings,
    recorder: Recorder,
    clock: WallClock,
    runs: Runs,
}

/// What a step came to.
struct Applied {
    /// The rows, if they were looked at.
    rows: Option<Rows>,
    /// When the next step is due.
    next: Duration,
}

impl Applied {
    const fn after(next: Duration) -> Self {
        Self { rows: None, next }
    }
}

#[async_trait]
impl Reconciler for HostedReconciler {
    async fn reconcile(&self, key: &ObjectKey, objects: &Objects) -> Result<Next, ReconcileError> {
        let Some(cluster) = objects.get::<KdcCluster>(key).await? else {
            return Ok(Next::OnChange);
        };
        let uid = cluster.metadata.uid.clone().unwrap_or_default();
        let is_leaving = cluster.metadata.deletion_timestamp.is_some();
        let is_untouched = Goal::of(&cluster) == Goal::Off && cluster.status.encryption.is_none();
        if is_leaving || is_untouched {
            self.runs.forget(&uid).await;
            return Ok(Next::OnChange);
        }
        let now = self.now()?;
        let observed = observe(objects, &self.settings, cluster, now).await?;
        let mut step = plan(&observed, &self.settings);
        self.audit(objects, &observed, &step).await;
        let applied = match self.apply(objects, &observed, &step).await {
            Err(error) if error.kind() == ErrorKind::Rejected => {
                step = Step::Refuse(vec![rejected(&observed, &error)]);
                Applied::after(REFUSED)
            }
            applied => applied?,
        };
        self.say(objects, &observed, &step, applied.rows.as_ref())
            .await?;
        Ok(Next::After(applied.next))
    }
}

impl HostedReconciler {
    /// With these settings. `recorder` tells users of what was done, and `clock` the time.
    #[must_use]
    pub fn new(settings: Settings, recorder: Recorder, clock: WallClock) -> Self {
        Self {
            settings,
            recorder,
            clock,
            runs: Runs::default(),
        }
    }

    fn now(&self) -> Result<Timestamp, ReconcileError> {
        let seconds = i64::try_from(self.clock.now().as_secs()).unwrap_or(i64::MAX);
        Timestamp::from_second(seconds).map_err(|error| {
            ReconcileError::new(ErrorKind::Internal, "the clock is beyond all times", error)
        })
    }

    /// Does what `step` says.
    async fn apply(
        &self,
        objects: &Objects,
        observed: &Observed,
        step: &Step,
    ) -> Result<Applied, ReconcileError> {
        let cluster = &observed.cluster;
        match step {
            Step::Idle => return Ok(Applied::after(IDLE)),
            Step::Refuse(_) => return Ok(Applied::after(REFUSED)),
            Step::Wait(_) => return Ok(Applied::after(POLL)),
            Step::Advance => return self.advance(objects, observed).await,
            Step::CreateKey(key) => created(objects.create::<KmsKey>(key).await)?,
            Step::SetRotation(rotation) => set_rotation(objects, observed, rotation).await?,
            Step::CreateServiceAccount(name) => {
                let account = ServiceAccount {
                    metadata: owned(cluster, name),
                    automount_service_account_token: Some(false),
                    ..ServiceAccount::default()
                };
                created(objects.create(&account).await)?;
            }
            Step::CreateSecret(name) => {
                let secret = Secret {
                    metadata: owned(cluster, name),
                    ..Secret::default()
                };
                created(objects.create(&secret).await)?;
            }
            Step::StoreAuthority => self.store_authority(objects, cluster).await?,
            Step::UpdateControlPlane { object, .. } => {
                update_control_plane(objects, observed, object).await?;
            }
            Step::AnnotatePods(pods, hash) => annotate(objects, cluster, pods, *hash).await?,
            Step::Begin(request) => {
                let control_plane = self.control_plane(objects, observed).await?;
                begin(&control_plane, request).await?;
            }
        }
        Ok(Applied::after(SOON))
    }

    async fn control_plane(
        &self,
        objects: &Objects,
        observed: &Observed,
    ) -> Result<crate::control_plane::ControlPlane, ReconcileError> {
        let view = view(observed)?;
        tenant::control_plane(objects, &self.settings, observed, view, self.clock.clone()).await
    }

    async fn advance(
        &self,
        objects: &Objects,
        observed: &Observed,
    ) -> Result<Applied, ReconcileError> {
        let Some(change) = &observed.change else {
            return Ok(Applied::after(POLL));
        };
        let control_plane = self.control_plane(objects, observed).await?;
        let uid = observed.cluster.metadata.uid.as_deref().unwrap_or_default();
        let provider = &self.settings.provider;
        let rows = self
            .runs
            .advance(uid, &control_plane, change, provider)
            .await?;
        Ok(Applied {
            next: rows.retry_after,
            rows: Some(rows),
        })
    }

    async fn store_authority(
        &self,
        objects: &Objects,
        cluster: &KdcCluster,
    ) -> Result<(), ReconcileError> {
        let authority = self.settings.authority.as_ref();
        let bytes = authority.map(|text| ByteString(text.as_bytes().to_vec()));
        let key = at(cluster, &cluster.names().config_secret());
        let patch = json!({"data": {CA_FILE: bytes}});
        objects.patch::<Secret>(&key, &patch).await?;
        Ok(())
    }

    /// Tells of what an administrator must be able to find later, at each step.
    async fn audit(&self, objects: &Objects, observed: &Observed, step: &Step) {
        let cluster = &observed.cluster;
        let annotations = cluster.metadata.annotations.as_ref();
        let confirmed = annotations.and_then(|annotations| annotations.get(FORCE_DISABLE));
        if let Some(confirmed) = confirmed {
            let name = ObjectKey::of(cluster);
            tracing::warn!(cluster = %name, confirmed, "encryption may be cut off without decrypting the rows");
            let note = format!(
                "the annotation {FORCE_DISABLE} is {confirmed}: encryption may be cut off without decrypting the rows"
            );
            let about = ("ForceDisableConfirmed", "Audit");
            self.recorder
                .record(objects, cluster, EventKind::Warning, about, &note)
                .await;
        }
        if let Some((kind, about, note)) = event(step) {
            self.recorder
                .record(objects, cluster, kind, about, &note)
                .await;
        }
    }

    /// Writes the status, if it says something else than before.
    async fn say(
        &self,
        objects: &Objects,
        observed: &Observed,
        step: &Step,
        rows: Option<&Rows>,
    ) -> Result<(), ReconcileError> {
        let cluster = &observed.cluster;
        let (seen, wanted) = (Status::of(cluster), status(observed, step, rows));
        write_status::<KdcCluster>(objects, &cluster.metadata, &seen, &wanted).await?;
        Ok(())
    }
}

fn event(step: &Step) -> Option<(EventKind, (&'static str, &'static str), String)> {
    let normal = |reason, action, note: String| Some((EventKind::Normal, (reason, action), note));
    match step {
        Step::Refuse(errors) => {
            let error = errors.first()?;
            let about = (error.reason(), "Refuse");
            Some((EventKind::Warning, about, error.to_string()))
        }
        Step::CreateKey(key) => {
            let name = key.metadata.name.as_deref().unwrap_or_default();
            normal("KeyCreated", "CreateKey", format!("made the KMSKey {name}"))
        }
        Step::UpdateControlPlane {
            is_attached: true, ..
        } => {
            let note = "the API servers get a plugin beside them".to_owned();
            normal("PluginAttached", "UpdateControlPlane", note)
        }
        Step::UpdateControlPlane {
            is_forced: true, ..
        } => {
            let note = "the plugins are taken away although rows may be encrypted".to_owned();
            Some((
                EventKind::Warning,
                ("ForceDisabled", "UpdateControlPlane"),
                note,
            ))
        }
        Step::UpdateControlPlane { .. } => {
            let note = "every row is decrypted; the plugins are taken away".to_owned();
            normal("PluginDetached", "UpdateControlPlane", note)
        }
        _ => None,
    }
}

/// An object that goes with the cluster.
fn owned(cluster: &KdcCluster, name: &str) -> ObjectMeta {
    let owner = OwnerReference {
        api_version: KdcCluster::api_version(&()).into_owned(),
        kind: KdcCluster::kind(&()).into_owned(),
        name: cluster.name().to_owned(),
        uid: cluster.metadata.uid.clone().unwrap_or_default(),
        ..OwnerReference::default()
    };
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: cluster.metadata.namespace.clone(),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    }
}

fn at(cluster: &KdcCluster, name: &str) -> ObjectKey {
    ObjectKey::new(
        cluster.metadata.namespace.as_deref().unwrap_or_default(),
        name,
    )
}

/// What is there already was made a moment ago, or is seen at the next look.
fn created<T>(outcome: Result<T, CallError>) -> Result<(), CallError> {
    match outcome {
        Err(error) if error.kind() != ErrorKind::Conflict => Err(error),
        _ => Ok(()),
    }
}

fn view(observed: &Observed) -> Result<&ControlPlaneView, ReconcileError> {
    observed
        .control_plane
        .as_ref()
        .ok_or_else(|| ReconcileError::message(ErrorKind::Missing, "the control plane is gone"))
}

/// What the API server does not take of a control plane.
fn rejected(observed: &Observed, error: &ReconcileError) -> ConfigError {
    let view = observed.control_plane.as_ref();
    ConfigError::ControlPlaneRejected {
        kind: view.map_or("object", |view| view.kind.as_str()),
        name: view.map(|view| view.name.clone()).unwrap_or_default(),
        message: error.to_string().into(),
    }
}

async fn set_rotation(
    objects: &Objects,
    observed: &Observed,
    rotation: &impl serde::Serialize,
) -> Result<(), ReconcileError> {
    let key = at(&observed.cluster, &observed.cluster.key_name());
    let seen = observed
        .key
        .as_ref()
        .and_then(|key| key.metadata.resource_version.as_ref());
    let patch = json!({"metadata": {"resourceVersion": seen}, "spec": {"rotation": rotation}});
    objects.patch::<KmsKey>(&key, &patch).await?;
    Ok(())
}

/// One update with the resourceVersion at which the object was read, so that nothing is lost that was written since.
async fn update_control_plane(
    objects: &Objects,
    observed: &Observed,
    object: &Value,
) -> Result<(), ReconcileError> {
    let view = view(observed)?;
    let Some(mut patch) = difference(&view.object, object) else {
        return Ok(());
    };
    if let Value::Object(fields) = &mut patch {
        let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
        let seen = view.object.pointer("/metadata/resourceVersion").cloned();
        if let (Value::Object(metadata), Some(seen)) = (metadata, seen) {
            metadata.insert("resourceVersion".to_owned(), seen);
        }
    }
    let key = at(&observed.cluster, &view.name);
    match view.kind {
        ControlPlaneKind::TenantControlPlane => {
            objects.patch::<TenantControlPlane>(&key, &patch).await?;
        }
        ControlPlaneKind::KamajiControlPlane => {
            objects.patch::<KamajiControlPlane>(&key, &patch).await?;
        }
    }
    Ok(())
}

/// A change of a pod makes kubelet look at its volumes at once. One that is gone needs none.
async fn annotate(
    objects: &Objects,
    cluster: &KdcCluster,
    pods: &[Box<str>],
    hash: ConfigHash,
) -> Result<(), ReconcileError> {
    let patch = json!({"metadata": {"annotations": {CONFIG_HASH: hash.to_string()}}});
    for pod in pods {
        match objects.patch::<Pod>(&at(cluster, pod), &patch).await {
            Err(error) if error.kind() != ErrorKind::Missing => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}
