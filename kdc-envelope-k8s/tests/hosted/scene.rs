//! A cluster on which everything is in order, to be spoilt by each test.

use std::collections::BTreeMap;
use std::sync::Arc;

use kdc_envelope::kmsv2::ProviderName;
use kdc_envelope_k8s::crd::ClusterNames;
use kdc_envelope_k8s::crd::{KdcCluster, KmsKey};
use kdc_envelope_k8s::encryption_config::{Chain, Transformer};
use kdc_envelope_k8s::hosted::attachment::ControlPlaneKind;
use kdc_envelope_k8s::hosted::goal::{Platform, new_key};
use kdc_envelope_k8s::hosted::plan::{ControlPlaneView, SecretView, provider};
use kdc_envelope_k8s::hosted::pods::PodView;
use kdc_envelope_k8s::hosted::{ConfigError, Observed, Settings, Step, plan};
use kdc_envelope_k8s::rotation::change::ChangeKind;
use kdc_envelope_k8s::rotation::{Change, ConfigHash, Timestamp};
use kdc_envelope_k8s::{GroupResource, Layout};
use serde_json::{Value, json};

pub(crate) const NOW: u64 = 1_780_000_000;

pub(crate) fn settings() -> Settings {
    Settings {
        openbao_url: None,
        plugin_image: None,
        init_image: "busybox:1".to_owned(),
        plugin_flags: Vec::new(),
        authority: None,
        auth_mount: "k8s-host".to_owned(),
        audience: "openbao".to_owned(),
        control_plane_suffix: "-cp".to_owned(),
        provider: ProviderName::new("kube-dc-kms-plugin").unwrap(),
        platform_secret: ("kube-dc".to_owned(), "master-config".to_owned()),
        budget: None,
    }
}

/// `shop/prod` with this `spec.encryption.etcd`.
pub(crate) fn cluster(etcd: Value) -> KdcCluster {
    named("prod", etcd)
}

pub(crate) fn named(name: &str, etcd: Value) -> KdcCluster {
    let object = json!({
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid of {name}"), "generation": 1},
        "spec": {"version": "v1.35.0", "encryption": {"etcd": etcd}},
    });
    serde_json::from_value(object).unwrap()
}

/// The KMSKey that is made for `cluster`, ready.
pub(crate) fn ready_key(cluster: &KdcCluster) -> KmsKey {
    let key = new_key(cluster, None);
    let mut object = serde_json::to_value(&key).unwrap();
    let name = key.metadata.name.unwrap();
    object["status"] = json!({
        "keyId": format!("acme/transit/keys/acme-shop-{name}"),
        "currentVersion": 1,
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "R", "message": "",
            "lastTransitionTime": "2026-06-07T00:00:00Z",
        }],
    });
    serde_json::from_value(object).unwrap()
}

pub(crate) fn control_plane(replicas: u32) -> ControlPlaneView {
    let object = json!({
        "metadata": {"name": "prod-cp", "namespace": "shop", "resourceVersion": "7"},
        "spec": {"controlPlane": {"deployment": {"replicas": replicas, "serviceAccountName": "default"}}},
    });
    ControlPlaneView {
        kind: ControlPlaneKind::TenantControlPlane,
        name: "prod-cp".into(),
        tenant: serde_json::from_value(object.clone()).unwrap(),
        object,
        replicas,
    }
}

pub(crate) fn pod(name: &str) -> PodView {
    PodView {
        name: name.into(),
        uid: format!("uid of {name}").into(),
        address: Some("10.0.0.1".into()),
        is_ending: false,
        config_hash: None,
    }
}

fn kms() -> Transformer {
    Transformer::Kms(Arc::new(provider(&settings().provider)))
}

fn secrets() -> GroupResource {
    GroupResource::new("secrets", "")
}

/// A configuration in which the first of these writes and all of them read.
fn configuration(chain: Chain) -> (ConfigHash, Arc<Layout>) {
    let layout: Layout = [(secrets(), chain)].into_iter().collect();
    let hash = ConfigHash::of(layout.render().unwrap());
    (hash, Arc::new(layout))
}

/// Rows are stored plain, and the plugin's are read.
pub(crate) fn readable() -> (ConfigHash, Arc<Layout>) {
    configuration(Chain::new(Transformer::Identity, [kms()]))
}

/// The plugin writes.
pub(crate) fn writing() -> (ConfigHash, Arc<Layout>) {
    configuration(Chain::new(kms(), [Transformer::Identity]))
}

/// Nothing but plain rows.
pub(crate) fn plain() -> (ConfigHash, Arc<Layout>) {
    configuration(Chain::plain())
}

pub(crate) fn change(kind: ChangeKind, is_done: bool) -> Change {
    let writer = match kind {
        ChangeKind::Enable => kms(),
        _ => Transformer::Identity,
    };
    let writers = BTreeMap::from([(secrets(), writer)]);
    let now = Timestamp::from_secs(NOW);
    let change = Change::new(kind, &writers, &[], None, now);
    Change {
        done: is_done.then_some(NOW),
        ..change
    }
}

/// Nothing of this cluster is there yet, and the platform has everything.
pub(crate) fn untouched(etcd: Value) -> Observed {
    let cluster = cluster(etcd);
    Observed {
        neighbours: vec![cluster.clone()],
        cluster,
        platform: Platform {
            place: "the Secret kube-dc/master-config".into(),
            is_openbao_enabled: Some(true),
            openbao_url: Some("https://bao:8200".to_owned()),
            plugin_image: Some("kms-plugin:1".to_owned()),
        },
        key: None,
        has_service_account: false,
        secrets: Vec::new(),
        is_authority_stored: true,
        control_plane: Some(control_plane(2)),
        configuration: None,
        change: None,
        pods: vec![pod("a"), pod("b")],
        now: jiff::Timestamp::from_second(i64::try_from(NOW).unwrap()).unwrap(),
    }
}

/// All objects in the namespace are there.
pub(crate) fn prepared(etcd: Value) -> Observed {
    let mut observed = untouched(etcd);
    observed.key = Some(ready_key(&observed.cluster));
    observed.has_service_account = true;
    let names = ClusterNames { cluster: "prod" };
    let names = [
        names.config_secret(),
        names.history_secret(),
        names.state_secret(),
    ];
    let owner = observed.cluster.metadata.uid.clone();
    observed.secrets = names
        .map(|name| SecretView {
            name,
            owner: owner.clone(),
        })
        .into();
    observed
}

/// The API servers have their plugins, and the configuration is this one.
pub(crate) fn attached(
    etcd: Value,
    change: Change,
    configuration: (ConfigHash, Arc<Layout>),
) -> Observed {
    let mut observed = prepared(json!({"enabled": true}));
    observed.change = Some(change);
    observed.configuration = Some(configuration.clone());
    let Step::UpdateControlPlane {
        object,
        is_attached: true,
        ..
    } = step(&observed)
    else {
        // A configuration without the provider attaches nothing, so another one does.
        observed.configuration = Some(readable());
        let Step::UpdateControlPlane { object, .. } = step(&observed) else {
            panic!("nothing is attached");
        };
        return with(observed, *object, etcd, configuration);
    };
    with(observed, *object, etcd, configuration)
}

fn with(
    mut observed: Observed,
    object: Value,
    etcd: Value,
    configuration: (ConfigHash, Arc<Layout>),
) -> Observed {
    observed.control_plane.as_mut().unwrap().object = object;
    for pod in &mut observed.pods {
        pod.config_hash = Some(configuration.0.to_string().into());
    }
    observed.configuration = Some(configuration);
    observed.cluster = cluster(etcd);
    observed
}

pub(crate) fn step(observed: &Observed) -> Step {
    plan(observed, &settings())
}

/// The only thing that is refused.
pub(crate) fn refused(observed: &Observed) -> ConfigError {
    match step(observed) {
        Step::Refuse(mut errors) if errors.len() == 1 => errors.remove(0),
        other => panic!("{other:?}"),
    }
}
