//! Under which prefix of an etcd the rows of an API server are.
//!
//! Several API servers may share one etcd, and an etcd may be that of another cluster: rows of another one would prove
//! anything. So the prefix comes from the keys, unless it is given, and whose rows they are from the namespace `kube-system`: its uid
//! stands both in its row and in what the API server answers. Where the row is encrypted, the resourceVersion must do, which
//! is the revision of the row's last change, and in one etcd the same for no two rows of different API servers.

use core::time::Duration;

use kdc_envelope::key_usage::Prefixes;
use kdc_envelope::providers::RESERVED_PREFIX;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};

use super::RowsError;
use crate::etcd::{EtcdError, RevisedRow, Row, RowSource};

/// The namespace that every cluster has, and that cannot be deleted.
pub(super) const NAMESPACE: &str = "kube-system";
/// How long the API server may take for it.
const LIMIT: Duration = Duration::from_secs(10);

/// What the API server tells of its namespace `kube-system`.
#[derive(Debug)]
pub(super) struct Identity {
    uid: String,
    resource_version: String,
}

/// `None` if the API server does not tell, for want of rights or of the namespace.
pub(super) async fn identity(client: &Client) -> Option<Identity> {
    let kind = GroupVersionKind::gvk("", "v1", "Namespace");
    let resource = ApiResource::from_gvk_with_plural(&kind, "namespaces");
    let namespaces: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let asked = tokio::time::timeout(LIMIT, namespaces.get_metadata_opt(NAMESPACE)).await;
    let metadata = asked.ok()?.ok()??.metadata;
    Some(Identity {
        uid: metadata.uid.filter(|uid| !uid.is_empty())?,
        resource_version: metadata.resource_version?,
    })
}

/// The prefix of the API server that told this, without a `/` at its end: the given one if it can be right, else the one that
/// is found.
pub(super) async fn find(
    etcd: &dyn RowSource,
    given: Option<&str>,
    identity: Option<&Identity>,
) -> Result<String, RowsError> {
    let Some(given) = given else {
        return choose(etcd, identity).await;
    };
    let prefix = normal(given)?;
    match owner(etcd, &prefix, identity).await? {
        Owner::Ours | Owner::Unknown => Ok(prefix),
        Owner::Absent => Err(RowsError::NotThere {
            endpoint: etcd.endpoint().into(),
            prefix: prefix.into(),
            // Only for the message.
            found: prefixes(etcd).await.unwrap_or_default(),
        }),
        Owner::Other => Err(other_cluster(etcd, &prefix)),
    }
}

async fn choose(etcd: &dyn RowSource, identity: Option<&Identity>) -> Result<String, RowsError> {
    let found = prefixes(etcd).await;
    let found = found.map_err(|error| match error.is_denial() {
        true => RowsError::Keys(error),
        false => error.into(),
    })?;
    let mut possible = Vec::new();
    for shown in &found {
        let prefix = shown.trim_end_matches('/');
        match owner(etcd, prefix, identity).await? {
            Owner::Ours => return Ok(prefix.to_owned()),
            Owner::Unknown => possible.push(prefix),
            Owner::Absent | Owner::Other => {}
        }
    }
    match (possible.as_slice(), found.as_slice()) {
        ([one], [_]) => Ok((*one).to_owned()),
        ([], []) => Err(RowsError::NoApiServer {
            endpoint: etcd.endpoint().into(),
        }),
        ([], [one]) => Err(other_cluster(etcd, one)),
        _ => Err(RowsError::Ambiguous {
            endpoint: etcd.endpoint().into(),
            found,
        }),
    }
}

fn other_cluster(etcd: &dyn RowSource, prefix: &str) -> RowsError {
    RowsError::OtherCluster {
        endpoint: etcd.endpoint().into(),
        prefix: prefix.into(),
    }
}

/// The prefixes of API servers, by the keys of all rows.
async fn prefixes(etcd: &dyn RowSource) -> Result<Vec<String>, EtcdError> {
    let mut prefixes = Prefixes::default();
    let mut add = |row: Row| prefixes.add(&row.key);
    etcd.scan_keys(&mut add).await?;
    Ok(prefixes.found().into_iter().map(str::to_owned).collect())
}

/// Whose rows a prefix has.
enum Owner {
    /// The API server that was asked.
    Ours,
    /// Another one.
    Other,
    /// There is no row that would have to be there.
    Absent,
    /// The API server did not tell enough.
    Unknown,
}

async fn owner(
    etcd: &dyn RowSource,
    prefix: &str,
    identity: Option<&Identity>,
) -> Result<Owner, EtcdError> {
    let Some(Identity {
        uid,
        resource_version,
    }) = identity
    else {
        return Ok(Owner::Unknown);
    };
    let key = format!("{prefix}/namespaces/{NAMESPACE}");
    let Some(RevisedRow { row, revision }) = etcd.row(key.as_bytes()).await? else {
        return Ok(Owner::Absent);
    };
    let is_ours = match row.value.starts_with(RESERVED_PREFIX) {
        true => revision.to_string() == *resource_version,
        // Protobuf and JSON both have it as it is.
        false => row
            .value
            .windows(uid.len())
            .any(|part| part == uid.as_bytes()),
    };
    Ok(match is_ours {
        true => Owner::Ours,
        false => Owner::Other,
    })
}

/// As kube-apiserver understands its `--etcd-prefix` (`path.Join("/", prefix)` in `storage/etcd3`), without the `/` at the end.
fn normal(given: &str) -> Result<String, RowsError> {
    if given.is_empty() {
        return Err(RowsError::EmptyPrefix);
    }
    let mut words: Vec<&str> = Vec::new();
    for word in given.split('/') {
        match word {
            "" | "." => {}
            ".." => {
                words.pop();
            }
            word => words.push(word),
        }
    }
    Ok(words.iter().map(|word| format!("/{word}")).collect())
}

#[cfg(test)]
mod tests {
    use super::normal;

    #[test]
    fn a_prefix_is_what_kube_apiserver_makes_of_it() {
        let as_read = |given| normal(given).unwrap();
        assert_eq!(as_read("/registry"), "/registry");
        assert_eq!(as_read("registry/"), "/registry");
        assert_eq!(as_read("//tenants//a/"), "/tenants/a");
        assert_eq!(as_read("/a/../b/."), "/b");
        assert_eq!(as_read("/"), "");
        assert!(normal("").is_err());
    }
}
