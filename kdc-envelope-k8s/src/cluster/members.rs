//! Which API servers there are: each keeps a Lease in `kube-system`, whose name is its id
//! (`pkg/controlplane/apiserver` in `kubernetes/kubernetes`; on since 1.26).

use k8s_openapi::List;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use sha2::{Digest as _, Sha256};

use super::ClusterError;
use super::ask::{Response, get};
use crate::rotation::Timestamp;

/// The selector is `apiserver.kubernetes.io/identity=kube-apiserver`.
const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases\
                    ?labelSelector=apiserver.kubernetes.io%2Fidentity%3Dkube-apiserver";
const RESOURCE: &str = "leases in kube-system";
const HOST: &str = "kubernetes.io/hostname";

/// An API server that keeps a Lease, or kept one until a while ago.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Name of its Lease.
    pub lease: Box<str>,
    /// The host it runs on, as it says.
    pub host: Option<Box<str>>,
    /// When it renewed the Lease last.
    pub renewed: Option<Timestamp>,
}

impl Member {
    /// The hash of its id, as its metrics give it.
    #[must_use]
    pub fn id_hash(&self) -> String {
        let digits = Sha256::digest(self.lease.as_bytes());
        let digits = digits.iter().map(|byte| format!("{byte:02x}"));
        format!("sha256:{}", digits.collect::<String>())
    }
}

/// Every API server with a Lease. The Lease of one that is gone stays for an hour.
///
/// # Errors
/// [`ClusterError`].
pub async fn members(client: &Client) -> Result<Vec<Member>, ClusterError> {
    let Response { server, body } = get(client, "list", RESOURCE, PATH).await?;
    let list: List<Lease> = serde_json::from_slice(&body).map_err(|_| ClusterError::Refused {
        server,
        verb: "list",
        resource: RESOURCE,
        message: "something that is no list of Leases".into(),
    })?;
    let member = |lease: Lease| Member {
        lease: lease.metadata.name.unwrap_or_default().into(),
        host: lease
            .metadata
            .labels
            .and_then(|labels| labels.get(HOST).map(|host| host.as_str().into())),
        renewed: lease
            .spec
            .and_then(|spec| spec.renew_time)
            .and_then(|time| u64::try_from(time.0.as_second()).ok())
            .map(Timestamp::from_secs),
    };
    Ok(list.items.into_iter().map(member).collect())
}
