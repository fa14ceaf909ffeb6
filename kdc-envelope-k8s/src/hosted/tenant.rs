//! The API servers of a tenant, each asked by its own address, and its rows through them.

use core::time::Duration;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{Api, Client};

use super::attachment::CONFIG_FILE;
use super::plan::{ControlPlaneView, Observed};
use super::pods::PodSet;
use super::settings::Settings;
use crate::cluster::{
    ClusterError, Kubeconfig, KubeconfigInMemory, KubeconfigSource, Overrides, connect_kubeconfig,
};
use crate::control_plane::{ControlPlane, Node, SecretStore, SecretTargets, WallClock};
use crate::controller::{ErrorKind, ObjectKey, Objects, ReconcileError};
use crate::rewrite::RewriteOptions;

/// The port of API servers unless the control plane has another one.
const PORT: i32 = 6443;
/// The kubeconfig that Kamaji makes for clients in the cluster of the control plane, and the one for all others.
const KUBECONFIGS: [&str; 2] = ["admin.svc", "admin.conf"];
/// Names the kubeconfig to use instead.
const KUBECONFIG_KEY: &str = "kamaji.clastix.io/kubeconfig-secret-key";
/// How long a pass goes on without an answer. It is asked of one pod, which may end; the next pass asks another one.
const RETRY_BUDGET: Duration = Duration::from_secs(60);

/// The control plane of `observed`, with all its pods.
pub(super) async fn control_plane(
    objects: &Objects,
    settings: &Settings,
    observed: &Observed,
    view: &ControlPlaneView,
    clock: WallClock,
) -> Result<ControlPlane, ReconcileError> {
    let namespace = observed
        .cluster
        .metadata
        .namespace
        .as_deref()
        .unwrap_or_default();
    let kubeconfig = kubeconfig(objects, namespace, view).await?;
    let mut nodes = Vec::new();
    for pod in &observed.pods {
        let address = pod.address.as_deref().unwrap_or_default();
        let client = client(&kubeconfig, namespace, view, address).await;
        let client = client.map_err(|error| {
            ReconcileError::new(
                ErrorKind::Transient,
                "no client for the control plane",
                error,
            )
        })?;
        nodes.push(Node {
            name: pod.name.clone(),
            client,
        });
    }
    let Some(first) = nodes.first() else {
        let message = "the control plane has no pod that could be asked";
        return Err(ReconcileError::message(ErrorKind::Missing, message));
    };
    let names = observed.cluster.names();
    let (host, config) = (objects.client(), names.config_secret());
    let servers = observed.pods.iter().map(|pod| pod.name.clone());
    let history = names.history_secret();
    let pods: Api<Pod> = Api::namespaced(host.clone(), namespace);
    Ok(ControlPlane {
        client: first.client.clone(),
        targets: Arc::new(SecretTargets::new(
            host,
            namespace,
            (&config, CONFIG_FILE),
            &history,
            servers,
        )),
        store: Arc::new(SecretStore::new(host, namespace, &names.state_secret())),
        members: Some(Arc::new(PodSet {
            api: pods,
            control_plane: view.tenant_name().into(),
            replicas: view.replicas,
            asked: observed.pods.clone(),
        })),
        nodes,
        backups: None,
        rewrite: RewriteOptions {
            retry_budget: RETRY_BUDGET,
            budget: settings.budget.clone(),
            ..RewriteOptions::default()
        },
        clock,
    })
}

/// The administrator's kubeconfig of the tenant.
async fn kubeconfig(
    objects: &Objects,
    namespace: &str,
    view: &ControlPlaneView,
) -> Result<Kubeconfig, ReconcileError> {
    let status = &view.tenant.status.kubeconfig.admin;
    let missing = |what: String| ReconcileError::message(ErrorKind::Missing, what);
    let name = status.secret_name.as_deref().ok_or_else(|| {
        missing("the control plane has no kubeconfig of its administrator yet".to_owned())
    })?;
    let key = ObjectKey::new(namespace, name);
    let secret = objects.get::<Secret>(&key).await?;
    let secret = secret.ok_or_else(|| missing(format!("the Secret {key} is not there yet")))?;
    let annotations = view.tenant.metadata.annotations.as_ref();
    let named = annotations.and_then(|annotations| annotations.get(KUBECONFIG_KEY));
    let files = named.map(String::as_str).into_iter().chain(KUBECONFIGS);
    let mut contents = files.filter_map(|file| secret.data.as_ref()?.get(file));
    let content = contents.next().ok_or_else(|| {
        missing(format!(
            "the Secret {key} has none of {}",
            KUBECONFIGS.join(" and ")
        ))
    })?;
    let memory = KubeconfigInMemory::new(format!("Secret {key}"), content.0.clone());
    Ok(Kubeconfig {
        source: KubeconfigSource::Memory(memory),
        context: None,
    })
}

/// One API server. The certificate of all of them has the name of their Service, and no address.
async fn client(
    kubeconfig: &Kubeconfig,
    namespace: &str,
    view: &ControlPlaneView,
    address: &str,
) -> Result<Client, ClusterError> {
    let port = view.tenant.spec.network_profile.port.unwrap_or(PORT);
    let url = match address.contains(':') {
        true => format!("https://[{address}]:{port}"),
        false => format!("https://{address}:{port}"),
    };
    let name = format!("{}.{namespace}.svc", view.tenant_name());
    let overrides = Overrides {
        server: Some(&url),
        tls_server_name: Some(&name),
    };
    connect_kubeconfig(kubeconfig, overrides).await
}
