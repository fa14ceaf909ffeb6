//! Under which prefix of an etcd the rows of an API server are.
//!
//! Several API servers may share one etcd, and an etcd may be that of another cluster: rows of somebody else would prove
//! anything. So the prefix comes from the keys, unless it is given, and whose rows they are from the namespace `kube-system`: its uid
//! stands both in its row and in what the API server answers. Where the row is encrypted, the resourceVersion must do, which
//! is the revision of the row's last change, and in one etcd the same for no two rows of different API servers.

use std::time::Duration;

use kdc_envelope::providers::RESERVED_PREFIX;
use kdc_envelope::survey::Prefixes;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};

use crate::etcd::Connection;
use crate::failure::{Exit, Failure};

/// The namespace that every cluster has, and nobody can delete.
const NAMESPACE: &str = "kube-system";
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
pub(super) fn find(
    etcd: &Connection,
    given: Option<&str>,
    identity: Option<&Identity>,
) -> Result<String, Failure> {
    let Some(given) = given else {
        return choose(etcd, identity);
    };
    let prefix = normal(given)?;
    match whose(etcd, &prefix, identity)? {
        Whose::Ours | Whose::Unknown => Ok(prefix),
        Whose::Nobodys => Err(Failure::new(
            Exit::NoInput,
            format_args!(
                "--etcd-prefix: etcd at `{}` has no row `{prefix}/namespaces/{NAMESPACE}`, which the API server has written{}",
                etcd.endpoint(),
                found_clause(etcd)
            ),
        )),
        Whose::Others => Err(of_others(etcd, &prefix)),
    }
}

fn choose(etcd: &Connection, identity: Option<&Identity>) -> Result<String, Failure> {
    let mut prefixes = Prefixes::default();
    etcd.scan_keys(|key| prefixes.add(key))
        .map_err(|failure| match failure.exit() {
            Exit::Denied => {
                failure.hint("or name --etcd-prefix, so that not every key must be read")
            }
            _ => failure,
        })?;
    let found = prefixes.found();
    let mut possible = Vec::new();
    for shown in &found {
        let prefix = shown.trim_end_matches('/');
        match whose(etcd, prefix, identity)? {
            Whose::Ours => return Ok(prefix.to_owned()),
            Whose::Unknown => possible.push(prefix),
            Whose::Nobodys | Whose::Others => {}
        }
    }
    match (possible.as_slice(), found.as_slice()) {
        ([one], [_]) => Ok((*one).to_owned()),
        ([], []) => {
            let line = format_args!(
                "--etcd-endpoints: etcd at `{}` has no row of an API server",
                etcd.endpoint()
            );
            Err(Failure::new(Exit::NoInput, line).hint(
                "is it the etcd of this cluster? --etcd-prefix names a prefix that is not found",
            ))
        }
        ([], [one]) => Err(of_others(etcd, one)),
        _ => Err(Failure::new(
            Exit::Usage,
            format_args!(
                "--etcd-prefix is missing: etcd at `{}` has rows of API servers under {}; which one is that of this API server?",
                etcd.endpoint(),
                found.join(", ")
            ),
        )),
    }
}

fn of_others(etcd: &Connection, prefix: &str) -> Failure {
    let line = format_args!(
        "etcd at `{}` has the rows of another cluster under `{prefix}`: its namespace {NAMESPACE} is not the one of the API server",
        etcd.endpoint()
    );
    Failure::new(Exit::Negative, line)
        .hint("check --etcd-endpoints, --etcd-prefix and --kubeconfig")
}

/// Whose rows a prefix has.
enum Whose {
    Ours,
    Others,
    /// There is no row that would have to be there.
    Nobodys,
    Unknown,
}

fn whose(etcd: &Connection, prefix: &str, identity: Option<&Identity>) -> Result<Whose, Failure> {
    let Some(Identity {
        uid,
        resource_version,
    }) = identity
    else {
        return Ok(Whose::Unknown);
    };
    let key = format!("{prefix}/namespaces/{NAMESPACE}");
    let Some((row, revision)) = etcd.row_with_revision(key.as_bytes())? else {
        return Ok(Whose::Nobodys);
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
        true => Whose::Ours,
        false => Whose::Others,
    })
}

/// The prefixes that there are, as a clause; nothing if they cannot be read.
fn found_clause(etcd: &Connection) -> String {
    let mut prefixes = Prefixes::default();
    let scanned = etcd.scan_keys(|key| prefixes.add(key));
    match (scanned, prefixes.found().as_slice()) {
        (Err(_), _) | (_, []) => String::new(),
        (Ok(()), found) => format!("; API servers have rows under {}", found.join(", ")),
    }
}

/// As kube-apiserver understands its `--etcd-prefix` (`path.Join("/", prefix)` in `storage/etcd3`), without the `/` at the end.
fn normal(given: &str) -> Result<String, Failure> {
    if given.is_empty() {
        let line =
            "--etcd-prefix is empty; write / if kube-apiserver keeps its objects without a prefix";
        return Err(Failure::new(Exit::Usage, line));
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
