//! Hosted control planes: a [`ManagementCluster`], and a [`TenantRunner`] that does what Kamaji and the kubelet would for the
//! TenantControlPlanes in it, with processes.

mod crds;
mod datastore;
mod management;
mod template;
mod webhook;

pub use datastore::{DATA_STORE, DataStore};
pub use management::{AUTH_MOUNT, ManagementCluster, ORGANIZATION};

use crate::Error;
use crate::client::ApiError;

fn unexpected(error: &ApiError) -> Error {
    Error::Unexpected {
        name: "kube-apiserver",
        detail: format!("{error:?}"),
    }
}
