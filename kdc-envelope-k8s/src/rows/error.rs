//! Why the rows of an API server cannot be read.

use crate::etcd::EtcdError;

use super::prefix::NAMESPACE;

/// The rows cannot be read, or it is not known which ones they are.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowsError {
    /// etcd cannot be read.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    /// No prefix was given, and the keys from which it would follow cannot be read.
    #[error("the prefix of the API server cannot be found")]
    Keys(#[source] EtcdError),
    /// A prefix was given, and it is empty.
    #[error("the prefix is empty; write / if kube-apiserver keeps its objects without a prefix")]
    EmptyPrefix,
    /// No API server keeps its rows there.
    #[error("etcd at `{endpoint}` has no row of an API server")]
    NoApiServer {
        /// The address.
        endpoint: Box<str>,
    },
    /// The prefix that was given has not the row that each API server writes.
    #[error(
        "etcd at `{endpoint}` has no row `{prefix}/namespaces/{NAMESPACE}`, which the API server has written{}",
        found_clause(found)
    )]
    NotThere {
        /// The address.
        endpoint: Box<str>,
        /// The prefix that was given.
        prefix: Box<str>,
        /// Prefixes of API servers that there are, as far as they can be read.
        found: Vec<String>,
    },
    /// The rows are those of another cluster.
    #[error(
        "etcd at `{endpoint}` has the rows of another cluster under `{prefix}`: its namespace {NAMESPACE} is not the one of the API server"
    )]
    OtherCluster {
        /// The address.
        endpoint: Box<str>,
        /// The prefix.
        prefix: Box<str>,
    },
    /// Several API servers keep rows there, and it is not known which one is meant.
    #[error(
        "etcd at `{endpoint}` has rows of API servers under {}; which one is that of this API server?",
        found.join(", ")
    )]
    Ambiguous {
        /// The address.
        endpoint: Box<str>,
        /// The prefixes.
        found: Vec<String>,
    },
}

/// The prefixes that there are, as a clause; nothing if there are none.
fn found_clause(found: &[String]) -> String {
    match found {
        [] => String::new(),
        found => format!("; API servers have rows under {}", found.join(", ")),
    }
}
