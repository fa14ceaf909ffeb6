//! Hosted control planes: a [`ManagementCluster`], and a [`TenantRunner`] that does what Kamaji and the kubelet would for the
//! TenantControlPlanes in it, with processes.
//!
//! 1. [`ManagementCluster::start`]: kube-apiserver with the custom resources, OpenBao with the namespace [`ORGANIZATION`] and Kubernetes
//!    logins at [`AUTH_MOUNT`], a [`DataStore`] with TLS and authentication, and the webhook of Kamaji.
//! 2. [`TenantRunner::start`] with a [`Pace`]: from now on each TenantControlPlane has its Secrets (`<name>-admin-kubeconfig`,
//!    `<name>-datastore-certificate`), a Deployment, pods, and a status.
//! 3. Tests write objects with [`ManagementCluster::client`], or give [`ManagementCluster::kubeconfig`] to a program.
//! 4. [`TenantRunner::tenant_client`] calls a tenant through its Service, or one of its pods by the address in the status of the pod.
//! 5. [`TenantRunner::log`] is `kubectl logs`; [`DataStore::rows`] reads what is stored.
//!
//! Pods are objects of the management cluster; the processes of their containers run in mount namespaces of their own (which takes root),
//! see volumes at the paths of their mounts, and listen on a loopback address of their pod. Only these images are there:
//! `kube-apiserver`, names that end in `kms-plugin`, and `busybox`, which is the machine's own shell. kube-controller-manager and
//! kube-scheduler stand in pods by name alone, and liveness probes are not asked.

#![expect(
    clippy::indexing_slicing,
    reason = "a JSON object that lacks a field gives null, and no panic"
)]

mod addresses;
mod container;
mod crds;
mod datastore;
mod management;
mod pod;
mod rollout;
mod runner;
mod service;
mod settings;
mod template;
mod tenant;
mod volumes;
mod webhook;

pub use datastore::{DATA_STORE, DataStore};
pub use management::{AUTH_MOUNT, ManagementCluster, ORGANIZATION};
use runner::Shared;
pub use runner::TenantRunner;
use settings::Images;
pub use settings::Pace;

use crate::Error;
use crate::client::{ApiError, Resource};

/// TenantControlPlanes, for the calls of [`Client`](crate::Client).
pub const TENANT_CONTROL_PLANES: Resource =
    Resource::new("kamaji.clastix.io/v1alpha1", "tenantcontrolplanes");
/// Pods, likewise.
pub const PODS: Resource = Resource::new("v1", "pods");

fn unexpected(error: &ApiError) -> Error {
    Error::Unexpected {
        name: "kube-apiserver",
        detail: format!("{error:?}"),
    }
}
