//! The reconcilers of keys and of access: they observe, ask the planners, and apply.

mod access;
mod key;
mod lookup;

use core::time::Duration;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use super::access::AccessSettings;
use super::plan::Snapshots;
use super::service::{KeyService, ServiceError, ServiceErrorKind};
use super::tenant::{KeyNames, Tenancy};
use super::users::keys_of;
use crate::controller::{
    Controller, ControllerMetrics, ControllerSettings, ErrorKind, Health, Next, ObjectKey, Objects,
    ReconcileError, Recorder,
};
use crate::crd::{ClusterNames, KdcCluster, KmsKey};
use access::AccessReconciler;
use key::KeyReconciler;
use lookup::{Lookup, Stores};

/// What keys and access have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct KeysSettings {
    /// How organization and project are read from a namespace.
    pub tenancy: Tenancy,
    /// How keys are called in OpenBao.
    pub names: KeyNames,
    /// The mount of the Transit engine of each organization.
    pub mount: Box<str>,
    /// How often everything is looked at again when nothing changed here.
    pub interval: Duration,
    /// What is known of snapshots.
    pub snapshots: Snapshots,
    /// Roles.
    pub access: AccessSettings,
    /// The namespaces to watch; `None` for all.
    pub namespaces: Option<Vec<String>>,
}

impl Default for KeysSettings {
    fn default() -> Self {
        Self {
            tenancy: Tenancy::default(),
            names: KeyNames::default(),
            mount: "transit".into(),
            interval: Duration::from_mins(1),
            snapshots: Snapshots::Unknown,
            access: AccessSettings::default(),
            namespaces: None,
        }
    }
}

/// What reconcilers share.
struct Shared {
    service: Arc<dyn KeyService>,
    recorder: Recorder,
    settings: KeysSettings,
    clock: fn() -> Timestamp,
}

/// The two controllers, ready to run.
#[derive(Debug)]
pub struct KeysControllers {
    keys: (Controller, KeyReconciler),
    access: (Controller, AccessReconciler),
}

impl KeysControllers {
    /// Controllers that reach the cluster by `objects` and OpenBao by `service`, and tell what they do by `recorder`. `clock` gives the time
    /// of day; rotations and countdowns go by it.
    #[must_use]
    pub fn new(
        objects: &Objects,
        service: Arc<dyn KeyService>,
        recorder: Recorder,
        settings: KeysSettings,
        clock: fn() -> Timestamp,
    ) -> Self {
        let shared = Arc::new(Shared {
            service,
            recorder,
            settings,
            clock,
        });
        Self {
            keys: keys_controller(objects, &shared),
            access: access_controller(objects, shared),
        }
    }

    /// The same, and runs are counted in `registry`.
    #[must_use]
    pub fn with_metrics(self, registry: &mut Registry) -> Self {
        let (keys, key_reconciler) = self.keys;
        let (access, access_reconciler) = self.access;
        let key_metrics = ControllerMetrics::register("kmskey", registry);
        let access_metrics = ControllerMetrics::register("kdccluster_access", registry);
        Self {
            keys: (keys.with_metrics(key_metrics), key_reconciler),
            access: (access.with_metrics(access_metrics), access_reconciler),
        }
    }

    /// Whether they can do their work.
    #[must_use]
    pub fn health(&self) -> Vec<Health> {
        vec![self.keys.0.health(), self.access.0.health()]
    }

    /// Works until `stop`, and somewhat longer.
    pub async fn run(self, stop: CancellationToken) {
        let (keys, key_reconciler) = self.keys;
        let (access, access_reconciler) = self.access;
        tokio::join!(
            keys.run(key_reconciler, stop.clone()),
            access.run(access_reconciler, stop)
        );
    }
}

fn keys_controller(objects: &Objects, shared: &Arc<Shared>) -> (Controller, KeyReconciler) {
    let mut controller = Controller::new(ControllerSettings::new("kmskey"), objects.clone());
    let namespaces = &shared.settings.namespaces;
    let own = |key: &KmsKey| vec![ObjectKey::of(key)];
    let lookup = Lookup {
        keys: Stores::watch(&mut controller, namespaces.as_deref(), own),
        clusters: Stores::watch(&mut controller, namespaces.as_deref(), used_keys),
        namespaces: controller.watch::<Namespace>(None, |_| Vec::new()),
    };
    let reconciler = KeyReconciler {
        lookup,
        shared: Arc::clone(shared),
    };
    (controller, reconciler)
}

fn access_controller(objects: &Objects, shared: Arc<Shared>) -> (Controller, AccessReconciler) {
    let settings = ControllerSettings::new("kdccluster_access");
    let mut controller = Controller::new(settings, objects.clone());
    let namespaces = &shared.settings.namespaces;
    let own = |cluster: &KdcCluster| vec![ObjectKey::of(cluster)];
    let lookup = Lookup {
        clusters: Stores::watch(&mut controller, namespaces.as_deref(), own),
        keys: Stores::watch(&mut controller, namespaces.as_deref(), clusters_of),
        namespaces: controller.watch::<Namespace>(None, |_| Vec::new()),
    };
    let reconciler = AccessReconciler { lookup, shared };
    (controller, reconciler)
}

/// The keys that are to be looked at when a cluster changed.
fn used_keys(cluster: &KdcCluster) -> Vec<ObjectKey> {
    let namespace = cluster.metadata.namespace.as_deref().unwrap_or_default();
    let keys = keys_of(cluster).into_iter();
    keys.map(|key| ObjectKey::new(namespace, key)).collect()
}

/// The cluster that a key was made for, as its name says. A cluster that names another key waits for its interval.
fn clusters_of(key: &KmsKey) -> Vec<ObjectKey> {
    let found = ObjectKey::of(key);
    let names = ClusterNames::of_key(&found.name);
    let cluster = names.map(|names| ObjectKey::new(&*found.namespace, names.cluster));
    cluster.into_iter().collect()
}

/// How long to wait: the interval, a little shorter for some objects than for others, so that not all come at once; or until `again`.
fn next(interval: Duration, uid: Option<&str>, again: Option<Timestamp>, now: Timestamp) -> Next {
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    let tenths = u32::try_from(hasher.finish() % 10).unwrap_or_default();
    let spread = interval.saturating_sub(interval / 100 * tenths);
    let until = again.map(|again| again.duration_since(now));
    let until = until.map(|until| Duration::try_from(until).unwrap_or_default());
    // A moment later than that, so that it has come for sure.
    let until = until.map_or(spread, |until| {
        until.saturating_add(Duration::from_millis(50))
    });
    Next::After(until.min(spread))
}

fn failure(error: &ServiceError) -> ReconcileError {
    let kind = match error.kind {
        ServiceErrorKind::Unavailable => ErrorKind::Transient,
        ServiceErrorKind::Denied | ServiceErrorKind::Missing => ErrorKind::Denied,
        ServiceErrorKind::Refused | ServiceErrorKind::Unverified => ErrorKind::Rejected,
    };
    ReconcileError::message(kind, &*error.message)
}
