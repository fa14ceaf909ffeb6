//! The next step for one cluster, from what was observed of it. Pure: it asks nothing and reads no clock.
//!
//! What concerns rows and configurations is decided by the [planner of changes](crate::rotation::plan); here is what a hosted
//! control plane needs around it: prerequisites, the key, the objects in the tenant's namespace, and the moment at which the
//! control plane gets its plugins and loses them again.

use core::time::Duration;
use std::sync::Arc;

use jiff::Timestamp;
use kdc_envelope::kmsv2::ProviderName;
use serde_json::Value;

use super::attachment::{self, AttachError, Attachment, ControlPlaneKind, SOCKET, Sidecar};
use super::goal::{self, Goal, Platform, Provided, TransitKey};
use super::pods::{PodView, unsettled};
use super::refused::ConfigError;
use super::settings::Settings;
use crate::crd::ClusterNames;
use crate::crd::interval::Interval;
use crate::crd::kamaji::TenantControlPlane;
use crate::crd::kdc_cluster::{KdcCluster, interval};
use crate::crd::kms_key::{KmsKey, RotationSpec};
use crate::encryption_config::{GroupResource, KmsProvider, Layout, Transformer};
use crate::rotation::change::ChangeKind;
use crate::rotation::request::{ChangeRequest, RequestedWriter};
use crate::rotation::{Change, ConfigHash, Writer};

/// How long kube-apiserver waits for the plugin; the plugin itself gives up sooner.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What counts of a cluster, looked at in one go.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Observed {
    /// The cluster itself.
    pub cluster: KdcCluster,
    /// All clusters of its namespace.
    pub neighbours: Vec<KdcCluster>,
    /// What the platform provides.
    pub platform: Platform,
    /// The KMSKey of the rows.
    pub key: Option<KmsKey>,
    /// Whether the ServiceAccount is there.
    pub has_service_account: bool,
    /// The Secrets, those that are there.
    pub secrets: Vec<SecretView>,
    /// Whether the authority of OpenBao's certificate is where plugins find it; true if there is none.
    pub is_authority_stored: bool,
    /// The control plane.
    pub control_plane: Option<ControlPlaneView>,
    /// The configuration of the API servers, if it is there and can be read.
    pub configuration: Option<(ConfigHash, Arc<Layout>)>,
    /// The last change of the rows.
    pub change: Option<Change>,
    /// The pods of the control plane.
    pub pods: Vec<PodView>,
    /// The time.
    pub now: Timestamp,
}

/// A Secret of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct SecretView {
    /// Its name.
    pub name: String,
    /// The UID of the KdcCluster that owns it.
    pub owner: Option<String>,
}

/// The object that describes the control plane.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct ControlPlaneView {
    /// Which kind is to be changed.
    pub kind: ControlPlaneKind,
    /// Its name.
    pub name: Box<str>,
    /// All of it.
    pub object: Value,
    /// How many API servers there should be.
    pub replicas: u32,
    /// The TenantControlPlane, which is another object if a KamajiControlPlane owns it.
    pub tenant: TenantControlPlane,
}

/// What to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Step {
    /// Nothing.
    Idle,
    /// Say what is refused.
    Refuse(Vec<ConfigError>),
    /// Wait, for what is said as a clause.
    Wait(Waiting),
    /// Make this KMSKey.
    CreateKey(Box<KmsKey>),
    /// Give the KMSKey that was made this rotation.
    SetRotation(RotationSpec),
    /// Make the ServiceAccount.
    CreateServiceAccount(String),
    /// Make an empty Secret that goes with the cluster.
    CreateSecret(String),
    /// Put the authority of OpenBao's certificate where plugins find it.
    StoreAuthority,
    /// Replace the object of the control plane.
    UpdateControlPlane {
        /// What it shall be; with the resourceVersion at which it was read.
        object: Box<Value>,
        /// Whether its API servers have plugins then.
        is_attached: bool,
        /// Whether rows may become unreadable by it, as an administrator confirmed.
        is_forced: bool,
    },
    /// Tell these pods to look for the configuration with this hash.
    AnnotatePods(Vec<Box<str>>, ConfigHash),
    /// Begin a change of the rows.
    Begin(ChangeRequest),
    /// Take the next step of the change that is under way, or see that nothing is to be done.
    Advance,
}

/// What a step waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers take it apart")]
pub struct Waiting {
    /// One word, part of the API.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Observed {
    fn names(&self) -> ClusterNames<'_> {
        self.cluster.names()
    }

    fn is_attached(&self) -> Result<bool, ConfigError> {
        let Some(control_plane) = &self.control_plane else {
            return Ok(false);
        };
        attachment::is_attached(&control_plane.object)
            .map_err(|source| control_plane.conflict(source))
    }
}

impl ControlPlaneView {
    /// Name of the TenantControlPlane.
    pub(super) fn tenant_name(&self) -> &str {
        self.tenant.metadata.name.as_deref().unwrap_or_default()
    }

    fn conflict(&self, source: AttachError) -> ConfigError {
        ConfigError::ControlPlane {
            kind: self.kind.as_str(),
            name: self.name.clone(),
            source,
        }
    }

    fn attached(&self, wanted: &Attachment) -> Result<Value, ConfigError> {
        let mut object = self.object.clone();
        let attached = attachment::attach(&mut object, self.kind, wanted);
        attached.map_err(|source| self.conflict(source))?;
        Ok(object)
    }

    fn detached(&self) -> Result<Value, ConfigError> {
        let mut object = self.object.clone();
        let detached = attachment::detach(&mut object, self.kind);
        detached.map_err(|source| self.conflict(source))?;
        Ok(object)
    }
}

/// The provider under which every hosted control plane has its plugin.
#[must_use]
pub fn provider(name: &ProviderName) -> KmsProvider {
    KmsProvider::v2(name, format!("unix://{SOCKET}"), TIMEOUT)
}

/// The next step.
#[must_use]
pub fn plan(observed: &Observed, settings: &Settings) -> Step {
    let step = match Goal::of(&observed.cluster) {
        Goal::Off => off(observed),
        Goal::Decrypted => decrypted(observed),
        Goal::Encrypted => encrypted(observed, settings),
    };
    step.unwrap_or_else(|error| Step::Refuse(vec![error]))
}

fn wait(reason: &'static str, message: impl Into<String>) -> Step {
    let message = message.into();
    Step::Wait(Waiting { reason, message })
}

/// `enabled: false` changes nothing on a cluster that was decrypted before, or never encrypted.
fn off(observed: &Observed) -> Result<Step, ConfigError> {
    let forced = goal::force_disable(&observed.cluster, observed.now)?;
    if !observed.is_attached()? {
        return Ok(Step::Idle);
    }
    if is_decrypted(observed) {
        return detach(observed, false);
    }
    match forced {
        Some(_) => detach(observed, true),
        None => Err(ConfigError::DisableNotRequested),
    }
}

/// Whether the last change left no row encrypted, and no API server reads any.
fn is_decrypted(observed: &Observed) -> bool {
    let change = observed.change.as_ref();
    let is_done = change.is_some_and(|change| change.done.is_some());
    let layout = observed.configuration.as_ref().map(|(_, layout)| layout);
    let reads = |layout: &Arc<Layout>| {
        layout
            .transformers()
            .any(|transformer| *transformer != Transformer::Identity)
    };
    is_done && layout.is_some_and(|layout| !reads(layout))
}

fn detach(observed: &Observed, is_forced: bool) -> Result<Step, ConfigError> {
    let Some(control_plane) = &observed.control_plane else {
        return Ok(Step::Idle);
    };
    Ok(Step::UpdateControlPlane {
        object: Box::new(control_plane.detached()?),
        is_attached: false,
        is_forced,
    })
}

/// Decrypts every row, then takes the plugins away.
fn decrypted(observed: &Observed) -> Result<Step, ConfigError> {
    if !observed.is_attached()? {
        return Ok(Step::Idle);
    }
    if let Some(waiting) = unsettled_pods(observed) {
        return Ok(waiting);
    }
    if let Some(step) = stale_pods(observed) {
        return Ok(step);
    }
    Ok(match &observed.change {
        Some(change) if change.done.is_none() && !leads_to_plain(change) => {
            Step::Begin(ChangeRequest::Abort)
        }
        Some(change) if change.done.is_none() => Step::Advance,
        _ if is_decrypted(observed) => detach(observed, false)?,
        _ => Step::Begin(ChangeRequest::Disable {
            resources: Vec::new(),
        }),
    })
}

fn leads_to_plain(change: &Change) -> bool {
    change
        .writers
        .values()
        .all(|writer| *writer == Writer::Identity)
}

/// Everything that a cluster needs to be encrypted, each part once what it needs is there.
fn encrypted(observed: &Observed, settings: &Settings) -> Result<Step, ConfigError> {
    let provided = match observed.platform.provided() {
        Ok(provided) => provided,
        Err(missing) => return Ok(Step::Refuse(missing)),
    };
    let rotation = interval(&observed.cluster.spec).map_err(ConfigError::Rotation)?;
    let resources = goal::resources(&observed.cluster)?;
    check_key_ref(observed)?;
    let key = match key(observed, rotation.as_ref())? {
        Ok(key) => key,
        Err(step) => return Ok(step),
    };
    if let Some(step) = objects(observed) {
        return Ok(step);
    }
    let names = observed.names();
    let Some(control_plane) = &observed.control_plane else {
        let name = names.control_plane(&settings.control_plane_suffix);
        let message = format!("there is no control plane {name} yet");
        return Ok(wait("ControlPlaneMissing", message));
    };
    let wanted = attachment(names, settings, provided, key);
    let object = control_plane.attached(&wanted)?;
    let provider = Transformer::Kms(Arc::new(provider(&settings.provider)));
    let is_readable = observed.change.is_some()
        && observed.configuration.as_ref().is_some_and(|(_, layout)| {
            layout
                .transformers()
                .any(|transformer| transformer.is_same(&provider))
        });
    if is_readable && object != control_plane.object {
        return Ok(Step::UpdateControlPlane {
            object: Box::new(object),
            is_attached: true,
            is_forced: false,
        });
    }
    if let Some(waiting) = unsettled_pods(observed) {
        return Ok(waiting);
    }
    if observed.is_attached()?
        && let Some(step) = stale_pods(observed)
    {
        return Ok(step);
    }
    Ok(change(observed, &provider, &resources))
}

/// A cluster keeps the key of its rows.
fn check_key_ref(observed: &Observed) -> Result<(), ConfigError> {
    let status = observed.cluster.status.encryption.as_ref();
    let used = status.and_then(|status| status.resolved_key_ref.as_deref());
    let named = observed.cluster.key_name();
    match used.filter(|used| *used != named) {
        Some(used) if observed.is_attached()? => Err(ConfigError::KeyRefChanged {
            used: used.into(),
            named: named.into(),
        }),
        _ => Ok(()),
    }
}

/// The key to use, or what is to be done before there is one.
fn key<'o>(
    observed: &'o Observed,
    rotation: Option<&Interval>,
) -> Result<Result<TransitKey<'o>, Step>, ConfigError> {
    let cluster = &observed.cluster;
    let is_given = cluster.given_key().is_some();
    let Some(key) = &observed.key else {
        return match is_given {
            true => Err(ConfigError::KeyNotFound(cluster.key_name().into())),
            false => Ok(Err(Step::CreateKey(Box::new(goal::new_key(
                cluster, rotation,
            ))))),
        };
    };
    match goal::usable_key(cluster, Some(key), &observed.neighbours) {
        Ok(transit) => match goal::rotation_to_set(cluster, key)? {
            Some(rotation) => Ok(Err(Step::SetRotation(rotation))),
            None => Ok(Ok(transit)),
        },
        Err(error @ ConfigError::KeyNotReady { .. }) if !is_given => {
            Ok(Err(wait("KeyNotReady", error.to_string())))
        }
        Err(error) => Err(error),
    }
}

/// The objects in the namespace of the cluster.
fn objects(observed: &Observed) -> Option<Step> {
    let names = observed.names();
    if !observed.has_service_account {
        return Some(Step::CreateServiceAccount(names.service_account()));
    }
    let uid = observed.cluster.metadata.uid.as_deref();
    for name in [
        names.config_secret(),
        names.history_secret(),
        names.state_secret(),
    ] {
        match observed.secrets.iter().find(|secret| secret.name == name) {
            None => return Some(Step::CreateSecret(name)),
            Some(secret) if secret.owner.as_deref() != uid => {
                let message = format!(
                    "the Secret {name} belongs to another KdcCluster, such as an earlier one of this name; it must go first"
                );
                return Some(wait("SecretOfAnotherCluster", message));
            }
            Some(_) => {}
        }
    }
    (!observed.is_authority_stored).then_some(Step::StoreAuthority)
}

fn attachment(
    names: ClusterNames<'_>,
    settings: &Settings,
    provided: Provided<'_>,
    key: TransitKey<'_>,
) -> Attachment {
    let sidecar = Sidecar {
        cluster: names.cluster,
        service_account: &names.service_account(),
        config_secret: &names.config_secret(),
        image: provided.plugin_image,
        init_image: &settings.init_image,
        bao_address: provided.openbao_url,
        bao_namespace: key.namespace,
        bao_mount: key.mount,
        bao_key: key.name,
        auth_mount: &settings.auth_mount,
        role: &names.role(),
        audience: &settings.audience,
        has_authority: settings.authority.is_some(),
        flags: &settings.plugin_flags,
    };
    sidecar.attachment()
}

fn unsettled_pods(observed: &Observed) -> Option<Step> {
    let replicas = observed.control_plane.as_ref()?.replicas;
    let reasons = unsettled(&observed.pods, replicas);
    if !reasons.is_empty() {
        return Some(wait("PodsChanging", reasons.join("; ")));
    }
    let message = "the control plane sleeps (replicas: 0)";
    (replicas == 0).then(|| wait("ControlPlaneSleeping", message))
}

/// Pods that were not told of the present configuration.
fn stale_pods(observed: &Observed) -> Option<Step> {
    let (hash, _) = observed.configuration.as_ref()?;
    let text = hash.to_string();
    let is_stale = |pod: &&PodView| pod.config_hash.as_deref() != Some(&text);
    let stale: Vec<_> = observed.pods.iter().filter(is_stale).collect();
    let names = stale.iter().map(|pod| pod.name.clone()).collect();
    (!stale.is_empty()).then_some(Step::AnnotatePods(names, *hash))
}

/// What is to become of the rows.
fn change(observed: &Observed, provider: &Transformer, resources: &[GroupResource]) -> Step {
    let enable = || {
        let kms = match provider {
            Transformer::Kms(kms) => Arc::clone(kms),
            _ => return Step::Idle,
        };
        Step::Begin(ChangeRequest::Enable {
            resources: resources.to_vec(),
            writer: RequestedWriter::Kms(kms),
        })
    };
    let Some(change) = &observed.change else {
        return enable();
    };
    if change.done.is_none() {
        let takes_back = |name: &GroupResource| change.writers.get(name) == Some(&Writer::Identity);
        let is_disabling = change.kind == ChangeKind::Disable && resources.iter().any(takes_back);
        return match is_disabling {
            true => Step::Begin(ChangeRequest::Abort),
            false => Step::Advance,
        };
    }
    let Some((_, layout)) = &observed.configuration else {
        return Step::Advance;
    };
    let is_written = |name: &GroupResource| layout.chain_of(name).writer().is_same(provider);
    if !resources.iter().all(is_written) {
        return enable();
    }
    let surplus = layout
        .rules()
        .filter(|(name, chain)| chain.writer().is_same(provider) && !resources.contains(name));
    let surplus: Vec<_> = surplus.map(|(name, _)| name.clone()).collect();
    match surplus.is_empty() {
        true => Step::Advance,
        false => Step::Begin(ChangeRequest::Disable { resources: surplus }),
    }
}
