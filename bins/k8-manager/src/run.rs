//! The controller, from its settings to its end.

use std::time::{SystemTime, UNIX_EPOCH};

use kdc_envelope_k8s::controller::{Controller, ControllerMetrics, ControllerSettings, ObjectKey};
use kdc_envelope_k8s::crd::kamaji::TenantControlPlane;
use kdc_envelope_k8s::crd::kdc_cluster::CLUSTER_LABEL;
use kdc_envelope_k8s::crd::{KdcCluster, KmsKey};
use kdc_envelope_k8s::hosted::{self, HostedReconciler};
use kdc_envelope_k8s::rotation::Timestamp;
use kdc_shared::manager::{self, Program, Setup, Work};

use crate::failure::Failure;
use crate::settings::Settings;

/// What the program is to the cluster.
pub(crate) const PROGRAM: Program = Program {
    name: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    reporter: "k8s.kube-dc.com/k8-manager",
    metrics: "kdc_k8_manager",
};

/// Runs until a signal stops it.
pub(crate) fn run(settings: &Settings) -> Result<(), Failure> {
    let hosted = settings.hosted.clone();
    manager::run(&PROGRAM, &settings.manager, |setup| build(setup, hosted))?;
    Ok(())
}

fn build(setup: &mut Setup, settings: hosted::Settings) -> Work {
    let metrics = ControllerMetrics::register("k8_manager", &mut setup.registry);
    let controller = Controller::new(ControllerSettings::new("k8-manager"), setup.objects.clone());
    let mut controller = controller.with_metrics(metrics);
    let namespaces: Vec<Option<&str>> = match &setup.watch_namespaces {
        None => vec![None],
        Some(names) => names.iter().map(|name| Some(name.as_str())).collect(),
    };
    for namespace in namespaces {
        controller.watch(namespace, |cluster: &KdcCluster| {
            vec![ObjectKey::of(cluster)]
        });
        controller.watch(namespace, cluster_of_key);
        let suffix = settings.control_plane_suffix.clone();
        controller.watch(namespace, move |control_plane: &TenantControlPlane| {
            let key = ObjectKey::of(control_plane);
            let cluster = key.name.strip_suffix(&*suffix);
            let cluster = cluster.map(|name| ObjectKey::new(key.namespace.clone(), name));
            cluster.into_iter().collect()
        });
    }
    let health = vec![controller.health()];
    let reconciler = HostedReconciler::new(settings, setup.recorder.clone(), now.into());
    let stop = setup.stop.clone();
    Work {
        health,
        run: Box::pin(controller.run(reconciler, stop)),
    }
}

/// The cluster that a key was made for. One that names a key looks at it again by itself.
fn cluster_of_key(key: &KmsKey) -> Vec<ObjectKey> {
    let labels = key.metadata.labels.as_ref();
    let cluster = labels.and_then(|labels| labels.get(CLUSTER_LABEL));
    let namespace = key.metadata.namespace.as_deref().unwrap_or_default();
    let cluster = cluster.map(|cluster| ObjectKey::new(namespace, cluster.as_str()));
    cluster.into_iter().collect()
}

fn now() -> Timestamp {
    #[expect(
        clippy::disallowed_methods,
        reason = "a program is an outermost layer: what it calls takes the time as a parameter"
    )]
    let now = SystemTime::now();
    let since = now.duration_since(UNIX_EPOCH);
    Timestamp::from_secs(since.map_or(0, |since| since.as_secs()))
}
