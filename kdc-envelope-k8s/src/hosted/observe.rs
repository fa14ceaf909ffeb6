//! Looking at everything that counts for one cluster.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use kube::api::ListParams;
use kube::{Api, Resource as _};

use super::attachment::{CA_FILE, CONFIG_FILE, ControlPlaneKind};
use super::goal::Platform;
use super::plan::{ControlPlaneView, Observed, SecretView};
use super::pods;
use super::settings::Settings;
use super::whole::Whole;
use crate::control_plane::{ChangeStore as _, SecretStore};
use crate::controller::{CallError, ErrorKind, ObjectKey, Objects, ReconcileError};
use crate::crd::kamaji::{KamajiControlPlane, TenantControlPlane};
use crate::crd::{ClusterNames, KdcCluster, KmsKey};
use crate::encryption_config::{EncryptionConfiguration, Layout};
use crate::rotation::ConfigHash;

/// How many API servers a control plane has unless it says so.
const REPLICAS: u32 = 2;

/// Everything about `cluster`.
pub(super) async fn observe(
    objects: &Objects,
    settings: &Settings,
    cluster: KdcCluster,
    now: Timestamp,
) -> Result<Observed, ReconcileError> {
    let namespace = cluster.metadata.namespace.clone().unwrap_or_default();
    let at = |name: &str| ObjectKey::new(namespace.as_str(), name);
    let names = cluster.names();
    let neighbours = objects
        .list(Some(&namespace), &ListParams::default())
        .await?;
    let account = objects
        .get::<ServiceAccount>(&at(&names.service_account()))
        .await?;
    let config = objects.get::<Secret>(&at(&names.config_secret())).await?;
    let history = objects.get::<Secret>(&at(&names.history_secret())).await?;
    let state = objects.get::<Secret>(&at(&names.state_secret())).await?;
    let store = SecretStore::new(objects.client(), &namespace, &names.state_secret());
    let stored = store.load().await.map_err(|error| {
        ReconcileError::new(
            ErrorKind::Transient,
            "cannot read the state of changes",
            error,
        )
    })?;
    let control_plane = control_plane(objects, settings, names, &namespace).await?;
    let pods = match &control_plane {
        Some(control_plane) => {
            let api: Api<Pod> = Api::namespaced(objects.client().clone(), &namespace);
            let listed = pods::list(&api, control_plane.tenant_name()).await;
            listed.map_err(|error| {
                ReconcileError::new(
                    ErrorKind::Transient,
                    "cannot list the pods of the control plane",
                    error,
                )
            })?
        }
        None => Vec::new(),
    };
    let views = [&config, &history, &state];
    Ok(Observed {
        key: objects.get::<KmsKey>(&at(&cluster.key_name())).await?,
        neighbours,
        platform: platform(objects, settings).await?,
        has_service_account: account.is_some(),
        secrets: views.into_iter().flatten().map(secret_view).collect(),
        is_authority_stored: has_authority(config.as_ref(), settings),
        control_plane,
        configuration: config.as_ref().and_then(configuration),
        change: stored.change,
        pods,
        now,
        cluster,
    })
}

fn secret_view(secret: &Secret) -> SecretView {
    let owners = secret.metadata.owner_references.iter().flatten();
    let kind = KdcCluster::kind(&());
    let owner = owners.into_iter().find(|owner| owner.kind == kind);
    SecretView {
        name: secret.metadata.name.clone().unwrap_or_default(),
        owner: owner.map(|owner| owner.uid.clone()),
    }
}

fn data<'s>(secret: &'s Secret, file: &str) -> Option<&'s [u8]> {
    let data = secret.data.as_ref()?.get(file)?;
    Some(&data.0)
}

fn has_authority(config: Option<&Secret>, settings: &Settings) -> bool {
    let stored = config.and_then(|config| data(config, CA_FILE));
    settings.authority.as_ref().map(String::as_bytes) == stored
}

fn configuration(config: &Secret) -> Option<(ConfigHash, Arc<Layout>)> {
    let bytes = data(config, CONFIG_FILE)?;
    let parsed = EncryptionConfiguration::parse(bytes).ok()?;
    Some((ConfigHash::of(bytes), Arc::new(Layout::of(&parsed))))
}

/// The settings of the platform, with those of this program in front.
async fn platform(objects: &Objects, settings: &Settings) -> Result<Platform, CallError> {
    let (namespace, name) = &settings.platform_secret;
    let key = ObjectKey::new(namespace.as_str(), name.as_str());
    let secret = objects.get::<Secret>(&key).await?;
    let text = |file: &str| {
        let bytes = data(secret.as_ref()?, file)?;
        Some(String::from_utf8_lossy(bytes).trim().to_owned())
    };
    let is_enabled = secret
        .is_some()
        .then(|| text("enable_openbao").as_deref() == Some("true"));
    Ok(Platform {
        place: format!("the Secret {key}").into(),
        is_openbao_enabled: is_enabled,
        openbao_url: settings.openbao_url.clone().or_else(|| text("openbao_url")),
        plugin_image: settings.plugin_image.clone(),
    })
}

/// The control plane: the object of the name that the platform gives it, or the KamajiControlPlane that owns that.
async fn control_plane(
    objects: &Objects,
    settings: &Settings,
    names: ClusterNames<'_>,
    namespace: &str,
) -> Result<Option<ControlPlaneView>, ReconcileError> {
    let name = names.control_plane(&settings.control_plane_suffix);
    let key = ObjectKey::new(namespace, name.as_str());
    let Some(found) = objects.get::<Whole<TenantControlPlane>>(&key).await? else {
        return Ok(None);
    };
    let object = found.into_value().map_err(unreadable)?;
    let tenant: TenantControlPlane = serde_json::from_value(object.clone()).map_err(unreadable)?;
    let owners = tenant.metadata.owner_references.iter().flatten();
    let kamaji = KamajiControlPlane::kind(&());
    let owner = owners.into_iter().find(|owner| owner.kind == kamaji);
    let (kind, name, object) = match owner {
        None => (ControlPlaneKind::TenantControlPlane, name, object),
        Some(owner) => {
            let key = ObjectKey::new(namespace, owner.name.as_str());
            let Some(found) = objects.get::<Whole<KamajiControlPlane>>(&key).await? else {
                return Ok(None);
            };
            let object = found.into_value().map_err(unreadable)?;
            (
                ControlPlaneKind::KamajiControlPlane,
                owner.name.clone(),
                object,
            )
        }
    };
    let replicas = tenant.spec.control_plane.deployment.replicas;
    Ok(Some(ControlPlaneView {
        kind,
        name: name.into(),
        object,
        replicas: replicas.map_or(REPLICAS, |replicas| {
            u32::try_from(replicas).unwrap_or_default()
        }),
        tenant,
    }))
}

fn unreadable(error: serde_json::Error) -> ReconcileError {
    ReconcileError::new(
        ErrorKind::Internal,
        "the control plane is not as its CRD has it",
        error,
    )
}
